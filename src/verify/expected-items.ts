import type { Grant } from '../catalog/grant-facts.js';
import { readPackageJson } from '../migrations/files.js';
import type { Installation } from './installation.js';
import { type Definition, define, type Item, type ItemKind, itemKinds, type State } from './item.js';

/**
 * Items by object, kind and name: the form of `schema.json`, in which a change shows as a line. A definition
 * is its SQL, as a list if it has several lines; an object if it has a state; for privileges, the columns of
 * each, or true for the whole object.
 */
type SchemaJson = Record<string, Partial<Record<ItemKind, Record<string, WrittenDefinition>>>>;

type WrittenDefinition = string | string[] | ({ sql: string } & State) | Record<string, true | string[]>;

/** The partition that represents every partition in `schema.json`, which has no months. */
const modelPartition = 'public.crm_sync_log_catch_all';

/** The text of `schema.json`, from the items of a database that the migrations have just created. */
export function schemaJsonText(items: readonly Item[]): string {
  const file: SchemaJson = {};
  const rank = ({ object, kind, name }: Item) =>
    `${object}\n${String(itemKinds.indexOf(kind)).padStart(2, '0')}\n${name}`;
  for (const item of [...items].sort((one, other) => (rank(one) < rank(other) ? -1 : 1))) {
    file[item.object] ??= {};
    const parts = file[item.object] as SchemaJson[string];
    parts[item.kind] ??= {};
    (parts[item.kind] as Record<string, WrittenDefinition>)[item.name] = writeDefinition(item.definition);
  }
  return `${JSON.stringify(file, null, 2)}\n`;
}

function writeDefinition({ sql, state, grants }: Definition): WrittenDefinition {
  if (grants === undefined) {
    if (state !== undefined) return { sql, ...state };
    return sql.includes('\n') ? sql.split('\n') : sql;
  }
  const columns: Record<string, true | string[]> = {};
  for (const { privilege, column } of grants) {
    const others = columns[privilege] ?? [];
    if (others === true || (column === null && others.length > 0)) {
      throw new Error(`${privilege} is granted both on an object and on its columns.`);
    }
    columns[privilege] = column === null ? true : [...others, column];
  }
  return columns;
}

function readDefinition(kind: ItemKind, definition: WrittenDefinition): Definition {
  if (typeof definition === 'string') return define(definition);
  if (Array.isArray(definition)) return define(definition.join('\n'));
  if (kind !== 'privileges') {
    const { sql, ...state } = definition as { sql: string } & State;
    return define(sql, state);
  }
  const grants = Object.entries(definition as Record<string, true | string[]>).flatMap(
    ([privilege, columns]) =>
      (columns === true ? [null] : columns).map(
        (column): Grant => ({ privilege, column, grantor: null, isGrantable: false }),
      ),
  );
  return { sql: '', grants };
}

/** What the migrations of this version create, in the schema `public`, as `schema.json` has it. */
export function shippedItems(): Item[] {
  const file: SchemaJson = readPackageJson('schema.json');
  return Object.entries(file).flatMap(([object, parts]) =>
    Object.entries(parts).flatMap(([kind, named]) =>
      Object.entries(named).map(([name, definition]) => ({
        object,
        kind: kind as ItemKind,
        name,
        definition: readDefinition(kind as ItemKind, definition),
      })),
    ),
  );
}

/**
 * The items that an installation should have: what this version creates, with the names of that installation,
 * and for each of its partitions what a partition has.
 *
 * @param partitions qualified names
 */
export function expectedItems(installation: Installation, partitions: readonly string[]): Item[] {
  const shipped = shippedItems();
  const isOfModel = ({ object }: Item) => object === `table ${modelPartition}`;
  return [
    ...shipped.filter((item) => !isOfModel(item)),
    ...partitions.flatMap((name) =>
      // A function as the replacement, so that no `$` in the name is special.
      shipped
        .filter(isOfModel)
        .map((item) => renamed(item, (sql) => sql.replaceAll(modelPartition, () => name))),
    ),
  ].map((item) => renamed(item, (sql) => withInstallationNames(sql, installation)));
}

/** SQL that names objects in `public`, with the names of the installation. */
function withInstallationNames(sql: string, { schema, organisations, contacts }: Installation): string {
  return sql.replace(/\bpublic\.(organisations\b|contacts\b)?/g, (_, host: string | undefined) =>
    host === undefined ? `${schema}.` : host === 'contacts' ? contacts : organisations,
  );
}

/** Comments are prose and stay as they are. */
function renamed({ object, kind, name, definition }: Item, rename: (sql: string) => string): Item {
  return {
    object: rename(object),
    kind,
    name: rename(name),
    definition: kind === 'comment' ? definition : { ...definition, sql: rename(definition.sql) },
  };
}
