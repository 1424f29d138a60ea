// With TypeORM: in a transaction of TypeORM, whose query runner has the client.
import { organisationSet } from '@nurturehub/crm-schema';
import type pg from 'pg';
import { DataSource, EntitySchema } from 'typeorm';
import { recordImport, runImport } from './import.js';

const Contact = new EntitySchema<{ id: string; name: string }>({
  name: 'contacts',
  columns: { id: { type: 'uuid', primary: true }, name: { type: 'text' } },
});

const source = new DataSource({
  type: 'postgres',
  url: process.env.DATABASE_URL ?? '',
  entities: [Contact],
});
await source.initialize();

await runImport((person) =>
  source.transaction(async (manager) => {
    const client: pg.PoolClient = await manager.queryRunner?.connect();
    await organisationSet(client, person);
    await manager.update(Contact, { id: person.contactId }, { name: person.name });
    await recordImport(client, person);
  }),
);
await source.destroy();
