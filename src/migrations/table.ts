import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { quoteIdentifier } from '../statements/quoting.js';
import { migrationRefused } from './refusal.js';
import { readSearchPathFacts, readTableFacts, type SearchPathFacts, type TableFacts } from './table-facts.js';

/** The name of a migrations table. */
export interface TableName {
  schema: string;
  migrationsTable: string;
}

/** `"public"."crm_schema_migrations"` */
export function sqlName({ schema, migrationsTable }: TableName): string {
  return [schema, migrationsTable].map(quoteIdentifier).join('.');
}

/** The schema of an installation, and what it has. */
export interface FoundTable {
  /** The first schema in search_path. */
  schema: string;
  /** Whether the schema has the migrations table. */
  hasTable: boolean;
  /** Whether the schema has crm_connections. */
  hasConnections: boolean;
}

/**
 * Finds the migrations table, and refuses one that another user may have created: the migrating user would run that
 * user's functions.
 *
 * @throws CrmSchemaError `migration_refused`
 */
export async function findTable(client: DedicatedConnection, migrationsTable: string): Promise<FoundTable> {
  const searchPathFacts = await readSearchPathFacts(client);
  const schema = checkedSchema(searchPathFacts);
  if ([schema, migrationsTable].some((name) => /["\p{C}]/u.test(name))) {
    throw migrationRefused(
      'The name of the schema or of the migrations table contains a double quote or a line break, which is not supported: choose another name.',
    );
  }
  const tableFacts = await readTableFacts(client, schema, migrationsTable);
  checkSearchPath(schema, searchPathFacts, tableFacts);
  if (tableFacts.hasTable) checkTable({ schema, migrationsTable }, searchPathFacts.user, tableFacts);
  const { hasTable, hasConnections } = tableFacts;
  return { schema, hasTable, hasConnections };
}

/** The first schema in search_path. It must exist, or everything would silently go into the next one. */
function checkedSchema({ schema, searchPath, isFirstMissing }: SearchPathFacts): string {
  if (schema === null || isFirstMissing) {
    throw migrationRefused(
      `The first schema in search_path (${searchPath}) does not exist, or the user may not use it: create it, or grant usage on it.`,
    );
  }
  return schema;
}

/** Refuses a search_path that leads to another schema than the one that is meant, or may do so. */
function checkSearchPath(
  schema: string,
  { user, searchPath }: SearchPathFacts,
  { hasConnections, anotherSchema, schemaOfConnections }: TableFacts,
): void {
  // Anyone who may create schemas can create one named after a user, which that user's search_path puts before ours.
  if (hasConnections && anotherSchema !== null && schema === user && /^\W*\$user/.test(searchPath)) {
    throw migrationRefused(
      `search_path finds schema ${schema} because it is named after the user, and schema ${anotherSchema} has crm_connections too: name the schema you mean with PGOPTIONS="-c search_path=…".`,
    );
  }
  // A schema created later, but earlier in search_path, would get a second installation.
  if (!hasConnections && schemaOfConnections !== null) {
    throw migrationRefused(
      `crm_connections is in schema ${schemaOfConnections}, but search_path (${searchPath}) puts schema ${schema} first: set PGOPTIONS="-c search_path=${schemaOfConnections}".`,
    );
  }
}

/** Refuses a migrations table that another user may have created, or whose rows this user cannot see. */
function checkTable(
  { schema, migrationsTable }: TableName,
  user: string,
  { owner, isTrusted, mayRead, isPlain, hidesRows, qualifiedName }: TableFacts,
): void {
  if (!isTrusted) {
    throw migrationRefused(
      `${migrationsTable} in schema ${schema} belongs to ${owner}, who does not own crm_connections: connect as ${owner}, or find out who created the table and rename it.`,
    );
  }
  if (!mayRead) {
    throw migrationRefused(
      `User ${user} may not read ${migrationsTable}: connect as its owner, or have the owner grant select on it.`,
    );
  }
  if (!isPlain) {
    throw migrationRefused(
      `${migrationsTable} in schema ${schema} is not a plain migrations table: it must have only the columns id, name and run_on, and no constraints, triggers, rules or policies. Find out who created it, and rename it.`,
    );
  }
  // Hidden rows are not missing rows.
  if (hidesRows) {
    throw migrationRefused(
      `Row-level security hides the rows of ${migrationsTable} from user ${user}, so which migrations are applied is unknown. As the table's owner, run: alter table ${qualifiedName} disable row level security;`,
    );
  }
}
