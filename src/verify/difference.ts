import type { Definition, ItemKind } from './item.js';

/** What differs: an item of the catalog, the range of a partition of the log, or what of the host lets others read rows. */
export type DifferenceKind = ItemKind | 'partition' | 'leak';

/** Something missing, mismatched or unexpected. */
export interface Difference {
  /** The kind of thing that differs. */
  kind: DifferenceKind;
  /** Its name for people, qualified: `status on public.crm_connections`. */
  name: string;
  /** Null: it is unexpected. */
  expected: string | null;
  /** Null: it is missing. */
  found: string | null;
  /**
   * SQL that repairs it without losing a row. Run the statements one at a time and in order, outside a
   * transaction because of `concurrently`. Empty if SQL alone cannot repair it.
   */
  statements: readonly string[];
  /** What to do if there is no such SQL, or what running it requires. */
  advice: string | null;
}

/** An item that is missing, mismatched or unexpected. */
export interface Change {
  object: string;
  kind: ItemKind;
  name: string;
  expected: Definition | null;
  found: Definition | null;
  /** The name that it was found under, if nothing else differs. */
  foundAs?: string;
}

/** Finds what is expected of another item of the same object, by kind and name. */
export type ExpectedSibling = (kind: ItemKind, name: string) => Definition | undefined;

/** How a difference can be repaired. */
export type Repair = Pick<Difference, 'statements' | 'advice'>;

/** A repair by SQL alone. */
export function bySql(...statements: (string | null)[]): Repair {
  return { statements: statements.filter((statement) => statement !== null), advice: null };
}

/** A repair by SQL that has a condition: says who may run it, or what to check first. */
export function bySqlIf(advice: string, ...statements: (string | null)[]): Repair {
  return { ...bySql(...statements), advice };
}

/** A repair that a person must make. */
export function byHand(advice: string): Repair {
  return { statements: [], advice };
}

/** For SQL that the owner may not run. */
export const asSuperuser = 'Run as a superuser:';

/** For SQL that only a certain role may run. */
export function asMemberOf(role: string): string {
  return `Run as a superuser, or as a member of ${role}:`;
}

/** For an unexpected item that may be in use. */
export const unlessNeeded = 'Once you are sure that nothing needs it:';

/** For an unexpected object, which may have data. */
export const notOurs = 'It is not part of this schema: find its owner, then drop or rename it.';

/** The two parts of a qualified name: `['public', 'crm_connections']`. */
export function splitName(qualified: string): [schema: string, name: string] {
  const [, schema = '', name = ''] = /^("(?:[^"]|"")*"|[^".]*)\.(.*)$/s.exec(qualified) ?? [];
  return [schema, name];
}

/** How to rename a table and move it to another schema: in this order, because there its name may be taken. */
export function renameTable(from: string, to: string): string[] {
  const [fromSchema, fromName] = splitName(from);
  const [toSchema, toName] = splitName(to);
  return [
    ...(fromName === toName ? [] : [`alter table ${from} rename to ${toName}`]),
    ...(fromSchema === toSchema ? [] : [`alter table ${fromSchema}.${toName} set schema ${toSchema}`]),
  ];
}

/** The name of an object without its kind: `public.crm_connections`. */
export function nameOf(object: string): string {
  return object.replace(/^(materialized view|foreign table|\S+) /, '');
}
