// With pg alone: withOrganisation begins the transaction, sets the organisation and commits.
import { withOrganisation } from '@nurturehub/crm-schema';
import pg from 'pg';
import { recordImport, runImport } from './import.js';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });

await runImport((person) =>
  withOrganisation(pool, person.organisationId, async (client) => {
    await client.query('update contacts set name = $2 where id = $1', [person.contactId, person.name]);
    await recordImport(client, person);
  }),
);
await pool.end();
