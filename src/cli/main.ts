#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { exitCodeOf, exitCodes } from './exit-codes.js';
import { explainError } from './explain-errors.js';
import { formatJson, hasPrintedResult, printMessage, printResult } from './text.js';

const { version } = createRequire(import.meta.url)('../../package.json');

/** The subcommands. Their modules are loaded only for the one that is called: they take a while. */
const subcommands: Record<string, { description: string; load: () => Promise<Command> }> = {
  migrate: {
    description: 'Applies and reverts the migrations of this package, and shows their status.',
    load: async () => (await import('./migrate.js')).migrateCommand(),
  },
  health: {
    description:
      'Shows the health of all connections, or of one organisation. Exit code 3 if the organisation has none.',
    load: async () => (await import('./health.js')).healthCommand(),
  },
  failures: {
    description:
      'Lists and replays the failing records of a connection. Exit code 3 if there is no such connection.',
    load: async () => (await import('./failing-records.js')).failuresCommand(),
  },
  credentials: {
    description: 'Manages the keys that encrypt credentials.',
    load: async () => (await import('./credentials.js')).credentialsCommand(),
  },
  contact: {
    description: 'Exports or erases a person, and lists the proofs of erasures.',
    load: async () => (await import('./contact.js')).contactCommand(),
  },
  organisation: {
    description: 'Erases an organisation.',
    load: async () => (await import('./organisation.js')).organisationCommand(),
  },
  partitions: {
    description:
      'Creates the monthly partitions of crm_sync_log ahead of time, and drops those past the retention period.',
    load: async () => (await import('./partitions.js')).partitionsCommand(),
  },
  verify: {
    description:
      'Compares the database with the schema that this version expects, and prints how to repair each difference. Any user may run it; it writes nothing. Exit code 3 if anything differs.',
    load: async () => (await import('./verify.js')).verifyCommand(version),
  },
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

const [, , first = '', second = ''] = process.argv;
const called = first === 'help' ? second : first;
for (const [name, { description, load }] of Object.entries(subcommands)) {
  program.addCommand((name === called ? await load() : new Command(name)).description(description));
}

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
