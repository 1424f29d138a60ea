import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { rolledBack } from '../support/database.js';

/** Runs `work` as the log's owner, who is no superuser, as where a DBA installs the schema. */
export async function asOwner(
  pool: pg.Pool,
  work: (client: pg.PoolClient, owner: string) => Promise<void>,
): Promise<void> {
  await rolledBack(pool, async (client) => {
    const owner = `crm_owner_${randomBytes(4).toString('hex')}`;
    await client.query(`create role ${owner}; grant create, usage on schema public to ${owner}`);
    await giveAllTo(client, owner);
    await client.query(`set local role ${owner}`);
    await work(client, owner);
  });
}

/** Makes a role the owner of all that the migrations have created. */
export async function giveAllTo(client: pg.PoolClient, owner: string): Promise<void> {
  const { rows } = await client.query(
    `select format('alter table %s owner to ${owner}', oid::regclass) as statement
     from pg_class
     where relnamespace = 'public'::regnamespace
       and relkind in ('r', 'p', 'v')
       and (relname ^@ 'crm_' or relname ^@ 'contact_external_' or relname = 'pgmigrations')
     union all
     select format('alter function %s owner to ${owner}', oid::regprocedure)
     from pg_proc
     where pronamespace = 'public'::regnamespace and proname ^@ 'crm_'`,
  );
  for (const { statement } of rows) await client.query(statement);
}
