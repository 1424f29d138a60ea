// With Drizzle: in a transaction of Drizzle, on its client.
import { organisationSet } from '@nurturehub/crm-schema';
import { clientOf, shareClients } from '@nurturehub/crm-schema/clients';
import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { pgTable, text, uuid } from 'drizzle-orm/pg-core';
import pg from 'pg';
import { recordImport, runImport } from './import.js';

const contacts = pgTable('contacts', { id: uuid().primaryKey(), name: text().notNull() });

const pool = shareClients(new pg.Pool({ connectionString: process.env.DATABASE_URL }));
const db = drizzle(pool);

await runImport((person) =>
  db.transaction(async (tx) => {
    const client = await clientOf((statement) => tx.execute(statement));
    await organisationSet(client, person);
    await tx.update(contacts).set({ name: person.name }).where(eq(contacts.id, person.contactId));
    await recordImport(client, person);
  }),
);
await pool.end();
