// With MikroORM 6: in a transaction of MikroORM, which is one of Knex.
import { defineEntity, MikroORM, p } from '@mikro-orm/core';
import { type Knex, PostgreSqlDriver } from '@mikro-orm/postgresql';
import { organisationSet } from '@nurturehub/crm-schema';
import type pg from 'pg';
import { recordImport, runImport } from './import.js';

const Contact = defineEntity({
  name: 'Contact',
  tableName: 'contacts',
  properties: { id: p.uuid().primary(), name: p.text() },
});

const orm = await MikroORM.init({
  driver: PostgreSqlDriver,
  clientUrl: process.env.DATABASE_URL ?? '',
  entities: [Contact],
});

await runImport((person) =>
  orm.em.fork().transactional(async (em) => {
    const client: pg.Client = await em.getTransactionContext<Knex.Transaction>()?.client.acquireConnection();
    await organisationSet(client, person);
    const contact = await em.findOneOrFail(Contact, person.contactId);
    contact.name = person.name;
    // What this package writes may refer to what MikroORM has not written yet.
    await em.flush();
    await recordImport(client, person);
  }),
);
await orm.close();
