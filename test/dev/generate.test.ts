import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { generate } from '../../dev/generate.js';
import * as queries from '../../src/queries.js';
import { PreparedQuery } from '../../src/statements/prepared-query.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();

/** Files of queries that can be typed, by name. */
const typed: Record<string, string> = {
  one: '/* @name one */\n-- What it answers.\nselect\n  -- Why.\n  :x!::text as "one!",\n  :y::text as two;\n',
  two: '/* @name two */\n-- What it answers:\n-- two lines.\nselect count(*)::integer as "two!" from unnest(:ids!::text[]) as id;\n',
  lists: [
    'one */\n-- What it answers. Nulls are allowed in `names`\n-- and `versions`',
    'two */\n-- What it answers',
  ]
    .map(
      (start) =>
        `/* @name ${start}.\nselect count(*)::integer as "count!" from unnest(:ids!::text[], :names!::text[], :versions!::bigint[]) as a (b, c, d);\n`,
    )
    .join(''),
};

/** What pgtyped cannot type, though it exits with 0: its name, a file that contains it, and what is said of it. */
const untyped: [name: string, source: string, complaint: RegExp][] = [
  [
    'a comment above the name',
    '-- Wrong place.\n/* @name commented */\nselect 1 as one;\n',
    /^ +0\.sql: commented is missing from the output$/m,
  ],
  ['an unnamed column', '/* @name unnamed */\nselect 1;\n', /Query 'Unnamed' is invalid/],
  ['an unmapped type', "/* @name unmapped */\nselect '(1,2)'::circle as one;\n", /circle/],
  [
    'a column that does not exist',
    '/* @name missing */\nselect nonsense from crm_connections;\n',
    /column \\?"nonsense\\?" does not exist/,
  ],
  ['a syntax error', '/* @name wrong */\nselect from where;\n', /syntax error/],
  [
    'nulls in a parameter that is no array',
    '/* @name scalar */\n-- Nulls are allowed in `x`.\nselect :x!::text as "one!";\n',
    /^ +5\.sql: scalar has no array parameter x$/m,
  ],
  ['no query at all', '-- Nothing.\n', /^ +6\.sql: no query found$/m],
];

let output: Record<string, string>;
let complaints = '';
// All in one run each: pgtyped takes seconds to start.
beforeAll(async () => {
  output = Object.fromEntries(
    [...(await generateFrom(typed))].map(([file, text]) => [file.replace('.ts', ''), text]),
  );
  await generateFrom(Object.fromEntries(untyped.map(([, source], index) => [index, source]))).catch(
    (error) => {
      complaints = error.message;
    },
  );
});

/** Types files of queries, and returns the generated files. */
async function generateFrom(sources: Record<string, string>): Promise<Map<string, string>> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-test-'));
  try {
    for (const [name, source] of Object.entries(sources)) {
      await writeFile(join(folder, `${name}.sql`), source);
    }
    return await generate(folder, database.url);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('writes queries for our own runtime, with everything that is sent', () => {
  expect(output.one).toContain("import { PreparedQuery } from '../statements/prepared-query.js';");
  expect(output.one).toMatch(
    /export const one = new PreparedQuery<OneParams,OneResult>\(\{\n {2}name: 'one',\n {2}statementName: 'one_[0-9a-f]{8}',\n {2}params: \[\n {4}\{ name: 'x', required: true \},\n {4}\{ name: 'y', required: false \},\n {2}\],\n {2}text: `select \/\* one \*\/\n {2}\$1::text as "one",\n {2}\$2::text as two`,\n\}\);/,
  );
  expect(output.one).not.toContain('@pgtyped/runtime');
  expect(output.one).not.toContain('any');
});

test('documents a query by its comment, and names types as TypeScript does', () => {
  expect(output.two).toContain(
    '/**\n * What it answers:\n * two lines.\n *\n * @remarks\n * ```sql\n * select count',
  );
  expect(output.two).toContain(
    '/** The parameters of {@link two}. */\nexport interface TwoParams {\n  ids: string[];\n}',
  );
  expect(output.two).toContain('/** A row of {@link two}. */\nexport interface TwoResult {');
  expect([...(output.two ?? '').matchAll(/^export \w+ (\w+)/gm)].map(([, name]) => name)).toEqual([
    'TwoParams',
    'TwoResult',
    'two',
  ]);
});

test('allows nulls only in the arrays that the comment of the query names', () => {
  const params = [...(output.lists ?? '').matchAll(/Params \{\n([^}]*)\}/g)].map(([, fields]) => fields);
  expect(params).toEqual([
    '  ids: string[];\n  names: (string | null)[];\n  versions: (number | string | null)[];\n',
    '  ids: string[];\n  names: string[];\n  versions: (number | string)[];\n',
  ]);
});

test('the subpath ./queries exports every query, and the server may prepare each', async () => {
  const files = (await readdir(projectPath('queries'))).map((name) => projectPath(`queries/${name}`));
  const sources = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  const names = sources.flatMap((source) => [...source.matchAll(/@name (\w+)/g)].map(([, name]) => name));
  const found = Object.entries(queries).filter(([, each]) => each instanceof PreparedQuery);
  expect(found.map(([name]) => name).sort()).toEqual(names.sort());
  for (const [name, each] of found) {
    expect((each as PreparedQuery<unknown, unknown>).isPreparable, name).toBe(true);
  }
});

test.each(untyped)('fails on %s', (_, __, complaint) => {
  expect(complaints).toMatch(complaint);
});
