#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { credentialsCommand } from './credentials.js';
import { failuresCommand } from './failing-records.js';
import { exitCodeOf, exitCodes, explain } from './failures.js';
import { healthCommand } from './health.js';
import { migrateCommand } from './migrate.js';
import { partitionsCommand } from './partitions.js';
import { hasPrinted, json, print, say } from './text.js';
import { verifyCommand } from './verify.js';

const { version } = createRequire(import.meta.url)('../../package.json');

const program = new Command('crm-schema')
  .description("Manages the database schema of NurtureHub's CRM integrations.")
  .version(version)
  .addCommand(migrateCommand())
  .addCommand(healthCommand())
  .addCommand(failuresCommand())
  .addCommand(credentialsCommand())
  .addCommand(partitionsCommand())
  .addCommand(verifyCommand(version))
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

// Subcommands too: a usage error has its own exit code.
for (const command of [program, ...program.commands, ...program.commands.flatMap((each) => each.commands)]) {
  command.exitOverride();
  command.configureOutput({
    outputError(text) {
      for (const line of text.trimEnd().split('\n')) say(line);
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
    const message = explain(error);
    // A program that asked for JSON gets JSON.
    if (process.argv.includes('--json') && !hasPrinted()) await print(json({ error: message }));
    for (const line of message.split('\n')) say(line);
    process.exitCode = exitCodeOf(error);
  }
}
