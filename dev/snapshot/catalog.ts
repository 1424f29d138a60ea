import { functionsQuery, privilegesQuery, rolesQuery, tablesQuery, versionQuery } from './catalog-queries.js';
import type { SnapshotDatabase } from './database.js';

/** A named thing of a table, with its definition as PostgreSQL prints it. */
export interface Part {
  name: string;
  definition: string;
  comment: string | null;
}

export interface Column {
  name: string;
  type: string;
  isNullable: boolean;
  /** As after the type in `create table`: `default …` or `generated …`. */
  default: string | null;
  comment: string | null;
}

export interface Constraint extends Part {
  /** p: primary key, u: unique, f: foreign key, x: exclusion, c: check. */
  kind: 'p' | 'u' | 'f' | 'x' | 'c';
  columns: string[];
  /** Of a foreign key. */
  references: { table: string; columns: string[]; onDelete: 'a' | 'r' | 'c' | 'n' | 'd' } | null;
}

export interface Table {
  name: string;
  /** Whether it is NurtureHub's own, of which only what this schema relies on is shown. */
  isHost: boolean;
  comment: string | null;
  /** `RANGE (occurred_at)` and such. */
  partitionKey: string | null;
  settings: string[] | null;
  rowSecurity: 'off' | 'on' | 'forced';
  columns: Column[];
  constraints: Constraint[];
  /** Those that no constraint made. */
  indexes: Part[];
  triggers: Part[];
  policies: Part[];
}

export interface SchemaFunction {
  name: string;
  signature: string;
  result: string;
  properties: string[];
  comment: string | null;
}

/** What one role, or everyone, may do with one table or function. The owner's privileges are left out. */
export interface Privilege {
  object: string;
  objectKind: 'table' | 'function';
  /** `public` is everyone. */
  role: string;
  /** In lower case. */
  privilege: string;
  /** The columns it is limited to. */
  columns: string[] | null;
}

export interface Schema {
  postgresVersion: string;
  /** In the order in which the migrations make them, the host's first. */
  tables: Table[];
  functions: SchemaFunction[];
  roles: { name: string; comment: string | null }[];
  privileges: Privilege[];
}

/** Reads the schema that the migrations made. */
export async function readSchema({ client, hostRelations }: SnapshotDatabase): Promise<Schema> {
  const read = async <Row>(query: string): Promise<Row[]> =>
    (await client.query<{ row: Row }>(`select to_jsonb(found) as row from (${query}) as found`)).rows.map(
      ({ row }) => row,
    );

  const [server] = await read<{ version: string }>(versionQuery);
  const tables = (await read<Table>(tablesQuery)).map((table) => ({
    ...table,
    isHost: hostRelations.includes(table.name),
  }));
  return {
    postgresVersion: String(server?.version),
    tables: tables.map((table) => (table.isHost ? stub(table, tables, hostRelations) : table)),
    functions: await read(functionsQuery),
    roles: await read(rolesQuery),
    privileges: await read(privilegesQuery),
  };
}

/** Of a host table: the columns that foreign keys of ours point at, and indexes of ours. */
function stub(table: Table, tables: Table[], hostRelations: readonly string[]): Table {
  const relied = tables
    .filter(({ isHost }) => !isHost)
    .flatMap(({ constraints }) => constraints)
    .flatMap(({ references }) => (references?.table === table.name ? references.columns : []));
  return {
    ...table,
    columns: table.columns.filter(({ name }) => relied.includes(name)),
    constraints: table.constraints.filter(({ kind }) => kind === 'p'),
    indexes: table.indexes.filter(({ name }) => !hostRelations.includes(name)),
  };
}

/** The columns of a table that are in its primary key, and in foreign keys. */
export function keyColumns({ constraints }: Table): Record<'primary' | 'foreign', Set<string>> {
  const of = (kind: Constraint['kind']) =>
    new Set(constraints.filter((constraint) => constraint.kind === kind).flatMap(({ columns }) => columns));
  return { primary: of('p'), foreign: of('f') };
}
