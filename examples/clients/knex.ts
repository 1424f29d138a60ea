// With Knex: in a transaction of Knex, whose client has the connection.
import { organisationSet } from '@nurturehub/crm-schema';
import knex from 'knex';
import type pg from 'pg';
import { recordImport, runImport } from './import.js';

const db = knex({ client: 'pg', connection: process.env.DATABASE_URL ?? '' });

await runImport((person) =>
  db.transaction(async (trx) => {
    const client: pg.Client = await trx.client.acquireConnection();
    await organisationSet(client, person);
    await trx('contacts').where({ id: person.contactId }).update({ name: person.name });
    await recordImport(client, person);
  }),
);
await db.destroy();
