import type { Grant } from '../catalog/grant-facts.js';

/** What can differ: objects first, and in the order in which differences can be repaired. */
export const itemKinds = [
  'migration',
  'role',
  'schema usage',
  'schema creation',
  'membership',
  'setting',
  'parameter',
  'default privileges',
  'host index',
  'function',
  'type',
  'table',
  'sequence',
  'column',
  'default',
  'constraint',
  'index',
  'trigger',
  'rule',
  'policy',
  'row-level security',
  'view',
  'owner',
  'privileges',
  'comment',
  'period',
] as const;

export type ItemKind = (typeof itemKinds)[number];

/** One fact that `verify` compares: schema.json has the expected ones, a database those that were found. */
export interface Item {
  /** The object that it is or belongs to: `table public.crm_connections`. */
  object: string;
  kind: ItemKind;
  /** Within the object; of a comment, the kind and the name of the item that it is on. */
  name: string;
  definition: Definition;
}

export interface Definition {
  /** SQL if SQL can express it, otherwise a word; empty for privileges. */
  sql: string;
  state?: State;
  /** Of privileges: one for each column, if it is limited to columns. */
  grants?: Grant[];
  /** If several items have the same name: all of them. */
  namesakes?: Definition[];
}

/** The state of an item that its SQL does not express. */
export interface State {
  /** A table: `RANGE (occurred_at)`. */
  partitionedBy?: string | undefined;
  /** A table: a partition of the log. */
  isPartition?: boolean | undefined;
  /** A table: a crash empties it; a sequence: a crash resets it. */
  isUnlogged?: boolean | undefined;
  /** A table: the others that it inherits from, and whose readers may read its rows past its own policies. */
  inheritsFrom?: string[] | undefined;
  /** A table: the one that it is a partition of, if that is not the log. */
  partitionOf?: string | undefined;
  /** A table: the storage parameters that keep autovacuum from it, or from its TOAST table. */
  withoutAutovacuum?: string[] | undefined;
  /** A table: once it is published, its updates and deletes fail. */
  hasNoReplicaIdentity?: boolean | undefined;
  /** A view: its columns, with their types. */
  columns?: string[] | undefined;
  /** A column's NOT NULL or a constraint: existing rows were not checked. */
  isNotValid?: boolean | undefined;
  /** A foreign key: the tables whose internal triggers, which enforce it, are disabled. */
  disabledTriggersOf?: string[] | undefined;
  /** An index, or a constraint's: its qualified name, if it is invalid. */
  invalidIndex?: string | undefined;
  /** A trigger: when it fires, if that is not as usual. */
  fires?: 'never' | 'on replicas only' | 'always' | undefined;
  /** A membership, the right to create, or that to set a parameter: who granted it, if that matters. */
  grantor?: string | undefined;
  /** The same: whether the grantee may grant it to others, and perhaps has. */
  isGrantable?: boolean | undefined;
}

/** A definition with its state. */
export function define(sql: string, state: State = {}): Definition {
  const entries = Object.entries(state).filter(([, value]) => value !== undefined && value !== false);
  return entries.length === 0 ? { sql } : { sql, state: Object.fromEntries(entries) };
}

export function isSameDefinition(one: Definition | null, other: Definition | null): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Describes a definition for people: its SQL and its state. */
export function describeDefinition(kind: ItemKind, { sql, state = {}, namesakes }: Definition): string {
  if (namesakes !== undefined) return sql;
  switch (kind) {
    case 'table':
      return [
        `${state.isUnlogged ? 'unlogged ' : ''}${sql}`,
        ...(state.partitionedBy === undefined ? [] : [` partitioned by ${state.partitionedBy}`]),
        ...(state.isPartition ? [', a partition'] : []),
        ...(state.inheritsFrom === undefined ? [] : [`, inheriting from ${state.inheritsFrom.join(', ')}`]),
        ...(state.partitionOf === undefined ? [] : [`, a partition of ${state.partitionOf}`]),
        ...(state.withoutAutovacuum === undefined
          ? []
          : [`, with ${state.withoutAutovacuum.map((parameter) => `${parameter}=off`).join(', ')}`]),
        ...(state.hasNoReplicaIdentity ? [', without replica identity'] : []),
      ].join('');
    case 'sequence':
      return `${state.isUnlogged ? 'unlogged, ' : ''}${sql}`;
    case 'view':
      return `${state.columns === undefined ? '' : `(${state.columns.join(', ')}) `}${sql}`;
    case 'membership':
      return `through ${sql}${grantedBy(state)}`;
    case 'schema creation':
    case 'parameter':
      return `${sql}${grantedBy(state)}`;
    default:
      return [
        sql,
        ...(state.isNotValid ? [kind === 'constraint' ? 'NOT VALID' : '(not valid)'] : []),
        ...(state.disabledTriggersOf === undefined
          ? []
          : [`(not enforced: triggers of ${state.disabledTriggersOf.join(', ')} are disabled)`]),
        ...(state.invalidIndex === undefined ? [] : [`(invalid: ${state.invalidIndex})`]),
        ...(state.fires === undefined ? [] : [state.fires === 'never' ? '(disabled)' : `(${state.fires})`]),
      ].join(' ');
  }
}

function grantedBy({ grantor }: State): string {
  return grantor === undefined ? '' : `, granted by ${grantor}`;
}

/** An item, and the comment on it. */
export type Commented = Omit<Item, 'object'> & { comment: string | null };

/** The item, and its comment as another. */
export function withComment(object: string, { kind, name, definition, comment }: Commented): Item[] {
  return [
    { object, kind, name, definition },
    ...(comment === null
      ? []
      : [{ object, kind: 'comment' as const, name: `${kind} ${name}`, definition: define(comment) }]),
  ];
}
