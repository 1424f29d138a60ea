// What is told by rows of tables, and not by the catalog.

import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { Installation, Item } from './items.js';

/**
 * The tables beside ours that node-pg-migrate, by their shape, counts migrations in, and what they count; that
 * is nothing where the user may not look.
 */
export async function readAppliedMigrations(
  client: DedicatedConnection,
  { schemaId, ownerId }: Installation,
): Promise<{ oid: string; names: string[] }[]> {
  const { rows } = await client.query(
    `select
       oid::text,
       oid::regclass::text as name,
       has_table_privilege(oid, 'select') as "isReadable"
     from pg_class
     where relnamespace = $1::oid
       and relkind = 'r'
       -- No policy of somebody else's is run.
       and relowner = $2::oid
       and '{id,name,run_on}' = (
         select array_agg(attname::text order by attname)
         from pg_attribute
         where attrelid = pg_class.oid
           and attnum > 0
           and not attisdropped
       )`,
    [schemaId, ownerId],
  );
  const found = [];
  for (const { oid, name, isReadable } of rows) {
    const { rows: applied } = isReadable ? await client.query(`select name from ${name}`) : { rows: [] };
    found.push({ oid, names: applied.map((row) => String(row.name)) });
  }
  return found;
}

/**
 * Which periods `crm_retention` has, whatever they are: the owner may change them, and without one nothing is cut
 * by age. Where the user may not look, all are taken to be there.
 */
export async function readPeriods(
  client: DedicatedConnection,
  { schema, schemaId, ownerId }: Installation,
): Promise<Item[]> {
  const { rows: tables } = await client.query(
    `select
       -- No policy of somebody else's is run.
       relowner = $2::oid
         and exists (select from pg_attribute where attrelid = pg_class.oid and attname = 'subject')
         and has_table_privilege(oid, 'select')
         and (
           not row_security_active(oid)
           or exists (
             select
             from pg_roles
             where rolname in ('crm_worker', 'crm_reader')
               and pg_has_role(pg_roles.oid, 'usage')
           )
         ) as "isReadable"
     from pg_class
     where relnamespace = $1::oid
       and relname = 'crm_retention'
       and relkind = 'r'`,
    [schemaId, ownerId],
  );
  const found: { subject: string }[] = [];
  for (const { isReadable } of tables) {
    // Without a cast, which somebody may have made for a type of his own.
    const { rows } = isReadable
      ? await client.query(`select subject from ${schema}.crm_retention`)
      : { rows: [{ subject: 'crm_sync_log' }, { subject: 'crm_sync_runs' }] };
    found.push(...rows);
  }
  return found.map(({ subject }) => ({
    object: `table ${schema}.crm_retention`,
    kind: 'period',
    name: String(subject),
    definition: 'set',
  }));
}
