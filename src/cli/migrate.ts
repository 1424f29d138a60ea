import { Command } from 'commander';
import type pg from 'pg';
import { CrmSchemaError } from '../errors.js';
import { readMigrationFiles } from '../migrations/files.js';
import {
  type MigrateOptions,
  type MigrationResult,
  type MigrationTarget,
  migrateDown,
  migrateUp,
  migrationPlan,
  migrationStatus,
} from '../migrations.js';
import { withConnection } from './database.js';
import { exitCodes, explain } from './failures.js';
import { LockWaits, withWatcher } from './lock-waits.js';
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
    'Applies the migrations of this package, and says what is applied.',
  );
  running(command.command('up'))
    .description(
      'Applies what is pending, each file in a transaction of its own. May be interrupted, and run by many at once.',
    )
    .option('--to <number>', 'up to this one and no further', number)
    .action(up);
  running(command.command('down'))
    .description(
      'Reverts, newest first. Refuses in production, and, before it reverts anything, while there are rows to lose.',
    )
    .requiredOption('--to <number>', 'the last one that stays; 0 for none', number)
    .option('--allow-production', 'also where NODE_ENV is not development or test')
    .action(down);
  onTable(command.command('status'))
    .description('Shows what is applied, pending, edited since its release, and unknown here.')
    .option('--check', 'exit code 3 unless all of it is applied and nothing is odd')
    .action(status);
  onTable(command.command('plan'))
    .description('Prints the SQL that up would run, or down --to, and runs none of it.')
    .option('--to <number>', 'to come to this one, up or down', number)
    .action(plan);
  return command;
}

const number = wholeNumber(0, 9999);

function onTable(command: Command): Command {
  return command
    .option('--migrations-table <name>', 'where it is recorded what is applied', 'crm_schema_migrations')
    .option('--json', 'prints JSON, for programs');
}

function running(command: Command): Command {
  return onTable(command)
    .option('--wait <seconds>', '0 to 3600 for another migrator', wholeNumber(0, 3600), 600)
    .option('--attempts <number>', '1 to 100 of a file that gets no lock in time', wholeNumber(1, 100), 10)
    .addHelpText('after', locks);
}

const locks = `
Locks: each file says at its top what it locks. It gives up after five seconds
without a lock, lets others through, and is tried again after a pause that grows
to half a minute. Other migrators wait meanwhile, stock node-pg-migrate fails.
A pooler does not do: connect to the database itself.`;

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
      'error: this may be production, as NODE_ENV is not development or test: --allow-production to go down all the same',
    );
  }
  await checkTarget(options, command);
  await migrate(options, (client, how) => migrateDown(client, { ...how, to: options.to }), {
    nothing: 'Nothing to revert',
    done: 'Reverted',
  });
}

/** Before anything is connected to: a number that is none is a wrong call. */
async function checkTarget({ to }: TargetOptions, command: Command): Promise<void> {
  const files = await readMigrationFiles();
  if (to === undefined || to === 0 || files.some((file) => file.number === to)) return;
  command.error(`error: there is no migration ${to}: the last is ${files.at(-1)?.name}`);
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
  const outcome = await withConnection((client) =>
    withWatcher(async (watcher) => {
      const { rows } = await client.query('select pg_backend_pid() as pid');
      const [{ pid }] = rows;
      // Else the server would run the statement to its end, and keep its locks.
      const cancel = () => watcher.query('select pg_cancel_backend($1::integer)', [pid]).catch(() => {});
      interruption.signal.addEventListener('abort', cancel);
      const waits = new LockWaits(watcher);
      return waits.during(pid, () =>
        work(client, {
          to,
          wait,
          attempts,
          migrationsTable,
          signal: interruption.signal,
          onProgress: (progress) => log.add(progress, watcher, waits),
        }).catch((error: unknown) => {
          throw interruption.signal.aborted ? interrupted() : withBlockingSession(error, attempts, waits);
        }),
      );
    }),
  ).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  log.end();
  if (options.json) {
    const error = outcome === undefined ? null : explain(outcome.error);
    await print(json({ migrations: log.done, error }));
  } else if (outcome === undefined) {
    await print(log.done.length === 0 ? `${words.nothing}: ${log.standing}.` : `${words.done} ${log.total}.`);
  }
  if (outcome !== undefined) throw outcome.error;
}

function interrupted(): Error {
  return new Error('Interrupted: what was under way is rolled back. Run it again for the rest.');
}

/** What a lock was not had in time for, says the server; because of whom, the watcher has seen. */
function withBlockingSession(error: unknown, attempts: number, waits: LockWaits): unknown {
  const { cause } = error as { cause?: { code?: string } };
  if (!(error instanceof CrmSchemaError) || cause?.code !== '55P03') return error;
  const name = error.message.slice(0, error.message.indexOf(' '));
  return new Error(
    `Could not run ${name} in ${attempts} attempts, because of ${waits.last}. What was done before stays: run it again when that has ended.`,
  );
}

async function status(options: TableOptions & { check?: boolean }): Promise<void> {
  const found = await withConnection((client) => migrationStatus(client, options));
  await print(options.json ? json(found) : statusReport(found).join('\n'));
  if (options.check && !found.isCurrent) process.exitCode = exitCodes.unmet;
}

async function plan(options: TargetOptions, command: Command): Promise<void> {
  await checkTarget(options, command);
  const target: MigrationTarget = options;
  const found = await withConnection((client) => migrationPlan(client, target));
  if (options.json) return print(json(found));
  if (found.migrations.length === 0) return say('Nothing to run.');
  await print(planText(found));
  say(`To run it by hand, in schema ${found.schema}: psql --set ON_ERROR_STOP=1`);
}
