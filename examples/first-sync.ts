// Connects a CRM and syncs a first page of contacts, as a member of crm_app. It needs a migrated database with
// an organisation and two contacts:
//   CRM_SCHEMA_KEYS=keys.json DATABASE_URL=postgres://… \
//     npx tsx first-sync.ts <organisation id> <contact id> <contact id>
import {
  CrmSchemaError,
  canonicalTimestamp,
  connectionAdvanceLastSyncedAt,
  connectionGetLive,
  connectionListWithHealth,
  contactExternalIdLinkMany,
  contactExternalIdResolve,
  type SyncEvent,
  syncLogRecord,
  withOrganisation,
} from '@nurturehub/crm-schema';
import { credentialsConnect, KeyRing } from '@nurturehub/crm-schema/credentials';
import pg from 'pg';

const [organisationId, ...contactIds] = process.argv.slice(2);
if (organisationId === undefined || contactIds.length !== 2) {
  console.error('Usage: first-sync.ts <organisation id> <contact id> <contact id>');
  process.exit(2);
}
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });

// 1. Connect. The credentials are validated, and encrypted for this connection, before anything is sent.
const keys = await KeyRing.load();
const { connectionId } = await withOrganisation(pool, organisationId, (client) =>
  credentialsConnect(client, keys, {
    organisationId,
    provider: 'reapit',
    credentials: { grant: 'client_credentials', customer: 'SBOX' },
  }),
).catch(async (error) => {
  if (!(error instanceof CrmSchemaError) || error.code !== 'live_connection_exists') throw error;
  const live = await withOrganisation(pool, organisationId, (client) =>
    connectionGetLive(client, { organisationId, provider: 'reapit' }),
  );
  console.error(`Reapit is already connected. Disconnect it first:
  withOrganisation(pool, '${organisationId}', (client) =>
    connectionDisconnect(client, { organisationId: '${organisationId}', connectionId: '${live?.connectionId}' }))`);
  process.exit(1);
});
const connection = { organisationId, connectionId };

// 2. Sync a page. Mappings, log and cursor belong in one transaction.
const page = [
  { id: 'OXF18000001', modified: '2026-11-16T09:00:00.1234567Z' },
  { id: 'OXF18000002', modified: '2026-11-16T09:05:00' },
];
const record = { provider: 'reapit', entityType: 'contact' } as const;
await withOrganisation(pool, organisationId, async (client) => {
  const links = page.map(({ id }, index) => ({
    ...record,
    externalId: id,
    contactId: contactIds[index] ?? '', // your matching decides which contact it is
  }));
  const outcomes = await contactExternalIdLinkMany(client, { organisationId, links });
  const events = links.map(({ externalId, contactId }, index): SyncEvent => {
    const event = { direction: 'inbound', entityType: 'contact', externalId, internalId: contactId } as const;
    const { outcome } = outcomes[index] ?? {};
    if (outcome === 'linked' || outcome === 'already_linked') return { ...event, status: 'success' };
    const error = { kind: 'conflict', retryable: false, message: `Not linked: ${outcome}.` } as const;
    return { ...event, status: 'error', error };
  });
  await syncLogRecord(client, { ...connection, events });
  // Only the log keeps the failure, so the cursor stops before it. (A worker's cursor may pass it.)
  const failed = events.findIndex(({ status }) => status === 'error');
  const [lastSyncedAt] = page
    .slice(0, failed === -1 ? page.length : failed)
    // Reapit's times are UTC, also those that do not say so.
    .map(({ modified }) => canonicalTimestamp(modified, { timeZone: 'UTC' }))
    .sort()
    .reverse();
  if (lastSyncedAt !== undefined) {
    await connectionAdvanceLastSyncedAt(client, { ...connection, lastSyncedAt });
  }
});

// 3. Read the result.
await withOrganisation(pool, organisationId, async (client) => {
  const health = await connectionListWithHealth(client, {
    organisationId,
    failuresSince: '2026-11-01T00:00:00Z',
  });
  for (const { provider, status, lastSyncedAt, failureCount } of health) {
    console.log(`${provider} is ${status}, synced up to ${lastSyncedAt}, failures: ${failureCount}`);
  }
  const contactId = await contactExternalIdResolve(client, {
    organisationId,
    ...record,
    externalId: 'OXF18000002',
  });
  console.log(`OXF18000002 is ${contactId === contactIds[1] ? 'the second contact' : 'unknown'}`);
});
await pool.end();
