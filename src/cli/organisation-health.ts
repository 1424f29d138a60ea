import type { ConnectionHealth } from '../connections/health.js';
import { span } from '../statements/durations.js';
import type { Timestamp } from '../types.js';
import { countUpTo } from './progress.js';
import { table, wrapped } from './text.js';
import { minute, moment, relative, secondsSince } from './times.js';

/** The report for people: an overview of one organisation's connections, then the details of each. */
export function organisationReport(found: {
  at: Timestamp;
  organisationId: string;
  connections: readonly ConnectionHealth[];
}): string[] {
  const { at, organisationId, connections } = found;
  const live = connections.filter(({ status }) => status !== 'disconnected');
  const ended = connections.filter(({ status }) => status === 'disconnected');
  return [
    `Organisation ${organisationId}, ${minute(at)} UTC`,
    '',
    ...(live.length === 0 ? ['No live connections.'] : overview(live, at)),
    ...live.flatMap((connection) => ['', ...details(connection, at)]),
    ...ended.flatMap((connection) => ['', ...history(connection, at)]),
  ];
}

function overview(connections: readonly ConnectionHealth[], now: Timestamp): string[] {
  const since = (at: Timestamp | null) => (at === null ? '-' : span(secondsSince(at, now)));
  return table('lllllrrrl', [
    ['', '', 'Last', 'Failing', '', 'Records', 'Given', 'Pushes', 'Running'],
    ['CRM', 'Status', 'success', 'for', 'Lag', 'failing', 'up', 'waiting', 'for'],
    ...connections.map((connection) => [
      connection.provider,
      connection.status,
      connection.lastSuccessAt === null ? 'never' : relative(connection.lastSuccessAt, now),
      since(connection.failingSince),
      lag(connection.lagSeconds),
      number(connection.retriedRecords),
      number(connection.givenUpRecords),
      number(connection.waitingChanges),
      since(connection.runningSince),
    ]),
  ]);
}

function details(connection: ConnectionHealth, now: Timestamp): string[] {
  const { status, statusReason, failingSince, failedSyncs, lastSyncError } = connection;
  const { failureCount, lastFailureAt, lastError } = connection;
  return [
    ...heading(connection),
    ...(status === 'error'
      ? lines(`In error since ${moment(connection.statusChangedAt, now)}: ${statusReason}`)
      : []),
    ...(failingSince === null
      ? []
      : lines(
          `${syncs(failedSyncs)} failed in a row since ${moment(failingSince, now)}${lastSyncError === null ? '.' : `, the last with ${lastSyncError.kind}: ${lastSyncError.message}`}`,
        )),
    ...(failureCount === 0 || lastFailureAt === null || lastError === null
      ? []
      : lines(
          `Failures logged in the last 24 h: ${number(failureCount)}, the latest ${moment(lastFailureAt, now)}: ${lastError.kind}: ${lastError.message}`,
        )),
    ...lines(schedule(connection, now)),
  ];
}

function heading({ provider, connectionId, account }: ConnectionHealth): string[] {
  return [`${provider} ${connectionId}`, ...(account === null ? [] : lines(`Account ${account}`))];
}

function schedule({ runningSince, nextSyncAt }: ConnectionHealth, now: Timestamp): string {
  if (runningSince !== null) return `Syncing since ${moment(runningSince, now)}.`;
  return secondsSince(nextSyncAt, now) < 0
    ? `Next sync ${moment(nextSyncAt, now)}.`
    : `Due since ${moment(nextSyncAt, now)}, waiting for a worker.`;
}

function history(connection: ConnectionHealth, now: Timestamp): string[] {
  const { disconnectedAt, statusReason } = connection;
  return [
    ...heading(connection),
    ...lines(
      `Disconnected ${moment(disconnectedAt as Timestamp, now)}${statusReason === null ? '.' : `: ${statusReason}`}`,
    ),
  ];
}

function lines(text: string): string[] {
  return wrapped(text, '  ');
}

/** A cursor further ahead than clocks can differ is an error: changes made before then will be missed. */
function lag(seconds: number | null): string {
  if (seconds === null) return '-';
  return seconds < -3600 ? 'ahead!' : span(seconds);
}

/** The database counts up to 1,000. */
function number(counted: number): string {
  return countUpTo(1000, counted);
}

function syncs(failed: number): string {
  return `${failed} sync${failed === 1 ? '' : 's'}`;
}
