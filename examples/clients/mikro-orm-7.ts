// With MikroORM 7: in a transaction of MikroORM, on its client.
import { defineEntity, MikroORM, p } from '@mikro-orm/core';
import { PostgreSqlDriver } from '@mikro-orm/postgresql';
import { organisationSet } from '@nurturehub/crm-schema';
import { clientOf, shareClients } from '@nurturehub/crm-schema/clients';
import { PostgresDialect } from 'kysely';
import pg from 'pg';
import { recordImport, runImport } from './import.js';

const Contact = defineEntity({
  name: 'Contact',
  tableName: 'contacts',
  properties: { id: p.uuid().primary(), name: p.text() },
});

const pool = shareClients(new pg.Pool({ connectionString: process.env.DATABASE_URL }));
const orm = await MikroORM.init({
  driver: PostgreSqlDriver,
  // It looks for the database that this names, and ends the pool if there is none.
  clientUrl: process.env.DATABASE_URL ?? '',
  driverOptions: new PostgresDialect({ pool }),
  entities: [Contact],
});

await runImport((person) =>
  orm.em.fork().transactional(async (em) => {
    const client = await clientOf((statement) => em.execute(statement));
    await organisationSet(client, person);
    const contact = await em.findOneOrFail(Contact, person.contactId);
    contact.name = person.name;
    // What this package writes may refer to what MikroORM has not written yet.
    await em.flush();
    await recordImport(client, person);
  }),
);
await orm.close();
