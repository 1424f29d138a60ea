import { type Definition, describeDefinition, type Item } from './item.js';

type Key = Pick<Item, 'object' | 'kind' | 'name'>;

/** Items to look up: those expected, or those found. */
export class ItemIndex {
  readonly #definitions = new Map<string, Definition>();
  readonly #present: Set<string>;

  constructor(items: readonly Item[]) {
    for (const item of items) {
      const other = this.#definitions.get(keyOf(item));
      // A partition's own constraint may share its name with one of the log's: neither may hide the other.
      this.#definitions.set(keyOf(item), other === undefined ? item.definition : withNamesake(item, other));
    }
    this.#present = new Set(
      items.flatMap(({ object, kind, name }) => [object, `${object}\n${kind} ${name}`]),
    );
  }

  definition(key: Key): Definition | null {
    return this.#definitions.get(keyOf(key)) ?? null;
  }

  /** Whether the object exists, or with `item`, whether that part of it does: `column status`. */
  has(object: string, item?: string): boolean {
    return this.#present.has(item === undefined ? object : `${object}\n${item}`);
  }
}

export function keyOf({ object, kind, name }: Key): string {
  return JSON.stringify([object, kind, name]);
}

function withNamesake({ kind, definition }: Item, other: Definition): Definition {
  const namesakes = [...(other.namesakes ?? [other]), definition];
  return { sql: namesakes.map((each) => describeDefinition(kind, each)).join('; '), namesakes };
}
