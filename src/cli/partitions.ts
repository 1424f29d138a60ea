import { Command } from 'commander';
import { CrmSchemaError } from '../errors.js';
import {
  type DroppedPartition,
  type PartitionRange,
  partitionsDrop,
  partitionsEnsure,
  partitionsList,
} from '../migrations.js';
import { withConnection, withWatchedConnection } from './database.js';
import { UnmetCondition } from './exit-codes.js';
import { formatBytes, formatNumber } from './numbers.js';
import { wholeNumberParser } from './options.js';
import { partitionReport } from './partition-report.js';
import { formatJson, printResult } from './text.js';
import { formatDay } from './times.js';

interface EnsureOptions {
  months: number;
  trustServerClock?: boolean;
  json?: boolean;
}

interface DropOptions {
  dryRun?: boolean;
  trustServerClock?: boolean;
  wait: number;
  json?: boolean;
}

/** `crm-schema partitions …` */
export function partitionsCommand(): Command {
  const command = new Command('partitions');
  command
    .command('ensure')
    .description(
      'Creates the partitions of this month and the coming ones, and moves events to them from the catch-all partition. Run it daily, as the owner of the log.',
    )
    .option('--months <number>', 'how many months after this one, 0 to 120', wholeNumberParser(0, 120), 3)
    .option(
      '--trust-server-clock',
      "create months even where this machine's clock differs by more than a day",
    )
    .option('--json', 'print JSON')
    .addHelpText('after', ensureLockHelp)
    .action(ensurePartitions);
  command
    .command('list')
    .description(
      'Shows each partition: its range, estimated rows, size, and how long it is kept. Changes nothing.',
    )
    .option('--json', 'print JSON')
    .addHelpText('after', listLockHelp)
    .action(listPartitions);
  command
    .command('drop')
    .description(
      'Detaches and drops the partitions past the retention period (crm_retention), oldest first. Run it daily, as the owner of the log. May be interrupted and run again.',
    )
    .option('--dry-run', 'show what would be dropped, and change nothing')
    .option(
      '--trust-server-clock',
      "drop even where this machine's clock differs by more than a day, or no events would be left",
    )
    .option(
      '--wait <seconds>',
      'how long to wait for other sessions at each step, 1 to 3600',
      wholeNumberParser(1, 3600),
      30,
    )
    .option('--json', 'print JSON')
    .addHelpText('after', dropLockHelp)
    .action(dropPartitions);
  return command;
}

const ensureLockHelp = `
Locks, only when there is a month to create, once a month:
  crm_sync_log     ACCESS EXCLUSIVE: readers and writers wait for an instant, or
                   for as long as it takes to move events
  crm_connections  SHARE ROW EXCLUSIVE: writers wait for as long
When there is nothing to create, at most ACCESS EXCLUSIVE on crm_connections for
an instant, to drop the empty table that the last call left.
It waits half a second for a lock, lets other sessions through and tries again,
twenty times.
Poolers are not supported here: connect to the database directly.`;

const listLockHelp = `
Locks: ACCESS SHARE on the log and its partitions for an instant; waits up to
five seconds for it.`;

const dropLockHelp = `
Locks, each for an instant:
  crm_sync_log     SHARE UPDATE EXCLUSIVE, to detach: only maintenance waits
                   (VACUUM, ANALYZE)
  the partition    ACCESS EXCLUSIVE, once no transaction uses it
  crm_connections  SHARE ROW EXCLUSIVE, to detach: writers wait;
                   ACCESS EXCLUSIVE, to drop, because of the foreign key:
                   readers and writers wait
Before it takes a lock, it waits without one until the transactions that block
it have ended (--wait). Then it waits half a second for the lock, lets other
sessions through and tries again. No session queues behind it for longer.
From the moment a month is detached until crm_sync_log_before_… covers its time,
events of that time are refused (SQLSTATE 23514): for an instant, or after an
interruption until it is run again. Later events are never refused.
Poolers are not supported here: connect to the database directly.`;

async function ensurePartitions(options: EnsureOptions): Promise<void> {
  const { months, trustServerClock } = options;
  const { made, gaps } = await withWatchedConnection((client, watcher) =>
    partitionsEnsure(client, { months, trustServerClock, watcher }),
  );
  const nothingCreated =
    gaps.length > 0
      ? 'Nothing was created.'
      : `Nothing to create: this month and the next ${months} have their partitions.`;
  await printResult(
    options.json
      ? formatJson({ made })
      : made.length === 0
        ? nothingCreated
        : made.map((name) => `Created ${name}.`).join('\n'),
  );
  failOnGaps(gaps);
}

/** @throws UnmetCondition if the log has gaps */
function failOnGaps(gaps: readonly PartitionRange[]): void {
  if (gaps.length === 0) return;
  const times = gaps.map(({ from, before }) =>
    [from && `from ${formatDay(from)}`, before && `before ${formatDay(before)}`].filter(Boolean).join(' '),
  );
  throw new UnmetCondition(
    `No partition covers events ${times.join(', nor ')}: they are refused. crm-schema verify says how to repair it.`,
  );
}

async function listPartitions(options: { json?: boolean }): Promise<void> {
  const partitionList = await withConnection((client) => partitionsList(client));
  const { droppable: _, ...document } = partitionList;
  await printResult(options.json ? formatJson(document) : partitionReport(partitionList).join('\n'));
}

async function dropPartitions(options: DropOptions): Promise<void> {
  const { dryRun = false, wait, trustServerClock } = options;
  const onDropped = async (partition: DroppedPartition) => {
    if (!options.json)
      await printResult(`${dryRun ? 'Would drop' : 'Dropped'} ${describePartition(partition)}.`);
  };
  const result = await withWatchedConnection((client, watcher) =>
    partitionsDrop(client, { dryRun, wait, trustServerClock, onDropped, watcher }),
  ).catch((error: unknown) => {
    throw dryRun ? suggestingList(error) : error;
  });
  if (options.json) await printResult(formatJson(result));
  else if (result.dropped.length === 0) {
    await printResult(
      `Nothing to drop: no partition is entirely older than ${formatNumber(result.keepDays)} days.`,
    );
  }
}

/** The error, which points users who may only read to the command for them. */
function suggestingList(error: unknown): unknown {
  const isForbidden = error instanceof CrmSchemaError && error.code === 'not_permitted' && !error.cause;
  return isForbidden ? new Error(`${error.message} For read-only access: crm-schema partitions list`) : error;
}

function describePartition({ name, rows, bytes }: DroppedPartition): string {
  return `${name}: ${rows === null ? '' : `about ${formatNumber(rows)} rows, `}${formatBytes(bytes)}`;
}
