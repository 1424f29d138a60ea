import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { contactCommand } from '../../src/cli/contact.js';
import { credentialsCommand } from '../../src/cli/credentials.js';
import { failuresCommand } from '../../src/cli/failing-records.js';
import { healthCommand } from '../../src/cli/health.js';
import { migrateCommand } from '../../src/cli/migrate.js';
import { organisationCommand } from '../../src/cli/organisation.js';
import { partitionsCommand } from '../../src/cli/partitions.js';
import { verifyCommand } from '../../src/cli/verify.js';

const commands: readonly Command[] = [
  contactCommand(),
  credentialsCommand(),
  failuresCommand(),
  healthCommand(),
  migrateCommand(),
  organisationCommand(),
  partitionsCommand(),
  verifyCommand(''),
];

const folders = ['.', 'docs', 'docs/operations', 'examples/deploy'];
const files = await Promise.all(
  folders.map(async (folder) => (await readdir(projectPath(folder))).map((name) => join(folder, name))),
);
const documents = files.flat().filter((file) => file.endsWith('.md') && !file.startsWith('CHANGELOG'));

/** The words after each `crm-schema` that a document shows as code, up to a pipe, a comment or a placeholder. */
function callsIn(text: string): string[][] {
  const found = [
    ...text.replaceAll(/\\\n */g, '').matchAll(/(?:npx(?:\.cmd)? --no -- |`)crm-schema ([^\n`]*)/g),
  ];
  return found
    .map(([, words = '']) =>
      words
        .replace(/( [#|>]|[)…]).*/, '')
        .split(/\s+/)
        .filter(Boolean),
    )
    .filter((call) => call.length > 0);
}

/** The first word of a call that is neither a subcommand, nor an option, nor a value; undefined if there is none. */
function firstUnknown([name, ...words]: readonly string[]): string | undefined {
  let command = commands.find((each) => each.name() === name);
  if (command === undefined) return name;
  for (const [index, word] of words.entries()) {
    const subcommand: Command | undefined = command.commands.find((each) => each.name() === word);
    if (subcommand !== undefined) {
      command = subcommand;
    } else if (word.startsWith('--')) {
      // A command without a subcommand may run its default one.
      const options = [command, ...command.commands].flatMap((each) => each.options);
      if (word !== '--help' && !options.some(({ long }) => long === word)) return word;
    } else if (index === 0 && command.commands.length > 0) {
      return word;
    }
  }
  return undefined;
}

const shown = await Promise.all(
  documents.map(async (document) => callsIn(await readFile(projectPath(document), 'utf8'))),
);

test('the documents show commands', () => {
  expect(shown.flat().length).toBeGreaterThan(60);
  expect(callsIn('npx.cmd --no -- crm-schema migrate plan > plan.sql')).toEqual([['migrate', 'plan']]);
});

test.each([
  [['migrate', 'upwards'], 'upwards'],
  [['migrate', 'down', '--too', '9'], '--too'],
  [['keys'], 'keys'],
  [['migrate', 'down', '--to', '9', '--allow-production'], undefined],
])('in crm-schema %j, the first unknown word is %s', (call, word) => {
  expect(firstUnknown(call)).toBe(word);
});

test.each(documents.map((document, index) => [document, shown[index] ?? []] as const))(
  'each crm-schema command in %s has subcommands and options that exist',
  (_, calls) => {
    expect(calls.filter((call) => firstUnknown(call) !== undefined)).toEqual([]);
  },
);
