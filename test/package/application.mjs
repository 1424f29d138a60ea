// A consumer's program on all five entry points of the package: migrates a database, connects a CRM, records a batch,
// and prints what it found, as JSON.
import { randomUUID } from 'node:crypto';
import {
  CrmSchemaError,
  connectionListWithHealth,
  syncBatchRecord,
  syncRunClaim,
  withNamedStatements,
  withOrganisation,
} from '@nurturehub/crm-schema';
import { clientOf, shareClients } from '@nurturehub/crm-schema/clients';
import { credentialsConnect, credentialsGet, generateKey, KeyRing } from '@nurturehub/crm-schema/credentials';
import { migrateUp, partitionsList, verify } from '@nurturehub/crm-schema/migrations';
import { connectionGet } from '@nurturehub/crm-schema/queries';
import pg from 'pg';

const organisationId = randomUUID();
const provider = 'street';

/** The schema, on one connection. */
async function install(client) {
  const { migrations } = await migrateUp(client);
  const { differences } = await verify(client);
  const { partitions } = await partitionsList(client);
  await client.query("insert into organisations (id, name) values ($1, 'Test Agency')", [organisationId]);
  return { migrations: migrations.length, differences, partitions: partitions.length };
}

/** A connection with encrypted credentials, and a batch with a failure. */
async function sync(pool) {
  const key = await generateKey('A256KW', 'test-key');
  const keys = await KeyRing.parse({ current: key.kid, keys: [key] });
  const connect = () =>
    withOrganisation(pool, organisationId, (client) =>
      credentialsConnect(client, keys, { organisationId, provider, credentials: { token: 'a token' } }),
    );
  const { connectionId } = await connect();
  const refusal = await connect().catch((error) => error);
  const [run] = await syncRunClaim(pool, { worker: 'test' });
  const record = { direction: 'inbound', entityType: 'person', externalId: 'P1' };
  const error = { kind: 'timeout', retryable: true, message: 'No answer.' };
  await syncBatchRecord(withNamedStatements(pool), {
    organisationId,
    connectionId,
    runId: run.runId,
    batchNumber: 1,
    events: [{ ...record, status: 'error', error }],
  });
  const shared = await shareClients(pool).connect();
  const [health] = await connectionListWithHealth(await clientOf((statement) => shared.query(statement)), {
    organisationId,
    failuresSince: '2026-01-01T00:00:00Z',
  });
  shared.release();
  const stored = await credentialsGet(pool, keys, { organisationId, connectionId, provider });
  const [connection] = await connectionGet.run({ organisationId, connectionId }, pool);
  return {
    refusal: [refusal instanceof CrmSchemaError, refusal.code],
    failures: health.failureCount,
    token: stored.credentials.token,
    status: connection.status,
  };
}

async function main() {
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
  try {
    const client = await pool.connect();
    const installed = await install(client).finally(() => client.release());
    console.log(JSON.stringify({ ...installed, ...(await sync(pool)) }));
  } finally {
    await pool.end();
  }
}

// No await here: a CommonJS bundle has none at its top level.
main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
