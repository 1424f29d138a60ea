import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { bySql, type Difference } from './difference.js';

interface Numbered {
  table: string;
  column: string;
  /** Another table that `highest` reads. */
  alsoReads?: string;
  /** A query of the highest number, of a table that may be large. */
  highest?(schema: string): string;
}

/**
 * The columns that are numbered by sequences. A table that may have millions of rows has no index that begins with its
 * numbers, so `highest` looks at each organisation or connection for its own highest one.
 *
 * Not the log's: its numbers only order events of the same microsecond.
 */
const numbered: readonly Numbered[] = [
  {
    table: 'crm_sync_runs',
    column: 'id',
    alsoReads: 'crm_connections',
    highest: (schema) => `
      select max(latest.id)
      from ${schema}.crm_connections as connection
      cross join lateral (
        select id
        from ${schema}.crm_sync_runs
        where organisation_id = connection.organisation_id
          and connection_id = connection.id
        order by id desc
        limit 1
      ) as latest`,
  },
  { table: 'crm_sync_failures', column: 'id' },
  { table: 'crm_sync_conflicts', column: 'id' },
  { table: 'crm_outbound_changes', column: 'version' },
  { table: 'crm_erasures', column: 'id' },
  {
    table: 'contact_external_id_changes',
    column: 'id',
    highest: (schema) => `
      with recursive latest (organisation_id, id) as (
        (
          select
            organisation_id,
            id
          from ${schema}.contact_external_id_changes
          order by
            organisation_id desc,
            id desc
          limit 1
        )
        union all
        select next.*
        from latest
        cross join lateral (
          select
            organisation_id,
            id
          from ${schema}.contact_external_id_changes
          where organisation_id < latest.organisation_id
          order by
            organisation_id desc,
            id desc
          limit 1
        ) as next
      )
      select max(id)
      from latest`,
  },
];

/**
 * The sequences that are behind their tables, as after a restore that has filled the tables alone: the next rows get
 * numbers that are taken. Only of tables that the user sees whole, as the owner does.
 *
 * @param schema quoted where it must be
 * @param unknownTables qualified names of tables that are missing, or whose columns are not as expected
 */
export async function sequenceDifferences(
  client: DedicatedConnection,
  schema: string,
  unknownTables: ReadonlySet<string>,
): Promise<Difference[]> {
  const differences: Difference[] = [];
  for (const { table, column, alsoReads = table, highest } of numbered) {
    if ([table, alsoReads].some((each) => unknownTables.has(`${schema}.${each}`))) continue;
    const { rows: sequences } = await client.query(
      `select pg_get_serial_sequence($1, $2) as name
       where has_table_privilege($1, 'select')
         and not row_security_active($1)
         and has_sequence_privilege(pg_get_serial_sequence($1, $2), 'select')`,
      [`${schema}.${table}`, column],
    );
    const name: string | null = sequences[0]?.name ?? null;
    if (name === null) continue;
    // First the rows: a sequence only goes up, and this transaction sees no newer rows.
    const selected = highest?.(schema) ?? `select max(${column}) from ${schema}.${table}`;
    const { rows: taken } = await client.query(`select (${selected})::text as highest`);
    const { rows: states } = await client.query(
      `select (last_value - case when is_called then 0 else 1 end)::text as last from ${name}`,
    );
    const [top, last] = [BigInt(taken[0].highest ?? 0), BigInt(states[0].last)];
    if (last >= top) continue;
    differences.push({
      kind: 'sequence',
      name: `numbers of ${schema}.${table}.${column}`,
      expected: `at least ${top}, which a row has`,
      found: `${last}: the next rows get numbers that are taken`,
      ...bySql(`select setval('${name.replaceAll("'", "''")}', ${top})`),
    });
  }
  return differences;
}
