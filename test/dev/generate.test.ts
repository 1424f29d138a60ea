import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { generate } from '../../dev/generate.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'crm-schema-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** Types one file of queries; returns its output. */
async function generateOne(source: string): Promise<string> {
  await writeFile(join(folder, 'example.sql'), source);
  const files = await generate(folder, database.url);
  return files.get('example.ts') as string;
}

test('puts queries on our own runtime, by name', async () => {
  const output = await generateOne('/* @name one */\n-- What it answers.\nselect 1 as "one!";\n');
  expect(output).toContain("import { PreparedQuery } from '../prepared-query.js';");
  expect(output).toContain("export const one = new PreparedQuery<OneParams,OneResult>('one', oneIR);");
  expect(output).not.toContain('@pgtyped/runtime');
  expect(output).not.toContain('any');
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
  ['a column that is not there', '/* @name one */\nselect nonsense from crm_connections;\n', /nonsense/],
  ['a syntax error', '/* @name one */\nselect from where;\n', /syntax error/],
  ['no query at all', '-- Nothing.\n', /no query found/],
])('fails on %s', async (_, source, message) => {
  await expect(generateOne(source)).rejects.toThrow(message);
});
