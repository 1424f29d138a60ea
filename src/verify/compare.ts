import { commented } from './comments.js';
import { type Change, type Difference, nameOf } from './difference.js';
import { type Installation, type Item, type ItemKind, kinds } from './items.js';
import { partGrantor, privilegeDifferences } from './privileges.js';
import { repair } from './repair.js';

/** Those that stand by themselves, some of them an object with which all its other items come and go. */
const heads: readonly ItemKind[] = [
  'migration',
  'role',
  'schema creation',
  'setting',
  'parameter',
  'host index',
  'function',
  'type',
  'table',
  'sequence',
];

/** What differs between two lists of items, in the order in which it can be mended. */
export function compare(
  place: Installation,
  expected: readonly Item[],
  found: readonly Item[],
): Difference[] {
  const sides = { expected: new Side(expected), found: new Side(found) };
  const items = new Map([...expected, ...found].map((item) => [keyOf(item), item]));
  const changes = [...items.values()]
    .map(({ object, kind, name }): Change => {
      const key = { object, kind, name };
      return { ...key, expected: sides.expected.definition(key), found: sides.found.definition(key) };
    })
    .filter((change) => JSON.stringify(change.expected) !== JSON.stringify(change.found))
    .filter(({ object, kind, name }) => {
      const whole = wholeOf(kind, name);
      return [sides.expected, sides.found].every(
        (side) => heads.includes(kind) || (side.has(object) && (whole === null || side.has(object, whole))),
      );
    });
  return withRenames(changes)
    .filter((change) => !isTold(change, changes, place))
    .sort((one, other) => (rank(one) < rank(other) ? -1 : 1))
    .flatMap((change) => {
      if (change.kind === 'privileges') return privilegeDifferences(change as Change<string[]>, place);
      const { object, kind } = change;
      const beside = (of: ItemKind, name: string) =>
        sides.expected.definition({ object, kind: of, name }) ?? undefined;
      return [
        {
          kind,
          name: said(change),
          expected: text(change.expected),
          found: change.renamed === undefined ? text(change.found) : `named ${change.renamed}`,
          ...repair(change, place, beside),
        },
      ];
    });
}

type Key = Pick<Item, 'object' | 'kind' | 'name'>;

/** One of the two lists, to look things up in. */
class Side {
  readonly #definitions = new Map<string, Item['definition']>();
  readonly #present: Set<string>;

  constructor(items: readonly Item[]) {
    for (const item of items) {
      const before = this.#definitions.get(keyOf(item));
      // A partition's own constraint may be called like one of the log's: neither is to hide the other.
      this.#definitions.set(
        keyOf(item),
        before === undefined ? item.definition : `${before}; ${item.definition}`,
      );
    }
    this.#present = new Set(
      items.flatMap(({ object, kind, name }) => [object, `${object}\n${kind} ${name}`]),
    );
  }

  definition(key: Key): Item['definition'] | null {
    return this.#definitions.get(keyOf(key)) ?? null;
  }

  /** Whether there is the object, or that of its items: `column status`. */
  has(object: string, item?: string): boolean {
    return this.#present.has(item === undefined ? object : `${object}\n${item}`);
  }
}

function keyOf({ object, kind, name }: Key): string {
  return JSON.stringify([object, kind, name]);
}

/** What an item is a part of, and is mended with, within its object. */
function wholeOf(kind: ItemKind, name: string): string | null {
  if (kind === 'comment') return name;
  return kind === 'default' ? `column ${name}` : null;
}

/** What is only called otherwise is one change, not a thing that lacks and another that is too many. */
function withRenames(changes: readonly Change[]): Change[] {
  const renamable: readonly ItemKind[] = ['constraint', 'index', 'trigger', 'policy'];
  const renames = new Map<Change, Change>();
  for (const change of changes) {
    const { object, kind, expected, found } = change;
    if (found !== null || !renamable.includes(kind)) continue;
    const other = changes.find(
      (extra) =>
        extra.object === object && extra.kind === kind && extra.found === expected && extra.expected === null,
    );
    if (other !== undefined && ![...renames.values()].includes(other)) renames.set(change, other);
  }
  const others = new Set(renames.values());
  return changes
    .filter((change) => !others.has(change))
    .map((change) => {
      const other = renames.get(change);
      return other === undefined ? change : { ...change, found: other.found, renamed: other.name };
    });
}

/** Whether it is a partition's copy of what differs at the log, and is mended there. */
function isTold(change: Change, changes: readonly Change[], { schema }: Installation): boolean {
  const log = `table ${schema}.crm_sync_log`;
  const { object, kind, name } = change;
  const isCopied =
    kind === 'index' ||
    kind === 'constraint' ||
    (kind === 'trigger' && String(change.expected ?? change.found).includes(' FOR EACH ROW '));
  return (
    isCopied &&
    object.startsWith(`${log}_`) &&
    changes.some((other) => other.object === log && other.kind === kind && other.name === name)
  );
}

/**
 * By kind; foreign keys after the keys that they point at; privileges that were passed on before those who passed
 * them on; the log before its partitions.
 */
function rank({ object, kind, name, expected, found }: Change): string {
  const isLate =
    (kind === 'constraint' && String(expected).startsWith('FOREIGN KEY')) ||
    (kind === 'privileges' &&
      [found ?? []].flat().every((privilege) => partGrantor(privilege)[1] === undefined));
  return [String(kinds.indexOf(kind)).padStart(2, '0'), isLate ? 1 : 0, object, name].join('\n');
}

function said({ object, kind, name }: Change): string {
  switch (kind) {
    case 'column':
    case 'default':
      return `${nameOf(object)}.${name}`;
    case 'constraint':
    case 'trigger':
    case 'rule':
    case 'policy':
    case 'index':
      return `${name} on ${nameOf(object)}`;
    case 'schema creation':
      return `${name} on ${object}`;
    case 'setting':
      return `${name} of ${object}`;
    case 'parameter':
      return `${nameOf(object)} for ${name}`;
    case 'membership':
      return `${nameOf(object)} in ${name}`;
    case 'period':
      return `${name} in ${nameOf(object)}`;
    case 'comment':
      return commented(object, name);
    default:
      return name;
  }
}

function text(definition: Item['definition'] | null): string | null {
  return Array.isArray(definition) ? definition.join('\n') : definition;
}
