import { commentTarget } from './comments.js';
import { type Change, type Difference, nameOf } from './difference.js';
import type { Installation } from './installation.js';
import { type Definition, describeDefinition, type Item, type ItemKind, itemKinds } from './item.js';
import { ItemIndex, keyOf } from './item-index.js';
import { privilegeDifferences } from './privilege-differences.js';
import { repair } from './repair.js';

/** Kinds that do not depend on another item. All other items of a missing or unexpected object are left out. */
const independentKinds: readonly ItemKind[] = [
  'migration',
  'role',
  'schema creation',
  'setting',
  'parameter',
  'host index',
  'function',
  'type',
  'table',
  'view',
  'sequence',
];

/** The differences between two lists of items, in the order in which to repair them. */
export function compare(
  installation: Installation,
  expectedItems: readonly Item[],
  foundItems: readonly Item[],
): Difference[] {
  const expected = new ItemIndex(expectedItems);
  const found = new ItemIndex(foundItems);
  const items = new Map([...expectedItems, ...foundItems].map((item) => [keyOf(item), item]));
  const changes = [...items.values()]
    .map(({ object, kind, name }): Change => {
      const key = { object, kind, name };
      return { ...key, expected: expected.definition(key), found: found.definition(key) };
    })
    .filter((change) => !isSameDefinition(change.expected, change.found))
    .filter(({ object, kind, name }) => {
      const parent = parentOf(kind, name);
      return [expected, found].every(
        (index) =>
          independentKinds.includes(kind) ||
          (index.has(object) && (parent === null || index.has(object, parent))),
      );
    });
  return withRenames(changes)
    .filter((change) => !isReportedForLog(change, changes, installation))
    .sort((one, other) => (repairOrder(one) < repairOrder(other) ? -1 : 1))
    .flatMap((change) => {
      if (change.kind === 'privileges') return privilegeDifferences(change, installation);
      const { object, kind } = change;
      const sibling = (siblingKind: ItemKind, name: string) =>
        expected.definition({ object, kind: siblingKind, name }) ?? undefined;
      return [
        {
          kind,
          name: displayName(change),
          expected: describeOrNull(kind, change.expected),
          found:
            change.foundAs === undefined ? describeOrNull(kind, change.found) : `named ${change.foundAs}`,
          ...repair(change, installation, sibling),
        },
      ];
    });
}

function isSameDefinition(one: Definition | null, other: Definition | null): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** The item, within its object, that this one is part of and is repaired with. */
function parentOf(kind: ItemKind, name: string): string | null {
  if (kind === 'comment') return name;
  return kind === 'default' ? `column ${name}` : null;
}

/** Reports a missing and an unexpected item that differ only in their names as one that was renamed. */
function withRenames(changes: readonly Change[]): Change[] {
  const renamable: readonly ItemKind[] = ['constraint', 'index', 'trigger', 'policy'];
  const renames = new Map<Change, Change>();
  for (const change of changes) {
    const { object, kind, expected, found } = change;
    if (found !== null || !renamable.includes(kind)) continue;
    const unexpected = changes.find(
      (other) =>
        other.object === object &&
        other.kind === kind &&
        other.expected === null &&
        isSameDefinition(other.found, expected),
    );
    if (unexpected !== undefined && ![...renames.values()].includes(unexpected)) {
      renames.set(change, unexpected);
    }
  }
  const renamed = new Set(renames.values());
  return changes
    .filter((change) => !renamed.has(change))
    .map((change) => {
      const unexpected = renames.get(change);
      return unexpected === undefined
        ? change
        : { ...change, found: unexpected.found, foundAs: unexpected.name };
    });
}

/** Whether a partition's change only repeats one of the log, whose repair also repairs the partition. */
function isReportedForLog(change: Change, changes: readonly Change[], { schema }: Installation): boolean {
  const log = `table ${schema}.crm_sync_log`;
  const { object, kind, name } = change;
  const isCopied =
    kind === 'index' ||
    kind === 'constraint' ||
    (kind === 'trigger' && (change.expected ?? change.found)?.sql.includes(' FOR EACH ROW '));
  return (
    isCopied === true &&
    object.startsWith(`${log}_`) &&
    changes.some((other) => other.object === log && other.kind === kind && other.name === name)
  );
}

/**
 * By kind. Foreign keys come after the keys they reference, the owner's grants after those that depend on
 * them, the partitions after the log.
 */
function repairOrder({ object, kind, name, expected, found }: Change): string {
  const isRepairedLate =
    (kind === 'constraint' && expected?.sql.startsWith('FOREIGN KEY')) ||
    (kind === 'privileges' && (found?.grants ?? []).every(({ grantor }) => grantor === null));
  return [String(itemKinds.indexOf(kind)).padStart(2, '0'), isRepairedLate ? 1 : 0, object, name].join('\n');
}

function displayName({ object, kind, name }: Change): string {
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
      return commentTarget(object, name);
    default:
      return name;
  }
}

function describeOrNull(kind: ItemKind, definition: Definition | null): string | null {
  return definition === null ? null : describeDefinition(kind, definition);
}
