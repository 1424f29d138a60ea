import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { generate } from '../../dev/generate.js';
import { plannedOnEachCall } from '../../dev/query-definition.js';
import * as queries from '../../src/queries.js';
import { PreparedQuery } from '../../src/statements/prepared-query.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'crm-schema-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** Types one file of queries, and returns the generated file. */
async function generateOne(source: string): Promise<string> {
  await writeFile(join(folder, 'example.sql'), source);
  const files = await generate(folder, database.url);
  return files.get('example.ts') as string;
}

test('writes queries for our own runtime, with everything that is sent', async () => {
  const output = await generateOne(
    '/* @name one */\n-- What it answers.\nselect\n  -- Why.\n  :x!::text as "one!",\n  :y::text as two;\n',
  );
  expect(output).toContain("import { PreparedQuery } from '../statements/prepared-query.js';");
  expect(output).toMatch(
    /export const one = new PreparedQuery<OneParams,OneResult>\(\{\n {2}name: 'one',\n {2}statementName: 'one_[0-9a-f]{8}',\n {2}isPreparable: true,\n {2}params: \[\n {4}\{ name: 'x', required: true \},\n {4}\{ name: 'y', required: false \},\n {2}\],\n {2}text: `\/\* one \*\/ select\n {2}\$1::text as "one",\n {2}\$2::text as two`,\n\}\);/,
  );
  expect(output).not.toContain('@pgtyped/runtime');
  expect(output).not.toContain('any');
});

test('documents a query by its comment, and names types as TypeScript does', async () => {
  const output = await generateOne(
    '/* @name two */\n-- What it answers:\n-- two lines.\nselect count(*)::integer as "two!" from unnest(:ids!::text[]) as id;\n',
  );
  expect(output).toContain(
    '/**\n * What it answers:\n * two lines.\n *\n * @remarks\n * ```sql\n * select count',
  );
  expect(output).toContain(
    '/** The parameters of {@link two}. */\nexport interface TwoParams {\n  ids: string[];\n}',
  );
  expect(output).toContain('/** A row of {@link two}. */\nexport interface TwoResult {');
  expect([...output.matchAll(/^export \w+ (\w+)/gm)].map(([, name]) => name)).toEqual([
    'TwoParams',
    'TwoResult',
    'two',
  ]);
});

test('allows nulls only in the arrays that the comment of the query names', async () => {
  const list =
    'select count(*)::integer as "count!" from unnest(:ids!::text[], :names!::text[], :versions!::bigint[]) as a (b, c, d);\n';
  const output = await generateOne(
    `/* @name one */\n-- What it answers. Nulls are allowed in \`names\`\n-- and \`versions\`.\n${list}/* @name two */\n-- What it answers.\n${list}`,
  );
  const params = [...output.matchAll(/Params \{\n([^}]*)\}/g)].map(([, fields]) => fields);
  expect(params).toEqual([
    '  ids: string[];\n  names: (string | null)[];\n  versions: (number | string | null)[];\n',
    '  ids: string[];\n  names: string[];\n  versions: (number | string)[];\n',
  ]);
});

test('the subpath ./queries exports every query, and marks those that are planned on each call', async () => {
  const files = (await readdir(projectPath('queries'))).map((name) => projectPath(`queries/${name}`));
  const sources = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  const names = sources.flatMap((source) => [...source.matchAll(/@name (\w+)/g)].map(([, name]) => name));
  const found = Object.entries(queries).filter(([, each]) => each instanceof PreparedQuery);
  expect(found.map(([name]) => name).sort()).toEqual(names.sort());
  const unprepared = found.filter(([, each]) => !(each as PreparedQuery<unknown, unknown>).isPreparable);
  expect(unprepared.map(([name]) => name).sort()).toEqual([...plannedOnEachCall].sort());
});

// pgtyped exits 0 on every one of these.
test.each([
  [
    'a comment above the name',
    '-- Wrong place.\n/* @name one */\nselect 1 as one;\n',
    /Error|Parse|example\.sql/,
  ],
  ['an unnamed column', '/* @name one */\nselect 1;\n', /Query 'One' is invalid/],
  ['an unmapped type', "/* @name one */\nselect '(1,2)'::circle as one;\n", /circle|unknown/],
  ['a column that does not exist', '/* @name one */\nselect nonsense from crm_connections;\n', /nonsense/],
  ['a syntax error', '/* @name one */\nselect from where;\n', /syntax error/],
  [
    'nulls in a parameter that is no array',
    '/* @name one */\n-- Nulls are allowed in `x`.\nselect :x!::text as "one!";\n',
    /one has no array parameter x/,
  ],
  ['no query at all', '-- Nothing.\n', /no query found/],
])('fails on %s', async (_, source, message) => {
  await expect(generateOne(source)).rejects.toThrow(message);
});
