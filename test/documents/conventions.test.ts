import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';

let conventions: string;
beforeAll(async () => {
  conventions = await readFile(projectPath('CONVENTIONS.md'), 'utf8');
});

/** Joins the text of all files in a folder whose names have this ending. */
async function textOf(folder: string, end: string): Promise<string> {
  const names = await readdir(projectPath(folder), { recursive: true });
  const files = names.filter((name) => name.endsWith(end));
  const texts = await Promise.all(files.map((name) => readFile(projectPath(join(folder, name)), 'utf8')));
  return texts.join('\n');
}

/** The code spans in the first column of the table with this head. */
function firstColumn(head: string): string[] {
  const [, rows = ''] = conventions.split(`${head}\n`)[1]?.match(/^\|[-|]+\|\n((?:\|.*\n)+)/) ?? [];
  const cells = rows.split('\n').map((row) => row.split('|')[1] ?? '');
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string));
}

test('CONVENTIONS.md lists exactly the environment variables that the tests read', async () => {
  const text = await textOf('test', '.ts');
  const read = [...text.matchAll(/\b((?:TEST|CHAOS|MODEL)_[A-Z_]+)\b/g)].map(([, name]) => name as string);
  const named = firstColumn('| variable | effect |').map((name) => name.replace(/=.*/, ''));
  const others = ['DOCKER_HOST', 'TESTCONTAINERS_RYUK_DISABLED'];
  expect(named.toSorted()).toEqual([...new Set([...read, ...others])].toSorted());
});

test('CONVENTIONS.md lists exactly the npm scripts that people run', async () => {
  const { scripts } = JSON.parse(await readFile(projectPath('package.json'), 'utf8'));
  const run = Object.keys(scripts).filter((name) => !/^(check:|build$|prepack$)/.test(name));
  const called = firstColumn('| command | does |').flatMap((command) =>
    command.startsWith('npm ') ? [command.replace(/^npm (run )?/, '')] : [],
  );
  expect(called.toSorted()).toEqual(run.toSorted());
});

test('CONVENTIONS.md lists every example', async () => {
  const examples = await readdir(projectPath('examples'), { withFileTypes: true });
  for (const example of examples) {
    // The README's first steps explain this one.
    if (example.name !== 'host-tables.sql') expect(conventions).toContain(`\`examples/${example.name}`);
  }
});

test('CONVENTIONS.md gives the first and last SQLSTATE that the migrations raise', async () => {
  const raised = [...(await textOf('migrations', '.sql')).matchAll(/\bCRM\d\d\b/g)].map(([code]) => code);
  const [, first, last] = /SQLSTATEs `(CRM\d\d)` … `(CRM\d\d)`/.exec(conventions) ?? [];
  const codes = [...new Set(raised)].toSorted();
  expect([codes[0], codes.at(-1)]).toEqual([first, last]);
});
