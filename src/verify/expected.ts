import { createRequire } from 'node:module';
import { type Installation, type Item, type ItemKind, kinds } from './items.js';

/** Items by object, kind and name: the form of `schema.json`, in which a change shows as a line. */
export type ItemFile = Record<string, Partial<Record<ItemKind, Record<string, Item['definition']>>>>;

/** The partition that stands for all in `schema.json`, which has no months. */
const model = 'public.crm_sync_log_catch_all';

/** The text of `schema.json`, from what was read of a database that the migrations have just made. */
export function itemFile(items: readonly Item[]): string {
  const file: ItemFile = {};
  const rank = ({ object, kind, name }: Item) =>
    `${object}\n${String(kinds.indexOf(kind)).padStart(2, '0')}\n${name}`;
  for (const item of [...items].sort((one, other) => (rank(one) < rank(other) ? -1 : 1))) {
    file[item.object] ??= {};
    const parts = file[item.object] as ItemFile[string];
    parts[item.kind] ??= {};
    (parts[item.kind] as Record<string, Item['definition']>)[item.name] = item.definition;
  }
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** What the migrations of this version make, in the schema `public`, as `schema.json` has it. */
export function shippedItems(): Item[] {
  const file: ItemFile = createRequire(import.meta.url)('../../schema.json');
  return Object.entries(file).flatMap(([object, parts]) =>
    Object.entries(parts).flatMap(([kind, named]) =>
      Object.entries(named).map(([name, definition]) => ({
        object,
        kind: kind as ItemKind,
        name,
        definition,
      })),
    ),
  );
}

/**
 * What an installation should have: what this version makes, where that installation is, and for each of its
 * partitions what a partition has.
 *
 * @param partitions qualified names
 */
export function expectedItems(place: Installation, partitions: readonly string[]): Item[] {
  const shipped = shippedItems();
  const ofModel = ({ object }: Item) => object === `table ${model}`;
  return [
    ...shipped.filter((item) => !ofModel(item)),
    ...partitions.flatMap((name) =>
      // Quoted, nothing in the name is taken for more than itself.
      shipped.filter(ofModel).map((item) => renamed(item, (sql) => sql.replaceAll(model, () => name))),
    ),
  ].map((item) => renamed(item, (sql) => moved(sql, place)));
}

/** SQL that names things in `public`, as it is where the installation is. */
function moved(sql: string, { schema, organisations, contacts }: Installation): string {
  return sql.replace(/\bpublic\.(organisations\b|contacts\b)?/g, (_, host: string | undefined) =>
    host === undefined ? `${schema}.` : host === 'contacts' ? contacts : organisations,
  );
}

/** Comments are prose, and stay. */
function renamed(item: Item, rename: (sql: string) => string): Item {
  const { object, kind, name, definition } = item;
  return {
    kind,
    object: rename(object),
    name: rename(name),
    definition:
      kind === 'comment'
        ? definition
        : Array.isArray(definition)
          ? definition.map(rename)
          : rename(definition),
  };
}
