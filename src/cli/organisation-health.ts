import type { ConnectionHealth } from '../connections/health.js';
import { formatDuration } from '../statements/durations.js';
import type { Timestamp } from '../types.js';
import { formatCapped, formatQuantity } from './numbers.js';
import { formatTable, wrap } from './text.js';
import { formatTime, formatTimeAndAge, formatTimeFromNow, secondsSince } from './times.js';

/** The connections of one organisation at a time. */
export interface OrganisationHealth {
  at: Timestamp;
  organisationId: string;
  connections: readonly ConnectionHealth[];
}

/** The report for people: an overview of one organisation's connections, then the details of each. */
export function organisationReport({ at, organisationId, connections }: OrganisationHealth): string[] {
  const live = connections.filter(({ status }) => status !== 'disconnected');
  const disconnected = connections.filter(({ status }) => status === 'disconnected');
  return [
    `Organisation ${organisationId}, ${formatTime(at)} UTC`,
    '',
    ...(live.length === 0 ? ['No live connections.'] : overview(live, at)),
    ...live.flatMap((connection) => ['', ...details(connection, at)]),
    ...disconnected.flatMap((connection) => ['', ...disconnection(connection, at)]),
  ];
}

function overview(connections: readonly ConnectionHealth[], now: Timestamp): string[] {
  const durationSince = (at: Timestamp | null) => (at === null ? '-' : formatDuration(secondsSince(at, now)));
  return formatTable('lllllrrrl', [
    ['', '', 'Last', 'Failing', '', 'Records', 'Given', 'Pushes', 'Running'],
    ['CRM', 'Status', 'success', 'for', 'Lag', 'failing', 'up', 'waiting', 'for'],
    ...connections.map((connection) => [
      connection.provider,
      connection.state,
      connection.lastSuccessAt === null ? 'never' : formatTimeFromNow(connection.lastSuccessAt, now),
      durationSince(connection.failingSince),
      formatLag(connection.lagSeconds),
      formatRecords(connection.retriedRecords),
      formatRecords(connection.givenUpRecords),
      formatRecords(connection.waitingChanges),
      durationSince(connection.runningSince),
    ]),
  ]);
}

function details(connection: ConnectionHealth, now: Timestamp): string[] {
  const { status, statusReason, failingSince, failedSyncs, lastSyncError } = connection;
  const { failureCount, lastFailureAt, lastError, dismissedRecords, requestedRecords, conflicts } =
    connection;
  return [
    ...heading(connection),
    ...pause(connection, now),
    ...(status === 'error'
      ? indented(`In error since ${formatTimeAndAge(connection.statusChangedAt, now)}: ${statusReason}`)
      : []),
    ...(failingSince === null
      ? []
      : indented(
          `${formatQuantity(failedSyncs, 'sync')} failed in a row since ${formatTimeAndAge(failingSince, now)}${lastSyncError === null ? '.' : `, the last with ${lastSyncError.kind}: ${lastSyncError.message}`}`,
        )),
    ...(failureCount === 0 || lastFailureAt === null || lastError === null
      ? []
      : indented(
          `Failures logged in the last 24 h: ${formatRecords(failureCount)}, the latest ${formatTimeAndAge(lastFailureAt, now)}${ofRecord(connection)}: ${lastError.kind}: ${lastError.message}`,
        )),
    ...(dismissedRecords === 0
      ? []
      : indented(`Failing records that a person has dismissed: ${formatRecords(dismissedRecords)}.`)),
    ...(conflicts === 0
      ? []
      : indented(
          `Records edited here and at the CRM, which nobody has acknowledged: ${formatRecords(conflicts)}.`,
        )),
    ...(requestedRecords === 0
      ? []
      : indented(`Records asked for by their ids, to be read first: ${formatRecords(requestedRecords)}.`)),
    ...firstFill(connection, now),
    ...(connection.pausedAt === null ? indented(schedule(connection, now)) : []),
  ];
}

