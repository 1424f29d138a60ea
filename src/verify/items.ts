/** What an item is; those that are objects of their own first, and in the order in which they can be mended. */
export const kinds = [
  'migration',
  'role',
  'schema usage',
  'schema creation',
  'membership',
  'setting',
  'parameter',
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
  'owner',
  'privileges',
  'comment',
  'period',
] as const;

export type ItemKind = (typeof kinds)[number];

/** A fact of the catalog: see catalog-query.ts. */
export interface Item {
  /** `table public.crm_connections`: what it is, or is part of. */
  object: string;
  kind: ItemKind;
  /** Within the object; of a comment, the kind and the name of the item that it is on. */
  name: string;
  /** SQL mostly; lines of a function; or privileges. */
  definition: string | string[];
}

/** Where an installation is; names are qualified, and quoted where they have to be. */
export interface Installation {
  schema: string;
  schemaId: string;
  /** Null where crm_sync_log is gone. */
  logId: string | null;
  /** Of most of the tables: whom all of it should belong to. */
  owner: string;
  ownerId: string;
  organisations: string;
  contacts: string;
  contactsId: string | null;
}
