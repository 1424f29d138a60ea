// Connects a CRM and syncs a first page of contacts. On a migrated database, for an organisation there:
//   DATABASE_URL=postgres://… npx tsx first-sync.ts <organisation id> <contact id> <contact id>
import { randomBytes, randomUUID } from 'node:crypto';
import {
  CrmSchemaError,
  canonicalTimestamp,
  connectionAdvanceLastSyncedAt,
  connectionConnect,
  connectionListWithHealth,
  contactExternalIdLinkMany,
  contactExternalIdResolve,
  credentialsAad,
  type SyncEvent,
  syncLogRecord,
} from '@nurturehub/crm-schema';
import { FlattenedEncrypt } from 'jose';
import pg from 'pg';

const [organisationId, ...contactIds] = process.argv.slice(2);
if (organisationId === undefined || contactIds.length !== 2) {
  console.error('Usage: first-sync.ts <organisation id> <contact id> <contact id>');
  process.exit(2);
}
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });

// 1. Connect. The database takes nothing but ciphertext that is bound to this very connection.
const connection = { organisationId, connectionId: randomUUID(), provider: 'reapit' } as const;
const key = randomBytes(32); // yours comes from a secret manager
const credentials = await new FlattenedEncrypt(new TextEncoder().encode('{"customer": "SBOX"}'))
  .setProtectedHeader({ alg: 'A256KW', enc: 'A256GCM' })
  .setUnprotectedHeader({ kid: 'key-2026-11' })
  .setAdditionalAuthenticatedData(credentialsAad(connection))
  .encrypt(key);
try {
  await connectionConnect(pool, { ...connection, credentials });
} catch (error) {
  if (!(error instanceof CrmSchemaError) || error.code !== 'live_connection_exists') throw error;
  console.error('Reapit is connected already: disconnect it first.');
  process.exit(1);
}

// 2. Sync a page. Mappings, log and cursor belong into one transaction, and it is yours.
const page = [
  { id: 'OXF18000001', modified: '2026-11-16T09:00:00.1234567Z' },
  { id: 'OXF18000002', modified: '2026-11-16T09:05:00' },
];
const record = { provider: 'reapit', entityType: 'contact' } as const;
const client = await pool.connect();
try {
  await client.query('begin');
  const links = page.map(({ id }, index) => ({
    ...record,
    externalId: id,
    contactId: contactIds[index] ?? '', // your matching decides whose it is
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
  const lastSyncedAt = page
    .map(({ modified }) => canonicalTimestamp(modified))
    .sort()
    .at(-1) as string;
  await connectionAdvanceLastSyncedAt(client, { ...connection, lastSyncedAt });
  await client.query('commit');
} catch (error) {
  await client.query('rollback');
  throw error;
} finally {
  client.release();
}

// 3. Ask.
const health = await connectionListWithHealth(pool, {
  organisationId,
  failuresSince: '2026-11-01T00:00:00Z',
});
for (const { provider, status, lastSyncedAt, failureCount } of health) {
  console.log(`${provider} is ${status}, synced up to ${lastSyncedAt}, failures: ${failureCount}`);
}
const contactId = await contactExternalIdResolve(pool, {
  organisationId,
  ...record,
  externalId: 'OXF18000002',
});
console.log(`OXF18000002 is ${contactId === contactIds[1] ? 'the second contact' : 'unknown'}`);
await pool.end();
