import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { hasDropMarker } from './drop-marker.js';
import { sqlNameOf } from './names.js';
import { byTime, type PartitionRange } from './ranges.js';

/** An attached partition of the log, or one whose detach is pending. */
export interface AttachedPartition extends PartitionRange {
  /** As it stands in SQL: quoted, and with its schema where the search_path needs it. */
  name: string;
  isDefault: boolean;
  /** Whether a detach is under way, or was interrupted. */
  isDetaching: boolean;
  /** Whether `crm-schema partitions drop` began to detach it. */
  isToBeDropped: boolean;
}

/**
 * SQL: the columns `from` and `before` of a partition, of which `bound` is the text that pg_get_expr returns. Null
 * where it is unbounded. Moments are printed as the session's timezone and datestyle say.
 */
export const rangeColumns = `
  substring(bound from 'FROM \\(''(.*)''\\) TO') as "from",
  substring(bound from 'TO \\(''(.*)''\\)') as before`;

/**
 * Reads the attached partitions from the catalog, in ascending order, without locking them.
 *
 * @param client with timezone UTC and datestyle ISO
 * @param logId the oid of crm_sync_log, as text
 */
export async function readAttached(client: DedicatedConnection, logId: string): Promise<AttachedPartition[]> {
  const { rows } = await client.query(
    `select
       ${sqlNameOf('pg_class')} as name,
       ${rangeColumns},
       bound = 'DEFAULT' as "isDefault",
       inhdetachpending as "isDetaching",
       ${hasDropMarker('inhrelid')} as "isToBeDropped"
     from pg_catalog.pg_inherits
     inner join pg_catalog.pg_class
       on pg_class.oid = inhrelid
     cross join pg_catalog.pg_get_expr(relpartbound, inhrelid) as bound
     where inhparent = $1::oid`,
    [logId],
  );
  return rows.sort(byTime);
}

/**
 * Reads the first moments of this month and the next.
 *
 * @param client with timezone UTC and datestyle ISO
 */
export async function readMonths(client: DedicatedConnection): Promise<string[]> {
  const { rows } = await client.query(
    `select (
       pg_catalog.date_trunc('month', pg_catalog.now()) + pg_catalog.make_interval(months => number)
     )::text as start
     from pg_catalog.generate_series(0, 1) as number
     order by number`,
  );
  return rows.map(({ start }) => start);
}
