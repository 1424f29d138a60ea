// Asks two questions as a member of crm_app, after first-sync.ts: are the connections healthy, and whose is this id?
//   DATABASE_URL=postgres://… npx tsx ask.ts
import { connectionListWithHealth, contactExternalIdResolve, withOrganisation } from '@nurturehub/crm-schema';
import pg from 'pg';

const organisationId = '00000000-0000-4000-8000-000000000001';
const record = { provider: 'reapit', entityType: 'contact', externalId: 'OXF18000002' } as const;
const failuresSince = '2026-11-01T00:00:00Z';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
await withOrganisation(pool, organisationId, async (client) => {
  for (const connection of await connectionListWithHealth(client, { organisationId, failuresSince })) {
    console.log(`${connection.provider}: ${connection.status}, ${connection.failureCount} failures`);
  }
  console.log('contact', await contactExternalIdResolve(client, { organisationId, ...record }));
});
await pool.end();
