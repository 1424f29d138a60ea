/**
 * The facts of a database's catalog. Names are written as SQL writes them, quoted where they must be;
 * `relation` is the qualified name of the table that something belongs to. Definitions are SQL.
 */
export interface Catalog {
  schemas: SchemaFacts[];
  /** In the order in which they were created. */
  relations: RelationFacts[];
  sequences: SequenceFacts[];
  columns: ColumnFacts[];
  constraints: ConstraintFacts[];
  indexes: IndexFacts[];
  triggers: TriggerFacts[];
  rules: RuleFacts[];
  policies: PolicyFacts[];
  functions: FunctionFacts[];
  types: TypeFacts[];
  grants: GrantFacts[];
}

export interface SchemaFacts {
  name: string;
  owner: string;
  comment: string | null;
}

export interface RelationFacts {
  schema: string;
  name: string;
  /** With its schema: what other facts call `relation`. */
  qualified: string;
  /** As in `alter … `, where a partitioned table is also a table. */
  kind: 'table' | 'view' | 'materialized view' | 'foreign table' | 'sequence' | 'index' | 'composite type';
  owner: string;
  persistence: 'permanent' | 'unlogged' | 'temporary';
  /** Of a partitioned table: `RANGE (occurred_at)`. */
  partitionKey: string | null;
  isPartition: boolean;
  /** Of a view: its query. */
  query: string | null;
  /** Of a partition, if read: `FOR VALUES FROM …`. */
  bound: string | null;
  /** Qualified names of the tables, or the index, it inherits from or is a partition of. */
  parents: string[];
  hasRowSecurity: boolean;
  /** Whether its policies apply to its owner, too. */
  isRowSecurityForced: boolean;
  /** Storage parameters, such as `fillfactor=70`. */
  settings: string[] | null;
  tablespace: string | null;
  /** d: the primary key, n: nothing, f: all columns, i: an index. */
  replicaIdentity: 'd' | 'n' | 'f' | 'i';
  comment: string | null;
}

/** Numbers are texts, because some exceed what a JavaScript number holds exactly. */
export interface SequenceFacts {
  relation: string;
  type: string;
  start: string;
  increment: string;
  minimum: string;
  maximum: string;
  cache: string;
  isCycling: boolean;
}

export interface ColumnFacts {
  relation: string;
  name: string;
  /** From 1, without gaps for dropped columns. */
  position: number;
  type: string;
  /** Null for the database's default, and for a type without collations. */
  collation: string | null;
  isNotNull: boolean;
  /** False if NOT NULL was added `not valid` and existing rows were not checked (since PostgreSQL 18). */
  isNotNullValidated: boolean;
  identity: 'always' | 'by default' | null;
  generated: 'stored' | 'virtual' | null;
  /** The default, or what a generated column is generated from. */
  expression: string | null;
  storage: string;
  compression: string | null;
  /** Null for the server's default. */
  statisticsTarget: number | null;
  isLocal: boolean;
  parentCount: number;
  settings: string[] | null;
  comment: string | null;
}

export interface ConstraintFacts {
  relation: string;
  name: string;
  /** p: primary key, u: unique, f: foreign key, x: exclusion, c: check, n: not null, t: trigger. */
  type: 'p' | 'u' | 'f' | 'x' | 'c' | 'n' | 't';
  /** Without `NOT VALID`. */
  definition: string;
  /** False if it was added `not valid` and existing rows were not checked. */
  isValidated: boolean;
  /** Null for a partition's, if not read. */
  columns: string[] | null;
  /** Of a foreign key, if its columns are read, in the same order. */
  references: { relation: string; columns: string[]; onDelete: 'a' | 'r' | 'c' | 'n' | 'd' } | null;
  /** The name of the constraint of the partitioned table that it implements in a partition. */
  parent: string | null;
  isLocal: boolean;
  parentCount: number;
  /** The index that enforces it, qualified, if that is invalid. */
  invalidIndex: string | null;
  /** The table whose internal triggers enforce it, if any of these are not enabled. */
  disabledTriggersOf: string | null;
  comment: string | null;
}

export interface IndexFacts {
  relation: string;
  name: string;
  /** The index of the partitioned table that it is attached to, qualified. */
  parent: string | null;
  isUnique: boolean;
  /** What follows `using`: `btree (expires_at) WHERE ended_at IS NULL`. Null for an attached one, if not read. */
  definition: string | null;
  /** Its key columns, without expressions; null where the definition is. */
  columns: string[] | null;
  /** Of a partial index: the condition. */
  predicate: string | null;
  isValid: boolean;
  /** Whether `reindex concurrently` is at work on it now. */
  isBeingRebuilt: boolean;
  /** Whether a primary key, a unique or an exclusion constraint owns it. */
  isOfConstraint: boolean;
  isClustered: boolean;
  isReplicaIdentity: boolean;
  comment: string | null;
}

export interface TriggerFacts {
  relation: string;
  name: string;
  /** What follows the name. */
  definition: string;
  fires: 'normally' | 'never' | 'on replicas only' | 'always';
  /** Whether a partitioned table's trigger created it. */
  isInherited: boolean;
  comment: string | null;
}

export interface RuleFacts {
  relation: string;
  name: string;
  definition: string;
}

export interface PolicyFacts {
  relation: string;
  name: string;
  isPermissive: boolean;
  command: 'select' | 'insert' | 'update' | 'delete' | 'all';
  roles: string[];
  using: string | null;
  check: string | null;
  comment: string | null;
}

export interface FunctionFacts {
  name: string;
  /** With its schema and the types of its parameters. */
  qualified: string;
  /** With the names, types and defaults of its parameters. */
  signature: string;
  result: string;
  isAggregate: boolean;
  language: string;
  volatility: 'immutable' | 'stable' | 'volatile';
  isStrict: boolean;
  parallel: 'safe' | 'restricted' | 'unsafe';
  isSecurityDefiner: boolean;
  settings: string[] | null;
  /** `CREATE OR REPLACE FUNCTION …`; null for an aggregate. */
  definition: string | null;
  owner: string;
  comment: string | null;
}

/** A type that does not belong to a table or to another type. */
export interface TypeFacts {
  qualified: string;
  kind: 'domain' | 'enum' | 'composite' | 'base' | 'range' | 'multirange';
  comment: string | null;
}

/** Everything granted to one role on one object, including what an owner has by default. */
export interface GrantFacts {
  /** As in `grant … on`, except that a view is not called a table: see `RelationFacts.kind`. */
  kind: RelationFacts['kind'] | 'function' | 'schema';
  /** Qualified; of a function, with the types of its parameters. */
  name: string;
  /** `public` for everyone. */
  grantee: string;
  isToOwner: boolean;
  /** By the position of the column, then by the privilege. */
  grants: Grant[];
}

export interface Grant {
  /** In lower case. */
  privilege: string;
  /** The column that it is limited to. */
  column: string | null;
  /** Null for the owner of the object. */
  grantor: string | null;
  isGrantable: boolean;
}
