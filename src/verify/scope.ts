import type { Scope } from '../catalog/read.js';
import type { Installation } from './installation.js';

/**
 * What `verify` reads of the catalog: relations with this schema's names and relations that inherit from
 * them, above all the partitions of the log; functions and types that begin with `crm_`.
 *
 * Leaves out the migrations table, and half-detached partitions, which are reported with the ranges.
 *
 * $1: the schema's oid, $2: that of crm_sync_log, $3: of its owner, $4: of the migrations tables.
 */
const scope: Scope = {
  relations: `
    with named as (
      select oid
      from pg_class
      where relnamespace = $1::oid
        and (relname ^@ 'crm_' or relname ^@ 'contact_external_')
        and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        -- What crm_sync_log_ensure_partitions leaves for its next call to drop.
        and not (relname = 'crm_sync_log_emptied' and relowner = $3::oid)
        and oid <> all ($4::oid[])
        -- Nor the sequence of a migrations table.
        and not exists (
          select
          from pg_depend
          where classid = 'pg_class'::regclass
            and objid = pg_class.oid
            and refclassid = 'pg_class'::regclass
            and refobjid = any ($4::oid[])
        )
    )
    select pg_class.oid
    from pg_class
    left join pg_inherits as log
      on log.inhrelid = pg_class.oid
      and log.inhparent = $2::oid
    where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and log.inhdetachpending is not true
      and (
        pg_class.oid in (select oid from named)
        or pg_class.oid in (select inhrelid from pg_inherits where inhparent in (select oid from named))
      )`,
  functions: "select oid from pg_proc where pronamespace = $1::oid and proname ^@ 'crm_'",
  types: "select oid from pg_type where typnamespace = $1::oid and typname ^@ 'crm_'",
  withInherited: false,
};

/** The scope of an installation, and its parameters. */
export function scopeOf(
  { schemaId, logId, ownerId }: Installation,
  migrationsTables: readonly string[],
): [Scope, unknown[]] {
  return [scope, [schemaId, logId, ownerId, migrationsTables]];
}
