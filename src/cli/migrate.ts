import { Command } from 'commander';
import type pg from 'pg';
import { CrmSchemaError } from '../errors.js';
import { migrationNames, numberOf, readMigrationFiles } from '../migrations/files.js';
import {
  type MigrateOptions,
  type MigrationResult,
  type MigrationTarget,
  migrateDown,
  migrateUp,
  migrationPlan,
  migrationStatus,
} from '../migrations.js';
import { BlockingSessions } from '../statements/blocking-sessions.js';
import { serverProcess } from '../statements/dedicated-connection.js';
import { withConnection, withWatchedConnection } from './database.js';
import { exitCodes, explain } from './failures.js';
import { MigrationLog } from './migrate-log.js';
import { planText, statusReport } from './migrate-report.js';
import { wholeNumber } from './options.js';
import { json, print, say } from './text.js';

interface TableOptions {
  migrationsTable: string;
  json?: boolean;
}

interface TargetOptions extends TableOptions {
  to?: number;
}

interface RunOptions extends TargetOptions {
  wait: number;
  attempts: number;
}

/** `crm-schema migrate …` */
export function migrateCommand(): Command {
  const command = new Command('migrate').description(
    'Applies and reverts the migrations of this package, and shows their status.',
  );
  running(command.command('up'))
    .description(
      'Applies pending migrations, each file in its own transaction. May be interrupted, and run by several deployments at once.',
    )
    .option('--to <number>', 'the last migration to apply (default: all)', number)
    .action(up);
  running(command.command('down'))
    .description(
      'Reverts migrations, newest first. Refuses in production; and refuses, before it reverts anything, while rows would be lost.',
    )
    .requiredOption('--to <number>', 'the last migration to keep; 0 for none', number)
    .option('--allow-production', 'run even if NODE_ENV is not development or test')
    .action(down);
  onTable(command.command('status'))
    .description(
      'Shows which migrations are applied, pending, edited since their release, or unknown to this version.',
    )
    .option('--check', 'exit with 3 unless all are applied, and none is edited, unknown or out of order')
    .action(status);
  onTable(command.command('plan'))
    .description('Prints the SQL that up, or down --to, would run. Changes nothing.')
    .option('--to <number>', 'the last migration to end up with, up or down', number)
    .action(plan);
  return command;
}

const number = wholeNumber(0, 9999);

function onTable(command: Command): Command {
  return command
    .option('--migrations-table <name>', 'the migrations table', 'crm_schema_migrations')
    .option('--json', 'print JSON');
}

function running(command: Command): Command {
  return onTable(command)
    .option('--wait <seconds>', 'how long to wait for another migrator, 0 to 3600', wholeNumber(0, 3600), 600)
    .option(
      '--attempts <number>',
      'how often to try a file that gets no lock, 1 to 100',
      wholeNumber(1, 100),
      10,
    )
    .addHelpText('after', locks);
}

const locks = `
Locks: the header of each file lists them. A file that does not get a lock
within five seconds lets other sessions through, and is tried again after a
pause that grows to half a minute. Meanwhile other migrators wait; stock
node-pg-migrate fails.
Poolers are not supported here: connect to the database directly.`;

async function up(options: RunOptions, command: Command): Promise<void> {
  await checkTarget(options, command);
  await migrate(options, (client, how) => migrateUp(client, how), {
    nothing: 'Nothing to apply',
    done: 'Applied',
  });
}

async function down(
  options: RunOptions & { to: number; allowProduction?: boolean },
  command: Command,
): Promise<void> {
  if (!options.allowProduction && !/^(development|test)$/.test(process.env.NODE_ENV ?? '')) {
    command.error(
      'error: NODE_ENV is not development or test, so this may be production: add --allow-production to revert anyway',
    );
  }
  await checkTarget(options, command);
  await migrate(options, (client, how) => migrateDown(client, { ...how, to: options.to }), {
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

async function migrate(
  options: RunOptions,
  work: (client: pg.Client, how: MigrateOptions) => Promise<MigrationResult>,
  words: { nothing: string; done: string },
): Promise<void> {
  const interruption = new AbortController();
  const onSignal = () => interruption.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  const log = new MigrationLog(words.done.toLowerCase());
  const { to, wait, attempts, migrationsTable } = options;
  const outcome = await withWatchedConnection(async (client, watcher) => {
    const sessions = new BlockingSessions(watcher);
    const pid = await serverProcess(client);
    // Otherwise the server would run the statement to its end, and keep its locks.
    interruption.signal.addEventListener('abort', () => sessions.cancel(pid));
    return sessions.during(pid, () =>
      work(client, {
        to,
        wait,
        attempts,
        migrationsTable,
        signal: interruption.signal,
        onProgress: (progress) => log.add(progress, sessions),
      }).catch((error: unknown) => {
        throw interruption.signal.aborted ? interrupted() : withBlockingSession(error, attempts, sessions);
      }),
    );
  }).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  log.end();
  if (options.json) {
    const error = outcome === undefined ? null : explain(outcome.error);
    await print(json({ migrations: log.done, error }));
  } else if (outcome === undefined) {
    await print(log.done.length === 0 ? `${words.nothing}: ${log.current}.` : `${words.done} ${log.total}.`);
  }
  if (outcome !== undefined) throw outcome.error;
}

function interrupted(): Error {
  return new Error(
    'Interrupted: the migration in progress was rolled back. Run the command again for the rest.',
  );
}

/** Names the sessions that kept a migration from its lock: the server's error does not. */
function withBlockingSession(error: unknown, attempts: number, sessions: BlockingSessions): unknown {
  const { cause } = error as { cause?: { code?: string } };
  if (!(error instanceof CrmSchemaError) || cause?.code !== '55P03') return error;
  const name = error.message.slice(0, error.message.indexOf(' '));
  return new Error(
    `Could not run ${name} in ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}, blocked by ${sessions.last}. Earlier migrations are kept: run the command again when that transaction has ended.`,
  );
}

async function status(options: TableOptions & { check?: boolean }): Promise<void> {
  const found = await withConnection((client) => migrationStatus(client, options));
  if (options.json) await print(json(found));
  else {
    const otherLineEndings = (await readMigrationFiles()).filter((file) => file.hasOtherLineEndings);
    await print(statusReport(found, new Set(otherLineEndings.map(({ name }) => name))).join('\n'));
  }
  if (options.check && !found.isCurrent) process.exitCode = exitCodes.unmet;
}

async function plan(options: TargetOptions, command: Command): Promise<void> {
  await checkTarget(options, command);
  const target: MigrationTarget = options;
  const found = await withConnection((client) => migrationPlan(client, target));
  if (options.json) return print(json(found));
  if (found.migrations.length === 0) return say('Nothing to run.');
  await print(planText(found));
  say(`To run this by hand in schema ${found.schema}: psql --set ON_ERROR_STOP=1`);
}
