// With postgres.js: in a transaction of postgres.js, through an adapter.
import { organisationSet } from '@nurturehub/crm-schema';
import { fromPostgresJs } from '@nurturehub/crm-schema/clients';
import postgres from 'postgres';
import { recordImport, runImport } from './import.js';

const sql = postgres(process.env.DATABASE_URL ?? '');

await runImport(async (person) => {
  await sql.begin(async (tx) => {
    const client = fromPostgresJs(tx);
    await organisationSet(client, person);
    await tx`update contacts set name = ${person.name} where id = ${person.contactId}`;
    await recordImport(client, person);
  });
});
await sql.end();
