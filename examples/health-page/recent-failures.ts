// The failures in the log, and whether they have been put right since.
import {
  type ConnectionHealth,
  type Provider,
  type SyncLogFailure,
  syncLogListByContact,
  syncLogListFailures,
  type Timestamp,
} from '@nurturehub/crm-schema';
import type pg from 'pg';

/** A failure in the log. */
export type RecentFailure = SyncLogFailure & {
  provider: Provider;
  /** When it was put right; null if it was not, or nobody knows. */
  solvedAt: Timestamp | null;
};

/** Reads the newest failures of some connections since a time, at most `limit` in all. */
export async function recentFailures(
  client: pg.ClientBase,
  connections: readonly ConnectionHealth[],
  { since, limit }: { since: Timestamp; limit: number },
): Promise<RecentFailure[]> {
  const found = [];
  for (const connection of connections) {
    const { organisationId, connectionId, lastFailureAt } = connection;
    if (lastFailureAt === null || lastFailureAt < since) continue;
    const failures = await syncLogListFailures(client, { organisationId, connectionId, limit });
    found.push(...failures.map((failure) => ({ failure, connection })));
  }
  const newest = found
    .filter(({ failure }) => failure.occurredAt >= since)
    .sort(({ failure: one }, { failure: other }) => (one.occurredAt < other.occurredAt ? 1 : -1))
    .slice(0, limit);
  const recent = [];
  for (const { failure, connection } of newest) {
    const { provider } = connection;
    recent.push({ ...failure, provider, solvedAt: await solvedAt(client, failure, connection) });
  }
  return recent;
}

/** A record is put right once it was synced the same way; a whole sync, once another one succeeded. */
async function solvedAt(
  client: pg.ClientBase,
  failure: SyncLogFailure,
  { lastSuccessAt }: ConnectionHealth,
): Promise<Timestamp | null> {
  const { organisationId, connectionId, direction, occurredAt, externalId, internalId } = failure;
  if (internalId === null) {
    const isOfWholeSync = externalId === null;
    return isOfWholeSync && lastSuccessAt !== null && lastSuccessAt > occurredAt ? lastSuccessAt : null;
  }
  const events = await syncLogListByContact(client, { organisationId, contactId: internalId });
  // Newest first: the last of these is the first success.
  const later = events.filter(
    (event) =>
      event.occurredAt > occurredAt &&
      event.status === 'success' &&
      event.connectionId === connectionId &&
      event.direction === direction,
  );
  return later.at(-1)?.occurredAt ?? null;
}
