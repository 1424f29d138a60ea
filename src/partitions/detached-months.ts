import { PreparedQuery, type Queryable } from '../statements/prepared-query.js';
import { datedNamePattern, sqlNameOf } from './names.js';

/**
 * A month that was detached from the log, or whose detach is unfinished, and that is not dropped yet; or an older one
 * that was detached by hand.
 */
export interface DetachedMonth {
  name: string;
  /** As it stands in SQL: quoted, and with its schema where the search_path needs it. */
  sqlName: string;
  /**
   * Whether it is the log's owner's, the session may read all of it, and it has all columns of the log: one may be from
   * before a column was added.
   */
  isReadable: boolean;
}

/**
 * Tables in the log's schema with the name of a month, also of another owner, as after an archive was restored. One that
 * was renamed is not the log's. A month whose detach is unfinished is among them: PostgreSQL leaves its rows out of the
 * log already.
 */
const detachedMonths = new PreparedQuery<{ pattern: string }, DetachedMonth>({
  name: 'detachedMonths',
  statementName: null,
  params: [{ name: 'pattern', required: true }],
  text: `
    select
      month.relname::text as name,
      ${sqlNameOf('month')} as "sqlName",
      month.relowner = log.relowner
        and pg_catalog.has_table_privilege(month.oid, 'select')
        and not pg_catalog.row_security_active(month.oid)
        and not exists (
          select from pg_catalog.pg_attribute as wanted
          where wanted.attrelid = log.oid
            and wanted.attnum > 0
            and not wanted.attisdropped
            and not exists (
              select from pg_catalog.pg_attribute as present
              where present.attrelid = month.oid
                and present.attname = wanted.attname
                and present.atttypid = wanted.atttypid
            )
        ) as "isReadable"
    from pg_catalog.pg_class as log
    inner join pg_catalog.pg_class as month
      on month.relnamespace = log.relnamespace
    where log.oid = 'crm_sync_log'::regclass::oid
      and month.relkind in ('r', 'p')
      and not exists (
        select from pg_catalog.pg_inherits
        where inhrelid = month.oid
          and not inhdetachpending
      )
      and month.relname::text ~ $1::text
    order by month.relname`,
});

/** Reads the months that are detached from the log, by name. */
export function readDetachedMonths(client: Queryable): Promise<DetachedMonth[]> {
  return detachedMonths.run({ pattern: datedNamePattern }, client);
}
