import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { byHand, bySqlIf, type Difference, type Repair } from './difference.js';
import type { Installation } from './installation.js';
import { asBothOwners } from './repair-server.js';
import { type AppliedMigrations, isMigrationsTable } from './row-items.js';

/** The names that `crm-schema migrate` and node-pg-migrate give to the table by default. */
const usualNames = ['crm_schema_migrations', 'pgmigrations'];

/**
 * A schema in which nothing counts what is applied any more: the table of the migrations was dropped, emptied, moved to
 * another schema or given to another owner. The next `migrate` refuses to run.
 *
 * @param tables the schema's migrations tables
 * @param shipped the names of this version's migrations
 */
export async function migrationsTableDifferences(
  client: DedicatedConnection,
  installation: Installation,
  tables: readonly AppliedMigrations[],
  shipped: readonly string[],
): Promise<Difference[]> {
  // A table that the user may not read counts, for all that can be said.
  const isCounting = tables.some(
    ({ isReadable, names }) => !isReadable || names.some((name) => shipped.includes(name)),
  );
  if (isCounting) return [];
  const { rows } = await client.query(
    `select
       relnamespace = $1::oid as "isHere",
       format('%I.%I', nspname, relname) as name,
       relname = $3 as "isOurs",
       relowner = $2::oid and has_table_privilege(pg_class.oid, 'select') and not row_security_active(pg_class.oid) as "isReadable"
     from pg_class
     inner join pg_namespace
       on pg_namespace.oid = relnamespace
     where relname = any ($4::text[])
       and not (relnamespace = $1::oid and relowner = $2::oid)
       and has_schema_privilege(pg_namespace.oid, 'usage')
       and ${isMigrationsTable}
     order by relnamespace = $1::oid desc, name`,
    [installation.schemaId, installation.ownerId, usualNames[0], usualNames],
  );
  // `crm_…` in the schema itself is reported as somebody else's table.
  if (rows.some(({ isHere, isOurs }) => isHere && isOurs)) return [];
  let found: string | null = null;
  let repair: Repair = byHand(
    'Create it again: see Repair the migrations table, in docs/operations/migrate.md.',
  );
  for (const { isHere, name, isReadable } of rows) {
    if (isHere) {
      found = `nothing that ${installation.owner} owns`;
      repair = bySqlIf(
        `If ${name} is it: ${asBothOwners.replace('Run', 'run')}`,
        `alter table ${name} owner to ${installation.owner}`,
      );
      break;
    }
    if (!isReadable) continue;
    const { rows: applied } = await client.query(`select name from ${name}`);
    if (!applied.some((row) => shipped.includes(String(row.name)))) continue;
    found = `${name}, in another schema`;
    repair = bySqlIf(
      `Unless ${name} is of another installation:`,
      `alter table ${name} set schema ${installation.schema}`,
    );
    break;
  }
  const [table] = tables;
  return [
    {
      kind: 'table',
      name: table?.table ?? `${installation.schema}.${usualNames[0]}`,
      expected: 'the applied migrations',
      found: found ?? (table === undefined ? null : 'none of the applied migrations'),
      ...repair,
    },
  ];
}
