/** What a column holds of people, in the words of the data map. */
export const kinds = {
  identifies: 'identifies a contact',
  describes: 'about that contact',
  staff: 'who did it, and why',
  agency: 'the agency',
  secret: 'secret',
  technical: 'none',
} as const;

/** One of {@link kinds}. */
export type Kind = keyof typeof kinds;

/** What a table holds of people: each of its columns is in one list. */
export interface TableEntry extends Partial<Record<Kind, readonly string[]>> {
  /** What NurtureHub needs it for. */
  purpose: string;
  /** How long a row is kept, and what ends it. */
  kept: string;
  /** What becomes of it when a contact is erased. */
  erased: string;
  /** The part of the export that has these columns, or the reason why none has. */
  exported: { as: string; leftOut?: Readonly<Record<string, string>> } | { not: string };
}
