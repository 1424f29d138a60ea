import { Command } from 'commander';
import type pg from 'pg';
import { dropExpired, expired, unfinished } from '../partitions/drop.js';
import { type LogPartition, type PartitionedLog, readGaps, readLog } from '../partitions/log-partitions.js';
import { withConnection } from './database.js';
import { Lacking } from './failures.js';
import { LockWaits, withWatcher } from './lock-waits.js';
import { wholeNumber } from './options.js';
import { holdsEvents, listed, listReport, size } from './partition-report.js';
import { count } from './progress.js';
import { json, print } from './text.js';

interface EnsureOptions {
  months: number;
  json?: boolean;
}

interface DropOptions {
  dryRun?: boolean;
  wait: number;
  json?: boolean;
}

/** `crm-schema partitions …` */
export function partitionsCommand(): Command {
  const command = new Command('partitions').description(
    'The months of crm_sync_log: made ahead, and dropped once crm_retention has it so.',
  );
  command
    .command('ensure')
    .description(
      'Makes the partitions of this month and of those to come, and moves events there that came too early. For the owner of the log, best daily.',
    )
    .option('--months <number>', '0 to 120 months after this one', wholeNumber(0, 120), 3)
    .option('--json', 'prints JSON, for programs')
    .addHelpText('after', ensureLocks)
    .action(ensure);
  command
    .command('list')
    .description(
      'Shows each partition: its range, about how many rows, its size, and for how long it is kept.',
    )
    .option('--json', 'prints JSON, for programs')
    .addHelpText('after', listLocks)
    .action(list);
  command
    .command('drop')
    .description(
      'Detaches the months that are past their time, and drops them, oldest first. For the owner of the log, best daily; may be interrupted and run again.',
    )
    .option('--dry-run', 'changes nothing, and shows what it would drop')
    .option('--wait <seconds>', '1 to 3600 to wait for others, each time', wholeNumber(1, 3600), 30)
    .option('--json', 'prints JSON, for programs')
    .addHelpText('after', dropLocks)
    .action(drop);
  return command;
}

const ensureLocks = `
Locks, where there is a month to make, once a month:
  crm_sync_log     ACCESS EXCLUSIVE: readers and writers wait for an instant, or
                   for as long as there are events to move
  crm_connections  SHARE ROW EXCLUSIVE: its writers wait for as long
With nothing to make, crm_connections ACCESS EXCLUSIVE for an instant at most,
to drop the empty table that making one left. It waits half a second for a lock,
lets others through, and tries again, twenty times.`;

const listLocks = `
Locks: ACCESS SHARE on the log and its partitions for an instant; it waits five
seconds for one.`;

const dropLocks = `
Locks, each for an instant:
  crm_sync_log     SHARE UPDATE EXCLUSIVE, to detach: nobody waits but
                   maintenance (VACUUM, ANALYZE)
  the month        ACCESS EXCLUSIVE, when no transaction uses it any more
  crm_connections  SHARE ROW EXCLUSIVE, to detach: its writers wait;
                   ACCESS EXCLUSIVE, to drop what is detached, because of the
                   foreign key: its readers and writers wait
Before it takes one, it waits without a lock until whoever is in the way has
ended (--wait). Then it waits half a second for the lock, lets others through,
and tries again. Nobody waits behind it for longer than that.
From when a month is detached until its time belongs to crm_sync_log_before_…,
an instant (interrupted, until it is run again), events of that time are refused
(SQLSTATE 23514). Later ones never.
A pooler in transaction mode does not do: connect to the database itself.`;

async function ensure(options: EnsureOptions): Promise<void> {
  const { made, past, gaps } = await withOwner({}, '', async (client, waits) => ({
    made: await called(
      client,
      waits,
      "crm_sync_log_ensure_partitions($1::integer, 'crm_sync_log'::regclass)",
      [options.months],
    ),
    // An interrupted drop may have left it open.
    past: await called(client, waits, "crm_sync_log_ensure_past('crm_sync_log'::regclass)", []),
    gaps: await readGaps(client),
  }));
  const all = [...past, ...made];
  const nothing =
    gaps.length > 0
      ? 'Nothing was made.'
      : `Nothing to make: this month and the ${options.months} after it have their partitions.`;
  await print(
    options.json
      ? json({ made: all })
      : all.length === 0
        ? nothing
        : all.map((name) => `Made ${name}.`).join('\n'),
  );
  refuseGaps(gaps);
}

