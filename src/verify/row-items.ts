// Items that come from rows of tables, not from the catalog.

import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { Installation } from './installation.js';
import { define, type Item } from './item.js';

/** A policy could call anybody's function; those of this package call nothing. */
const policiesCallNothing = `not exists (
  select
  from pg_policy
  where polrelid = pg_class.oid
    and pg_get_expr(polqual, polrelid) <> 'true'
)`;

/** A migrations table, and what it records. */
export interface AppliedMigrations {
  oid: string;
  /** Qualified. */
  table: string;
  names: string[];
  /** Whether the user may read it. */
  isReadable: boolean;
  /** Whether row-level security hides all its rows from the user. */
  isHidden: boolean;
}

/** Whether a row of pg_class is a table with the columns of node-pg-migrate's migrations table, as a condition in SQL. */
export const isMigrationsTable = `
       relkind = 'r'
       and '{id,name,run_on}' = (
         select array_agg(attname::text order by attname)
         from pg_attribute
         where attrelid = pg_class.oid
           and attnum > 0
           and not attisdropped
       )`;

/**
 * Tables in the installation's schema that have the shape of node-pg-migrate's migrations table, with the
 * migrations they record; none if the user may not read them.
 */
export async function readAppliedMigrations(
  client: DedicatedConnection,
  { schemaId, ownerId }: Installation,
): Promise<AppliedMigrations[]> {
  const { rows } = await client.query(
    `select
       oid::text,
       oid::regclass::text as name,
       has_table_privilege(oid, 'select') as "isGranted",
       row_security_active(oid) as "hasPolicies",
       not row_security_active(oid) or ${policiesCallNothing} as "isSafe"
     from pg_class
     where relnamespace = $1::oid
       -- So that nobody else's policy runs.
       and relowner = $2::oid
       and ${isMigrationsTable}`,
    [schemaId, ownerId],
  );
  const tables: AppliedMigrations[] = [];
  for (const { oid, name, isGranted, hasPolicies, isSafe } of rows) {
    const { rows: applied } =
      isGranted && isSafe ? await client.query(`select name from ${name}`) : { rows: [] };
    tables.push({
      oid,
      table: name,
      names: applied.map((row) => String(row.name)),
      isReadable: isGranted && isSafe,
      isHidden: isGranted && hasPolicies && applied.length === 0,
    });
  }
  return tables;
}

/**
 * The retention periods that `crm_retention` has, whatever their length: the owner may change them, but
 * without a row nothing is deleted by age. If the user may not read the table, all periods are assumed to be
 * set.
 */
export async function readRetentionPeriods(
  client: DedicatedConnection,
  { schema, schemaId, ownerId }: Installation,
): Promise<Item[]> {
  const { rows: tables } = await client.query(
    `select
       -- So that nobody else's policy runs.
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
           and ${policiesCallNothing}
         ) as "isReadable"
     from pg_class
     where relnamespace = $1::oid
       and relname = 'crm_retention'
       and relkind = 'r'`,
    [schemaId, ownerId],
  );
  const periods: { subject: string }[] = [];
  for (const { isReadable } of tables) {
    // Without a cast, because another user may have created one for their own type.
    const { rows } = isReadable
      ? await client.query(`select subject from ${schema}.crm_retention`)
      : { rows: [{ subject: 'crm_sync_log' }, { subject: 'crm_sync_runs' }] };
    periods.push(...rows);
  }
  return periods.map(({ subject }) => ({
    object: `table ${schema}.crm_retention`,
    kind: 'period',
    name: String(subject),
    definition: define('set'),
  }));
}
