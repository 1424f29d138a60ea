import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { Installation } from './installation.js';
import type { Item } from './item.js';

/**
 * Where the tables that are missing perhaps are: under another name, or in another schema. A table counts that has the
 * owner and exactly the columns, if it is the only one.
 *
 * @returns qualified names by the names that are expected
 */
export async function findLostTables(
  client: DedicatedConnection,
  expected: readonly Item[],
  found: readonly Item[],
  { ownerId }: Installation,
): Promise<Map<string, string>> {
  const present = new Set(found.flatMap(({ kind, name }) => (kind === 'table' ? [name] : [])));
  const missing = expected.filter(({ kind, name }) => kind === 'table' && !present.has(name));
  const lost = new Map<string, string>();
  for (const { object, name, definition } of missing) {
    const columns = expected.flatMap((item) =>
      item.object === object && item.kind === 'column' ? [item.name] : [],
    );
    const { rows } = await client.query(
      `select oid::regclass::text as name
       from pg_class
       where relkind = $1
         and relowner = $2::oid
         and not relispartition
         and $3::text[] = (
           select array_agg(quote_ident(attname) order by quote_ident(attname) collate "C")
           from pg_attribute
           where attrelid = pg_class.oid
             and attnum > 0
             and not attisdropped
         )`,
      [definition.state?.partitionedBy === undefined ? 'r' : 'p', ownerId, columns.toSorted()],
    );
    const candidates = rows.map((row) => String(row.name)).filter((each) => !isExpected(expected, each));
    if (candidates.length === 1) lost.set(name, candidates[0] as string);
  }
  return lost;
}

function isExpected(expected: readonly Item[], table: string): boolean {
  return expected.some(({ kind, name }) => kind === 'table' && name === table);
}
