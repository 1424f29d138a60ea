/** A named part of a table, with its definition as PostgreSQL prints it. */
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
  /** For a foreign key only. */
  references: { table: string; columns: string[]; onDelete: 'a' | 'r' | 'c' | 'n' | 'd' } | null;
}

export interface Index extends Part {
  isUnique: boolean;
  columns: string[];
  /** Of a partial index: the condition. */
  predicate: string | null;
}

export interface Table {
  name: string;
  /** Whether it is one of NurtureHub's own tables, of which only what this schema relies on is shown. */
  isHost: boolean;
  comment: string | null;
  /** `RANGE (occurred_at)` and such. */
  partitionKey: string | null;
  settings: string[] | null;
  rowSecurity: 'off' | 'on' | 'forced';
  columns: Column[];
  constraints: Constraint[];
  /** Without the indexes of constraints. */
  indexes: Index[];
  triggers: Part[];
  policies: Part[];
}

/** A view, with its query as its definition. */
export type View = Part;

export interface SchemaFunction {
  name: string;
  signature: string;
  result: string;
  properties: string[];
  comment: string | null;
}

/** A privilege of one role, or of everyone, on one table, view or function. Not the owner's. */
export interface Privilege {
  object: string;
  objectKind: 'table' | 'function';
  /** `public` for everyone. */
  role: string;
  /** In lower case. */
  privilege: string;
  /** The columns it is limited to. */
  columns: string[] | null;
}

export interface Schema {
  postgresVersion: string;
  /** In the order in which they are created, the host's first. */
  tables: Table[];
  views: View[];
  functions: SchemaFunction[];
  roles: { name: string; comment: string | null }[];
  privileges: Privilege[];
}

/** The columns in a table's primary key, in its foreign keys, and in its other unique keys. */
export function keyColumns({
  constraints,
  indexes,
}: Table): Record<'primary' | 'foreign' | 'unique', Set<string>> {
  const columnsOf = (kind: Constraint['kind']) =>
    constraints.filter((constraint) => constraint.kind === kind).flatMap(({ columns }) => columns);
  return {
    primary: new Set(columnsOf('p')),
    foreign: new Set(columnsOf('f')),
    unique: new Set([
      ...columnsOf('u'),
      ...indexes.filter(({ isUnique }) => isUnique).flatMap(({ columns }) => columns),
    ]),
  };
}

/** Whether a trigger refuses changes to the rows of a table. */
export function isAppendOnly({ triggers }: Table): boolean {
  return triggers.some(({ definition }) => /\bUPDATE\b.*_refuse_change\(\)$/.test(definition));
}
