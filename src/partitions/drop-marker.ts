/** Ends the comment of a partition that is being dropped, so that the table is recognised once it is detached. */
export const dropMarker = 'To be dropped: crm-schema partitions drop.';

/**
 * SQL: whether the comment of a table ends with the marker; null if it has no comment.
 *
 * @param oid an SQL expression
 */
export function hasDropMarker(oid: string): string {
  return `pg_catalog.right(pg_catalog.obj_description(${oid}, 'pg_class'), ${dropMarker.length}) = '${dropMarker}'`;
}