/** A month that was dropped or detached by hand is not made again by the functions of the schema. */
function refuseGaps(gaps: readonly Pick<LogPartition, 'from' | 'before'>[]): void {
  const times = gaps.map(({ from, before }) => {
    const [since, until] = [from, before].map((time) => time?.slice(0, '2026-11-16'.length));
    return [since && `from ${since}`, until && `before ${until}`].filter(Boolean).join(' ');
  });
  if (times.length === 0) return;
  throw new Lacking(
    `No partition has events ${times.join(', nor ')}: they are refused. crm-schema verify says how to mend that.`,
  );
}

/** Calls a function that names partitions, in a transaction, so that it runs where its process is known. */
async function called(
  client: pg.Client,
  waits: LockWaits,
  call: string,
  parameters: number[],
): Promise<string[]> {
  await client.query('begin');
  try {
    const { rows } = await client.query('select pg_backend_pid() as pid');
    const made = await waits.during(rows[0].pid, () =>
      client.query(`select ${call}::regclass::text as name`, parameters),
    );
    await client.query('commit');
    return made.rows.flatMap(({ name }) => name ?? []);
  } catch (error) {
    await client.query('rollback').catch(() => {});
    const { code } = error as { code?: string };
    // The functions look for the partition that has no end.
    if (code === 'P0002') {
      throw new Lacking(
        'The log has no last partition, so later events are refused. crm-schema verify says how to mend that.',
      );
    }
    if (code !== '55P03') throw error;
    throw new Error(
      `Gave up after twenty attempts, because of ${waits.last}. Nothing was changed: run it again when that has ended.`,
    );
  }
}

async function list(options: { json?: boolean }): Promise<void> {
  const { log, occupied } = await withConnection(async (client) => {
    const found = await readLog(client);
    return { log: found, occupied: await holdsEvents(client, found) };
  });
  await print(options.json ? json(listed(log, occupied)) : listReport(log, occupied).join('\n'));
}

async function drop(options: DropOptions): Promise<void> {
  const dropped: LogPartition[] = [];
  const say = async (partition: LogPartition) => {
    dropped.push(partition);
    if (!options.json) await print(`${options.dryRun ? 'Would drop' : 'Dropped'} ${said(partition)}.`);
  };
  const limits = { lock_timeout: 500, statement_timeout: 10_000 };
  const instead = options.dryRun ? ' To look only: crm-schema partitions list' : '';
  const before = await withOwner(limits, instead, async (client, waits) => {
    const log = await readLog(client);
    if (options.dryRun) for (const partition of goners(log)) await say(partition);
    else await dropExpired(client, waits, options.wait, { onDropped: say });
    return log;
  });
  if (options.json) {
    const { at, keepDays, keptFrom } = before;
    const partitions = dropped.map(({ name, from, before: to, rows, bytes }) => ({
      name,
      from,
      before: to,
      rows,
      bytes,
    }));
    await print(json({ at, keepDays, keptFrom, isDryRun: options.dryRun === true, dropped: partitions }));
  } else if (dropped.length === 0) {
    await print(`Nothing to drop: no month is all older than ${count(before.keepDays)} days.`);
  }
}

function goners(log: PartitionedLog): LogPartition[] {
  return [...unfinished(log), ...expired(log)];
}

function said({ name, rows, bytes }: LogPartition): string {
  return `${name}: ${rows === null ? '' : `about ${count(rows)} rows, `}${size(bytes)}`;
}

/**
 * @param instead what else there is to do for who is not the owner
 * @throws Error that names the owner, if the user is not
 */
async function withOwner<Result>(
  limits: Parameters<typeof withConnection>[1],
  instead: string,
  work: (client: pg.Client, waits: LockWaits) => Promise<Result>,
): Promise<Result> {
  return withConnection(async (client) => {
    const { rows } = await client.query(
      `select
         pg_catalog.pg_get_userbyid(relowner) as owner,
         current_user as user,
         pg_catalog.pg_has_role(relowner, 'usage') as "isOwner"
       from pg_catalog.pg_class
       where oid = 'crm_sync_log'::regclass::oid`,
    );
    const { owner, user, isOwner } = rows[0];
    if (!isOwner)
      throw new Error(
        `Run this as ${owner}, who owns crm_sync_log, or as a superuser, not as ${user}.${instead}`,
      );
    return withWatcher((watcher) => work(client, new LockWaits(watcher)));
  }, limits);
}
