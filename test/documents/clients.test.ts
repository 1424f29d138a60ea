import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { unreported } from '../clients/tools.js';
import { codeBlocks } from './blocks.js';

const page = await readFile(projectPath('docs/clients.md'), 'utf8');
const programs = (await readdir(projectPath('examples/clients'))).filter((name) => name.endsWith('.ts'));

test.each(programs)('docs/clients.md shows %s as it is', async (name) => {
  const program = await readFile(projectPath(`examples/clients/${name}`), 'utf8');
  expect((await codeBlocks('docs/clients.md')).map(({ text }) => text)).toContain(program);
});

test('docs/clients.md shows no other program', async () => {
  const shown = (await codeBlocks('docs/clients.md')).filter(({ language }) => language === 'ts');
  expect(shown).toHaveLength(programs.length);
});

test('docs/clients.md names the versions that are tested', async () => {
  const lock = JSON.parse(await readFile(projectPath('package-lock.json'), 'utf8'));
  const script = await readFile(projectPath('dev/newer-clients/install.sh'), 'utf8');
  const locked = (name: string): string => lock.packages[`node_modules/${name}`].version;
  const newer = (name: string) => new RegExp(` ${name}@([\\d.]+)`).exec(script)?.[1] ?? '';
  const [, table = ''] = /\| library \| versions tested .*\n\|[-|]+\|\n((?:\|.*\n)+)/.exec(page) ?? [];
  const named = table.split('\n').map((row) => row.split('|').map((cell) => cell.trim()));
  expect(named.slice(0, -1).map(([, library, versions]) => [library, versions])).toEqual([
    ['`pg`', locked('pg')],
    ['Drizzle', locked('drizzle-orm')],
    ['Kysely', `${locked('kysely')}, ${newer('kysely')}`],
    ['Prisma', newer('@prisma/adapter-pg')],
    ['MikroORM 7', newer('@mikro-orm/postgresql')],
    ['MikroORM 6', locked('@mikro-orm/postgresql')],
    ['Knex', locked('knex')],
    ['TypeORM', locked('typeorm')],
    ['postgres.js', locked('postgres')],
  ]);
});

test('docs/clients.md names the libraries that report a failed transaction as committed', () => {
  const [, names = ''] = /\. ([\w ,]+) \*report success\*/.exec(page) ?? [];
  expect(names.split(/, | and /)).toEqual(unreported);
});
