import { Command } from 'commander';
import { migrationNames, numberOf, readMigrationFiles } from '../migrations/files.js';
import {
  type MigrationTarget,
  migrateDown,
  migrateUp,
  migrationPlan,
  migrationStatus,
} from '../migrations.js';
import { withConnection } from './database.js';
import { exitCodes } from './exit-codes.js';
import { planText, statusReport } from './migrate-report.js';
import { type RunOptions, runMigrations } from './migrate-run.js';
import { checkProduction, wholeNumberParser } from './options.js';
import { formatJson, printMessage, printResult } from './text.js';

interface TableOptions {
  migrationsTable: string;
  json?: boolean;
}

interface TargetOptions extends TableOptions {
  to?: number;
}

/** `crm-schema migrate …` */
export function migrateCommand(): Command {
  const command = new Command('migrate');
  addRunOptions(command.command('up'))
    .description(
      'Applies pending migrations, each file in its own transaction. May be interrupted, and run by several deployments at once.',
    )
    .option('--to <number>', 'the last migration to apply (default: all)', parseMigrationNumber)
    .action(runUp);
  addRunOptions(command.command('down'))
    .description(
      'Reverts migrations, newest first. Refuses in production; and refuses, before it reverts anything, while rows would be lost.',
    )
    .requiredOption('--to <number>', 'the last migration to keep; 0 for none', parseMigrationNumber)
    .option('--allow-production', 'run even if NODE_ENV is not development or test')
    .action(runDown);
  addTableOptions(command.command('status'))
    .description(
      'Shows which migrations are applied, pending, edited since their release, or unknown to this version.',
    )
    .option('--check', 'exit with 3 unless all are applied, and none is edited, unknown or out of order')
    .action(showStatus);
  addTableOptions(command.command('plan'))
    .description('Prints the SQL that up, or down --to, would run. Changes nothing.')
    .option('--to <number>', 'the last migration to end up with, up or down', parseMigrationNumber)
    .action(printPlan);
  return command;
}

const parseMigrationNumber = wholeNumberParser(0, 9999);

function addTableOptions(command: Command): Command {
  return command
    .option('--migrations-table <name>', 'the migrations table', 'crm_schema_migrations')
    .option('--json', 'print JSON');
}

function addRunOptions(command: Command): Command {
  return addTableOptions(command)
    .option(
      '--wait <seconds>',
      'how long to wait for another migrator, 0 to 3600',
      wholeNumberParser(0, 3600),
      600,
    )
    .option(
      '--attempts <number>',
      'how often to try a file that gets no lock, 1 to 100',
      wholeNumberParser(1, 100),
      10,
    )
    .addHelpText('after', lockHelp);
}

const lockHelp = `
Locks: the header of each file lists them. A file that does not get a lock
within five seconds lets other sessions through, and is tried again after a
pause that grows to half a minute. Meanwhile other migrators wait; stock
node-pg-migrate fails.
Poolers are not supported here: connect to the database directly.`;

async function runUp(options: RunOptions, command: Command): Promise<void> {
  await checkTarget(options, command);
  await runMigrations(options, migrateUp, { nothing: 'Nothing to apply', done: 'Applied' });
}

async function runDown(
  options: RunOptions & { to: number; allowProduction?: boolean },
  command: Command,
): Promise<void> {
  checkProduction(options, command, 'revert');
  await checkTarget(options, command);
  await runMigrations(options, (client, settings) => migrateDown(client, { ...settings, to: options.to }), {
    nothing: 'Nothing to revert',
    done: 'Reverted',
  });
}

/** Checks the target before connecting: an unknown number is a usage error. */
async function checkTarget({ to }: TargetOptions, command: Command): Promise<void> {
  const names = await migrationNames();
  if (to === undefined || to === 0 || names.some((name) => numberOf(name) === to)) return;
  command.error(`error: there is no migration ${to}: the last is ${names.at(-1)}`);
}

async function showStatus(options: TableOptions & { check?: boolean }): Promise<void> {
  const status = await withConnection((client) => migrationStatus(client, options));
  if (options.json) await printResult(formatJson(status));
  else {
    const otherLineEndings = (await readMigrationFiles()).filter((file) => file.hasOtherLineEndings);
    await printResult(statusReport(status, new Set(otherLineEndings.map(({ name }) => name))).join('\n'));
  }
  if (options.check && !status.isCurrent) process.exitCode = exitCodes.unmet;
}

async function printPlan(options: TargetOptions, command: Command): Promise<void> {
  await checkTarget(options, command);
  const target: MigrationTarget = options;
  const plan = await withConnection((client) => migrationPlan(client, target));
  if (options.json) return printResult(formatJson(plan));
  if (plan.migrations.length === 0) return printMessage('Nothing to run.');
  await printResult(planText(plan));
  printMessage(`To run this by hand in schema ${plan.schema}: psql --set ON_ERROR_STOP=1`);
}