/** The record of the last error, as `crm-schema failures` names it. */
function ofRecord(connection: ConnectionHealth): string {
  const { lastErrorDirection, lastErrorEntityType, lastErrorExternalId, lastErrorInternalId } = connection;
  if (lastErrorDirection === null) return '';
  const id =
    lastErrorDirection === 'inbound'
      ? (lastErrorExternalId ?? lastErrorInternalId)
      : (lastErrorInternalId ?? lastErrorExternalId);
  return `, of ${lastErrorDirection} ${lastErrorEntityType} ${id}`;
}

function firstFill(
  { fillStartedAt, filledContacts, fillFinishedAt }: ConnectionHealth,
  now: Timestamp,
): string[] {
  if (fillStartedAt === null) return [];
  const state =
    fillFinishedAt === null
      ? `under way since ${formatTimeAndAge(fillStartedAt, now)}`
      : `finished ${formatTimeAndAge(fillFinishedAt, now)}`;
  return indented(
    `First fill ${state}: ${formatQuantity(filledContacts ?? 0, 'contact')} recorded to be pushed.`,
  );
}

function pause({ pausedAt, pausedUntil, pauseReason }: ConnectionHealth, now: Timestamp): string[] {
  if (pausedAt === null) return [];
  const end = pausedUntil === null ? 'somebody resumes it' : formatTimeAndAge(pausedUntil, now);
  return indented(
    `Paused since ${formatTimeAndAge(pausedAt, now)}, until ${end}${pauseReason === null ? '.' : `: ${pauseReason}`}`,
  );
}

function heading({ provider, connectionId, account }: ConnectionHealth): string[] {
  return [`${provider} ${connectionId}`, ...(account === null ? [] : indented(`Account ${account}`))];
}

function schedule({ runningSince, nextSyncAt }: ConnectionHealth, now: Timestamp): string {
  if (runningSince !== null) return `Syncing since ${formatTimeAndAge(runningSince, now)}.`;
  return secondsSince(nextSyncAt, now) < 0
    ? `Next sync ${formatTimeAndAge(nextSyncAt, now)}.`
    : `Due since ${formatTimeAndAge(nextSyncAt, now)}, waiting for a worker.`;
}

function disconnection(connection: ConnectionHealth, now: Timestamp): string[] {
  const { disconnectedAt, statusReason } = connection;
  return [
    ...heading(connection),
    ...indented(
      `Disconnected ${formatTimeAndAge(disconnectedAt as Timestamp, now)}${statusReason === null ? '.' : `: ${statusReason}`}`,
    ),
    ...revocation(connection, now),
    ...keptChanges(connection, now),
  ];
}

function keptChanges(connection: ConnectionHealth, now: Timestamp): string[] {
  const { waitingChanges, retriedRecords, givenUpRecords } = connection;
  // Of a disconnected connection, only records that were pushed still fail.
  const failing = retriedRecords + givenUpRecords;
  if (connection.keptChanges !== 'waiting' || waitingChanges + failing === 0) return [];
  return indented(
    `Kept for a reconnect until ${formatTimeAndAge(connection.changesExpireAt as Timestamp, now)}: contacts to push ${formatRecords(waitingChanges)}, failed pushes ${formatRecords(failing)}.`,
  );
}

function revocation({ revocation, revokeBeforeAt }: ConnectionHealth, now: Timestamp): string[] {
  switch (revocation) {
    case null:
      return [];
    case 'pending':
      return indented(
        `Its token waits to be revoked at the CRM, until ${formatTimeAndAge(revokeBeforeAt as Timestamp, now)}.`,
      );
    case 'revoked':
      return indented('Its token was revoked at the CRM.');
    case 'expired':
      return indented('Its token was not revoked at the CRM in time, and may still be valid there.');
  }
}

function indented(text: string): string[] {
  return wrap(text, '  ');
}

/** A cursor further ahead than clocks can differ is an error: changes made before then will be missed. */
function formatLag(seconds: number | null): string {
  if (seconds === null) return '-';
  return seconds < -3600 ? 'ahead!' : formatDuration(seconds);
}

/** The database counts up to 1,000. */
function formatRecords(records: number): string {
  return formatCapped(records, 1000);
}
