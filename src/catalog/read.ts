import type { Catalog } from './facts.js';
import { functionSelect, functionTables, schemaSelect, typeSelect } from './function-facts.js';
import { grantSelect } from './grant-facts.js';
import { indexSelects } from './index-facts.js';
import { relationSelects, relationTable } from './relation-facts.js';
import { tableSelects } from './table-facts.js';

/** What to read, as SQL that selects oids; `$1`, `$2` … are the parameters. */
export interface Scope {
  /** Of pg_class. */
  relations: string;
  /** Of pg_proc. */
  functions?: string;
  /** Of pg_type. Only types that do not belong to a table or to another type are read. */
  types?: string;
  /** Of pg_namespace. */
  schemas?: string;
  /** Whether to read what a partition inherits, too: columns, CHECKs, keys, definitions of indexes. */
  withInherited: boolean;
}

/** What can run a statement: a client, a pool, or PGlite. */
interface Reader {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}

const noOids = 'select null::oid where false';

/**
 * Reads the facts of a catalog in one statement.
 *
 * PostgreSQL prints definitions by the settings of the session: it qualifies the names that search_path does
 * not find, and prints times in the session's time zone. With search_path pg_catalog every name is qualified.
 */
export async function readCatalog(
  client: Reader,
  scope: Scope,
  parameters: readonly unknown[] = [],
): Promise<Catalog> {
  const { rows } = await client.query(catalogQuery(scope), [...parameters]);
  const catalog: Catalog = {
    schemas: [],
    relations: [],
    sequences: [],
    columns: [],
    constraints: [],
    indexes: [],
    triggers: [],
    rules: [],
    policies: [],
    functions: [],
    types: [],
    grants: [],
  };
  for (const { part, facts } of rows as { part: keyof Catalog; facts: string }[]) {
    (catalog[part] as unknown[]).push(JSON.parse(facts));
  }
  return catalog;
}

/** Facts are text, because the application may have changed how its client parses JSON. */
function catalogQuery({
  relations,
  functions = noOids,
  types = noOids,
  schemas = noOids,
  withInherited,
}: Scope) {
  return `
with ${relationTable(relations)},
  ${functionTables({ functions, types, schemas })},
  fact (part, object, position, name, facts) as (
    ${[
      ...relationSelects(withInherited),
      ...tableSelects(withInherited),
      ...indexSelects(withInherited),
      functionSelect,
      typeSelect,
      schemaSelect,
      grantSelect,
    ].join('\n    union all')}
  )
select part, facts::text
from fact
order by object, position, name collate "C"`;
}
