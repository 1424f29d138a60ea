import type { ItemKind } from './items.js';

/** What differs: an item of the catalog, or the range of a partition of the log. */
export type DifferenceKind = ItemKind | 'partition';

/** Something that is not as the installed version has it. */
export interface Difference {
  /** What it is about. */
  kind: DifferenceKind;
  /** As people say it, names qualified: `status on public.crm_connections`. */
  name: string;
  /** Null: it should not be there. */
  expected: string | null;
  /** Null: it is not there. */
  found: string | null;
  /**
   * SQL that mends it without losing a row, to be run one after the other and, because of `concurrently`,
   * outside a transaction; empty where there is none.
   */
  statements: readonly string[];
  /** What to do where there is no such SQL, or what it takes to run it. */
  advice: string | null;
}

/** An item of which there is more, less or something else than expected. */
export interface Change<Definition = string | string[]> {
  object: string;
  kind: ItemKind;
  name: string;
  expected: Definition | null;
  found: Definition | null;
  /** The name under which it was found, if that is all that differs. */
  renamed?: string;
}

/** How a difference can be mended. */
export type Repair = Pick<Difference, 'statements' | 'advice'>;

/** By SQL alone. */
export function bySql(...statements: (string | null)[]): Repair {
  return { statements: statements.filter((statement) => statement !== null), advice: null };
}

/** By SQL that is not for everybody to run, or not without a thought: says which. */
export function bySqlIf(advice: string | null, ...statements: (string | null)[]): Repair {
  return { ...bySql(...statements), advice };
}

/** For SQL that the owner may not run. */
export const superuser = 'It takes a superuser:';

/** What is not of this schema is somebody's, and may be of use to him. */
export const unlessNeeded = 'Once you know that nobody needs it:';

/** By a person. */
export function byHand(advice: string): Repair {
  return { statements: [], advice };
}

/** The name of an object without what it is: `public.crm_connections`. */
export function nameOf(object: string): string {
  return object.replace(/^(materialized view|foreign table|\S+) /, '');
}

/** A name as PostgreSQL writes it in SQL, in a regular expression. */
export const identifier = '"(?:[^"]|"")*"|[^", .]+';

/** SQL with a literal of blanks, as a CHECK has one, so that it survives being copied. */
export function printable(sql: string): string {
  const escapes: Record<string, string> = {
    '\t': '\\t',
    '\n': '\\n',
    '\r': '\\r',
    '\f': '\\f',
    '\v': '\\x0b',
  };
  return sql.replace(
    /'([^'\\]*[\t\r\f\v][^'\\]*)'/g,
    (_, text: string) => `E'${text.replace(/[\t\n\r\f\v]/g, (blank) => escapes[blank] as string)}'`,
  );
}
