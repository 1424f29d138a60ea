import { Command, Option } from 'commander';
import { type Connection, connectionGet } from '../connections/connections.js';
import type { ConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import {
  type SyncFailure,
  type SyncFailureCount,
  syncFailureCountByKind,
  syncFailureList,
  syncFailureReplay,
} from '../sync/failures.js';
import { type SyncErrorKind, syncErrorKinds, type Timestamp } from '../types.js';
import { withDatabase } from './database.js';
import { UnmetCondition } from './failures.js';
import { size, time, uuid } from './options.js';
import { count, countUpTo } from './progress.js';
import { json, print, table, wrapped } from './text.js';
import { databaseTime, minute, moment, relative, secondsSince } from './times.js';

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

/** `crm-schema failures …` */
export function failuresCommand(): Command {
  const command = new Command('failures').description(
    'Lists and replays the failing records of a connection. Exit code 3 if there is no such connection.',
  );
  ofConnection(command.command('list', { isDefault: true }))
    .description(
      'Counts failing records by kind of error, and shows the newest. This is the default command.',
    )
    .option('--limit <records>', 'how many to show, from 1 to 1,000', size, 20)
    .action(list);
  ofConnection(command.command('replay'))
    .description(
      'Makes all records that last failed in a period due at once, including those given up on. Does not count records that are already due.',
    )
    .requiredOption('--from <time>', 'start of the period, inclusive: 2026-11-16T09:00Z', time)
    .requiredOption('--before <time>', 'end of the period, exclusive', time)
    .action(replay);
  return command;
}

function ofConnection(command: Command): Command {
  return command
    .requiredOption('--organisation <id>', "the organisation's id", uuid)
    .requiredOption('--connection <id>', "the connection's id, which health shows", uuid)
    .addOption(new Option('--kind <kinds...>', 'only these kinds of error').choices(syncErrorKinds))
    .option('--json', 'print JSON, for programs');
}

async function list(options: ListOptions): Promise<void> {
  const key = { organisationId: options.organisation, connectionId: options.connection };
  const { connection, ...found } = await withDatabase(async (client) => ({
    at: await databaseTime(client),
    connection: await getConnection(client, key),
    ...key,
    counts: await syncFailureCountByKind(client, key),
    failures: await syncFailureList(client, { ...key, kinds: options.kind, limit: options.limit }),
  }));
  await print(options.json ? json(found) : report(connection, found, options.limit).join('\n'));
}

async function replay(options: ReplayOptions, command: Command): Promise<void> {
  if (options.from >= options.before) command.error('error: --from must be earlier than --before');
  const key = { organisationId: options.organisation, connectionId: options.connection };
  const window = { failedFrom: options.from, failedBefore: options.before, kinds: options.kind };
  const limit = 1000;
  const replayed = await withDatabase(async (client) => {
    await getConnection(client, key);
    for (let total = 0; ; ) {
      const page = await syncFailureReplay(client, { ...key, ...window, limit });
      total += page.replayed;
      if (page.replayed < limit) return total;
    }
  });
  const message =
    replayed === 0
      ? 'Nothing to replay: no matching failures in that period, or all already due.'
      : `${count(replayed)} record${replayed === 1 ? '' : 's'} will be retried: a sync was requested.`;
  await print(options.json ? json({ ...key, replayed }) : message);
}

async function getConnection(client: Queryable, key: ConnectionKey): Promise<Connection> {
  const connection = await connectionGet(client, key);
  if (connection === null) {
    throw new UnmetCondition(`Organisation ${key.organisationId} has no connection ${key.connectionId}.`);
  }
  return connection;
}

function report(
  { provider, status }: Connection,
  found: ConnectionKey & { at: Timestamp; counts: SyncFailureCount[]; failures: SyncFailure[] },
  limit: number,
): string[] {
  const { at, counts, failures } = found;
  return [
    `Connection ${found.connectionId}`,
    `${provider}, ${status}, ${minute(at)} UTC`,
    '',
    ...(counts.length === 0 ? ['No failing records.'] : countsTable(counts)),
    ...(counts.length > 0 && failures.length === 0 ? ['', 'None of the requested kinds.'] : []),
    ...failures.flatMap((failure) => ['', ...details(failure, at)]),
    ...(failures.length < limit
      ? []
      : ['', `These are the newest ${count(limit)}; there may be more: --limit takes up to 1000.`]),
  ];
}

/** The database looks at up to 1,000 of each kind. */
function countsTable(counts: readonly SyncFailureCount[]): string[] {
  return table('lrr', [
    ['Kind', 'Records', 'Given up'],
    ...counts.map(({ kind, count: records, givenUpCount }) => [
      kind,
      countUpTo(1000, records),
      records < 1000 ? count(givenUpCount) : `${count(givenUpCount)}+`,
    ]),
  ]);
}

function details(failure: SyncFailure, now: Timestamp): string[] {
  const { direction, entityType, recordId, error } = failure;
  const code = error.code === undefined ? '' : ` ${error.code}`;
  return [
    ...wrapped(`${direction} ${entityType} ${recordId}`),
    ...wrapped(`${error.kind}${code}: ${error.message}`, '  '),
    ...wrapped(retryState(failure, now), '  '),
  ];
}

function retryState(
  { attempts, lastFailedAt, nextAttemptAt, gaveUpAt }: SyncFailure,
  now: Timestamp,
): string {
  const tries = `${attempts} attempt${attempts === 1 ? '' : 's'}`;
  if (nextAttemptAt === null) return `${tries}, gave up ${moment(gaveUpAt as Timestamp, now)}`;
  const tried = attempts === 0 ? 'replayed' : `${tries}, the latest ${relative(lastFailedAt, now)}`;
  const when = secondsSince(nextAttemptAt, now) < 0 ? 'next' : 'due since';
  return `${tried}, ${when} ${moment(nextAttemptAt, now)}`;
}
