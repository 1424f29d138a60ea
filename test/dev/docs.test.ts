import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { apiPages } from '../../dev/docs.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'crm-schema-test-'));
  await writeFile(join(folder, 'package.json'), '{ "name": "@test/package" }');
  await writeFile(
    join(folder, 'tsconfig.json'),
    '{ "compilerOptions": { "types": [], "lib": ["es2023"], "skipLibCheck": true, "strict": true }, "include": ["*.ts"] }',
  );
});
afterEach(() => rm(folder, { recursive: true }));

/** Documents a package with this root module and a subpath `more`. */
async function pagesOf(source: string): Promise<Map<string, string>> {
  const modules = ['index.ts', 'more.ts'].map((name) => join(folder, name));
  for (const module of modules) {
    const text = module.endsWith('index.ts') ? source : '/** Asks. */\nexport const question = 6 * 7;';
    await writeFile(module, `/**\n * What it is for.\n *\n * @packageDocumentation\n */\n\n${text}\n`);
  }
  return apiPages({ name: '@test/package', modules, tsconfig: join(folder, 'tsconfig.json') });
}

test('documents each export under the name it is imported by, without paths of this machine', async () => {
  const pages = await pagesOf('/** Answers. */\nexport const answer: number = 42;');
  expect([...pages.keys()]).toEqual(['index.md', 'more.md', 'README.md']);
  expect(pages.get('README.md')).toMatch(
    /- \[`@test\/package`\]\(index\.md\)\n- \[`@test\/package\/more`\]\(more\.md\)\n$/,
  );
  expect(pages.get('more.md')).toMatch(/^# @test\/package\/more\n\nWhat it is for\.\n/);
  expect(pages.get('index.md')).toContain('Answers.');
  expect([...pages.values()].join()).not.toContain(folder);
});

test.each([
  [
    'an export without a docstring',
    'export const answer = 42;',
    /index\.answer .*not have any documentation/,
  ],
  [
    'a link that leads nowhere',
    '/** {@link nowhere} */\nexport const answer = 42;',
    /resolve link to "nowhere"/,
  ],
  [
    'a type that is not exported',
    'interface Hidden { a: 1 }\n/** Answers. */\nexport function answer(): Hidden { return { a: 1 }; }',
    /Hidden, .* not included/,
  ],
  ['source that does not compile', '/** Answers. */\nexport const answer: string = 42;', /TS2322/],
])('fails on %s', async (_, source, message) => {
  await expect(pagesOf(source)).rejects.toThrow(message);
});
