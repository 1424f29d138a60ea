// With Kysely: in a transaction of Kysely, on its client.
import { organisationSet } from '@nurturehub/crm-schema';
import { clientOf, shareClients } from '@nurturehub/crm-schema/clients';
import { CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { recordImport, runImport } from './import.js';

interface Database {
  contacts: { id: string; name: string };
}

const pool = shareClients(new pg.Pool({ connectionString: process.env.DATABASE_URL }));
const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });

await runImport((person) =>
  db.transaction().execute(async (trx) => {
    const client = await clientOf((statement) => trx.executeQuery(CompiledQuery.raw(statement)));
    await organisationSet(client, person);
    await trx.updateTable('contacts').set({ name: person.name }).where('id', '=', person.contactId).execute();
    await recordImport(client, person);
  }),
);
await db.destroy();
