#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { exitCodeOf, exitCodes } from './exit-codes.js';
import { explainError } from './explain-errors.js';
import { formatJson, hasPrintedResult, printMessage, printResult } from './text.js';

const { version } = createRequire(import.meta.url)('../../package.json');

/** Loads the subcommand that is called; help needs them all. Their dependencies take a while to load. */
const subcommands: Record<string, () => Promise<Command>> = {
  migrate: async () => (await import('./migrate.js')).migrateCommand(),
  health: async () => (await import('./health.js')).healthCommand(),
  failures: async () => (await import('./failing-records.js')).failuresCommand(),
  credentials: async () => (await import('./credentials.js')).credentialsCommand(),
  contact: async () => (await import('./contact.js')).contactCommand(),
  organisation: async () => (await import('./organisation.js')).organisationCommand(),
  partitions: async () => (await import('./partitions.js')).partitionsCommand(),
  verify: async () => (await import('./verify.js')).verifyCommand(version),
};

const program = new Command('crm-schema')
  .description("Manages the database schema of NurtureHub's CRM integrations.")
  .version(version)
  .addHelpText(
    'afterAll',
    `
Environment:
  DATABASE_URL  postgres://user:password@host:5432/database;
                or set PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD

Exit codes:
  0  done
  1  failed
  2  usage error
  3  something is missing, pending or different`,
  );

const [, , subcommandName = ''] = process.argv;
const loaders = Object.hasOwn(subcommands, subcommandName)
  ? [subcommands[subcommandName]]
  : Object.values(subcommands);
for (const load of loaders) if (load !== undefined) program.addCommand(await load());

// Subcommands too: a usage error has its own exit code.
for (const command of [program, ...program.commands, ...program.commands.flatMap((each) => each.commands)]) {
  command.exitOverride();
  command.configureOutput({
    outputError(text) {
      for (const line of text.trimEnd().split('\n')) printMessage(line);
    },
  });
}

// A reader that stops early, as `head` does, must not stop a migration.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usage;
  } else {
    const message = explainError(error);
    // A program that asked for JSON gets JSON.
    if (process.argv.includes('--json') && !hasPrintedResult())
      await printResult(formatJson({ error: message }));
    for (const line of message.split('\n')) printMessage(line);
    process.exitCode = exitCodeOf(error);
  }
}
