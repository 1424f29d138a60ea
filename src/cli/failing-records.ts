import { Command, Option } from 'commander';
import { type Connection, connectionGet } from '../connections/connections.js';
import type { ConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { type SyncConflict, syncConflictList } from '../sync/conflicts.js';
import { syncFailureReplay } from '../sync/failure-decisions.js';
import {
  type SyncFailure,
  type SyncFailureCount,
  syncFailureCountByKind,
  syncFailureList,
} from '../sync/failures.js';
import { type SyncErrorKind, syncErrorKinds, type Timestamp } from '../types.js';
import { withUnrestrictedConnection } from './database.js';
import { UnmetCondition } from './exit-codes.js';
import { formatCapped, formatNumber, formatQuantity } from './numbers.js';
import { parseLimit, parseTime, parseUuid } from './options.js';
import { formatJson, formatTable, printResult, wrap } from './text.js';
import { databaseTime, formatTime, formatTimeAndAge, formatTimeFromNow, secondsSince } from './times.js';

interface FailuresOptions {
  organisation: string;
  connection: string;
  kind?: SyncErrorKind[];
  json?: boolean;
}

interface ListOptions extends FailuresOptions {
  limit: number;
}

interface ReplayOptions extends FailuresOptions {
  from: Timestamp;
  before: Timestamp;
}

/** What `failures list --json` prints. */
interface FailuresDocument extends ConnectionKey {
  at: Timestamp;
  counts: SyncFailureCount[];
  failures: SyncFailure[];
  /** Those that nobody has acknowledged. */
  conflicts: SyncConflict[];
}

/** `crm-schema failures …` */
export function failuresCommand(): Command {
  const command = new Command('failures');
  addConnectionOptions(command.command('list', { isDefault: true }))
    .description(
      'Counts failing records by kind of error, and shows the newest; then the newest records that were edited on both sides, until they are acknowledged. This is the default command.',
    )
    .option('--limit <records>', 'how many to show, from 1 to 1,000', parseLimit, 20)
    .action(listFailures);
  addConnectionOptions(command.command('replay'))
    .description(
      'Makes all records that last failed in a period due at once, including those given up on, but not those dismissed. Does not count records that are already due.',
    )
    .requiredOption('--from <time>', 'start of the period, inclusive: 2026-11-16T09:00Z', parseTime)
    .requiredOption('--before <time>', 'end of the period, exclusive', parseTime)
    .action(replayFailures);
  return command;
}

function addConnectionOptions(command: Command): Command {
  return command
    .requiredOption('--organisation <id>', "the organisation's id", parseUuid)
    .requiredOption('--connection <id>', "the connection's id, which health shows", parseUuid)
    .addOption(new Option('--kind <kinds...>', 'only these kinds of error').choices(syncErrorKinds))
    .option('--json', 'print JSON, for programs');
}

async function listFailures(options: ListOptions): Promise<void> {
  const key = { organisationId: options.organisation, connectionId: options.connection };
  const { connection, ...document } = await withUnrestrictedConnection(async (client) => ({
    at: await databaseTime(client),
    connection: await getConnection(client, key),
    ...key,
    counts: await syncFailureCountByKind(client, key),
    failures: await syncFailureList(client, { ...key, kinds: options.kind, limit: options.limit }),
    conflicts: await syncConflictList(client, { ...key, isAcknowledged: false, limit: options.limit }),
  }));
  await printResult(
    options.json ? formatJson(document) : failuresReport(connection, document, options.limit).join('\n'),
  );
}

async function replayFailures(options: ReplayOptions, command: Command): Promise<void> {
  if (options.from >= options.before) command.error('error: --from must be earlier than --before');
  const key = { organisationId: options.organisation, connectionId: options.connection };
  const period = { failedFrom: options.from, failedBefore: options.before, kinds: options.kind };
  const limit = 1000;
  const replayed = await withUnrestrictedConnection(async (client) => {
    await getConnection(client, key);
    for (let total = 0; ; ) {
      const batch = await syncFailureReplay(client, { ...key, ...period, limit });
      total += batch.replayed;
      if (batch.replayed < limit) return total;
    }
  });
  const message =
    replayed === 0
      ? 'Nothing to replay: no such failures, or all already due or left to a person.'
      : `${formatQuantity(replayed, 'record')} will be retried: a sync was requested.`;
  await printResult(options.json ? formatJson({ ...key, replayed }) : message);
}

async function getConnection(client: Queryable, key: ConnectionKey): Promise<Connection> {
  const connection = await connectionGet(client, key);
  if (connection === null) {
    throw new UnmetCondition(`Organisation ${key.organisationId} has no connection ${key.connectionId}.`);
  }
  return connection;
}

function failuresReport(
  { provider, status }: Connection,
  { connectionId, at, counts, failures, conflicts }: FailuresDocument,
  limit: number,
): string[] {
  return [
    `Connection ${connectionId}`,
    `${provider}, ${status}, ${formatTime(at)} UTC`,
    '',
    ...(counts.length === 0 ? ['No failing records.'] : countsTable(counts)),
    ...(counts.length > 0 && failures.length === 0 ? ['', 'None of the requested kinds.'] : []),
    ...failures.flatMap((failure) => ['', ...failureDetails(failure, at)]),
    ...conflictLines(conflicts, at),
    ...(Math.max(failures.length, conflicts.length) < limit
      ? []
      : ['', `These are the newest ${formatNumber(limit)}; there may be more: --limit takes up to 1000.`]),
  ];
}

/** The database looks at up to 1,000 of each kind. */
function countsTable(counts: readonly SyncFailureCount[]): string[] {
  return formatTable('lrrr', [
    ['Kind', 'Records', 'Given up', 'Dismissed'],
    ...counts.map(({ kind, count: records, givenUpCount, dismissedCount }) => [
      kind,
      formatCapped(records, 1000),
      ...[givenUpCount, dismissedCount].map((part) =>
        records < 1000 ? formatNumber(part) : `${formatNumber(part)}+`,
      ),
    ]),
  ]);
}

/** Records that were edited here and at the CRM. */
function conflictLines(conflicts: readonly SyncConflict[], now: Timestamp): string[] {
  const kept = {
    nurturehub: 'ours was kept',
    crm: "the CRM's was kept",
    neither: 'neither was overwritten',
  };
  return conflicts.flatMap((conflict) => [
    '',
    ...wrap(`conflict ${conflict.id}: edited on both sides, ${conflict.entityType} ${conflict.externalId}`),
    ...wrap(`contact ${conflict.contactId}`, '  '),
    ...wrap(
      `${formatQuantity(conflict.occurrences, 'time')}, the latest ${formatTimeFromNow(conflict.lastSeenAt, now)}: ${kept[conflict.kept]}`,
      '  ',
    ),
  ]);
}

function failureDetails(failure: SyncFailure, now: Timestamp): string[] {
  const { id, direction, entityType, recordId, error } = failure;
  const code = error.code === undefined ? '' : ` ${error.code}`;
  return [
    ...wrap(`failure ${id}: ${direction} ${entityType} ${recordId}`),
    ...wrap(`${error.kind}${code}: ${error.message}`, '  '),
    ...wrap(retryState(failure, now), '  '),
  ];
}

function retryState(
  { attempts, lastFailedAt, nextAttemptAt, gaveUpAt, dismissedAt, dismissedBy, dismissalReason }: SyncFailure,
  now: Timestamp,
): string {
  const tries = formatQuantity(attempts, 'attempt');
  if (dismissedAt !== null) {
    return `${tries}, dismissed ${formatTimeAndAge(dismissedAt, now)} by ${dismissedBy}: ${dismissalReason}`;
  }
  if (nextAttemptAt === null) return `${tries}, gave up ${formatTimeAndAge(gaveUpAt as Timestamp, now)}`;
  const attempted =
    attempts === 0 ? 'replayed' : `${tries}, the latest ${formatTimeFromNow(lastFailedAt, now)}`;
  const dueOrNext = secondsSince(nextAttemptAt, now) < 0 ? 'next' : 'due since';
  return `${attempted}, ${dueOrNext} ${formatTimeAndAge(nextAttemptAt, now)}`;
}
