import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { datedNamePattern, sqlNameOf } from './names.js';

/**
 * Reads the months of the log that were detached, and renamed or moved to another schema to be kept: nothing searches
 * them. They are known by the log's foreign key, which a month keeps.
 *
 * @returns their names as they stand in SQL
 */
export async function readKeptMonths(client: DedicatedConnection): Promise<string[]> {
  const { rows } = await client.query(statement, [datedNamePattern]);
  return rows.map(({ name }) => name);
}

const statement = `
  select ${sqlNameOf('month')} as name
  from pg_catalog.pg_class as log
  inner join pg_catalog.pg_constraint as log_key
    on log_key.conrelid = log.oid
    and log_key.contype = 'f'
  inner join pg_catalog.pg_constraint as kept_key
    on kept_key.confrelid = log_key.confrelid
    and kept_key.conname = log_key.conname
    and kept_key.conparentid = 0
    and kept_key.conrelid <> log.oid
  inner join pg_catalog.pg_class as month
    on month.oid = kept_key.conrelid
  where log.oid = 'crm_sync_log'::regclass
    and not (
      month.relnamespace = log.relnamespace
      and month.relname::text ~ $1::text
    )
  order by 1`;
