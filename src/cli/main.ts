#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { exitCodes, explain, Lacking } from './failures.js';
import { hasPrinted, json, print, say } from './text.js';

const { version } = createRequire(import.meta.url)('../../package.json');

/** Loads the subcommand that is called; help needs them all. Their dependencies take a while to load. */
const subcommands: Record<string, () => Promise<Command>> = {
  migrate: async () => (await import('./migrate.js')).migrateCommand(),
  health: async () => (await import('./health.js')).healthCommand(),
  failures: async () => (await import('./failing-records.js')).failuresCommand(),
  credentials: async () => (await import('./credentials.js')).credentialsCommand(),
  partitions: async () => (await import('./partitions.js')).partitionsCommand(),
  verify: async () => (await import('./verify.js')).verifyCommand(version),
};

const program = new Command('crm-schema')
  .description("Looks after the database of NurtureHub's CRM integrations.")
  .version(version)
  .addHelpText(
    'afterAll',
    `
Environment:
  DATABASE_URL  the database: postgres://user:password@host:5432/database;
                or PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD

Exit codes: 0 done, 1 failed, 2 wrong call, 3 lacking, pending or different.`,
  );

const [, , called = ''] = process.argv;
const loaders = Object.hasOwn(subcommands, called) ? [subcommands[called]] : Object.values(subcommands);
for (const load of loaders) if (load !== undefined) program.addCommand(await load());

// Also for subcommands: a wrong call is another exit code than a failure.
for (const command of [program, ...program.commands, ...program.commands.flatMap((each) => each.commands)]) {
  command.exitOverride();
  command.configureOutput({
    outputError(text) {
      for (const line of text.trimEnd().split('\n')) say(line);
    },
  });
}

// Who has stopped reading, as `head` does, stops nothing else: a migration is not left because of its log.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usage;
  } else {
    const message = explain(error);
    // A program that asked for a document gets one.
    if (process.argv.includes('--json') && !hasPrinted()) await print(json({ error: message }));
    for (const line of message.split('\n')) say(line);
    process.exitCode = error instanceof Lacking ? exitCodes.unmet : exitCodes.failed;
  }
}
