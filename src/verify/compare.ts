import { commentTarget } from './comments.js';
import { byHand, type Change, type Difference, nameOf, type Repair } from './difference.js';
import type { Installation } from './installation.js';
import { type Definition, describeDefinition, type Item, type ItemKind, isSameDefinition } from './item.js';
import { ItemIndex, keyOf } from './item-index.js';
import { obstaclesAmong, repairOnceUnobstructed, splitPrivileges } from './obstacles.js';
import { privilegeDifferences } from './privilege-differences.js';
import { renamesInTurn, withRenames } from './renames.js';
import { repair } from './repair.js';
import { inRepairOrder } from './repair-order.js';

/** Kinds that do not depend on another item. All other items of a missing or unexpected object are left out. */
const independentKinds: readonly ItemKind[] = [
  'migration',
  'role',
  'schema creation',
  'setting',
  'parameter',
  'default privileges',
  'host index',
  'function',
  'type',
  'table',
  'view',
  'sequence',
];

/**
 * The differences between two lists of items, in the order in which to repair them.
 *
 * @param lostTables where missing tables perhaps are, by their expected names
 */
export function compare(
  installation: Installation,
  expectedItems: readonly Item[],
  foundItems: readonly Item[],
  lostTables: ReadonlyMap<string, string>,
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
  const reported = inRepairOrder(
    withRenames(changes, lostTables).filter((change) => !isReportedForLog(change, changes, installation)),
    expectedItems,
  );
  const isRenamedIndex = ({ kind, foundAs }: Change) => kind === 'index' && foundAs !== undefined;
  const renames = renamesInTurn(
    reported.filter(isRenamedIndex).map(({ name, foundAs = name }) => ({ from: foundAs, to: name })),
  );
  const repairs = reported.map((change) => {
    const sibling = (kind: ItemKind, name: string) =>
      expected.definition({ object: change.object, kind, name }) ?? undefined;
    const steps = isRenamedIndex(change) ? renames.shift() : [];
    return {
      change,
      repair: change.kind === 'privileges' ? byHand('') : repair(change, installation, sibling, steps),
    };
  });
  const obstacles = obstaclesAmong(repairs, installation);
  return repairs.flatMap(({ change, repair: planned }) => {
    if (change.kind !== 'privileges') {
      return differenceOf(change, repairOnceUnobstructed(change, obstacles, installation) ?? planned);
    }
    const { rest, waiting } = splitPrivileges(change, obstacles);
    return [
      ...privilegeDifferences(rest, installation),
      ...(waiting === null
        ? []
        : privilegeDifferences(waiting.change, installation).map((each) => ({ ...each, ...waiting.repair }))),
    ];
  });
}

function differenceOf(change: Change, planned: Repair): Difference {
  const { kind, expected, found, foundAs } = change;
  return {
    kind,
    name: displayName(change),
    expected: describeOrNull(kind, expected),
    found:
      foundAs === undefined
        ? describeOrNull(kind, found)
        : `${kind === 'column' || kind === 'table' ? 'perhaps ' : ''}named ${foundAs}`,
    ...planned,
  };
}

/** The item, within its object, that this one is part of and is repaired with. */
function parentOf(kind: ItemKind, name: string): string | null {
  if (kind === 'comment') return name;
  return kind === 'default' ? `column ${name}` : null;
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
    changes.some(
      (other) =>
        other.object === log &&
        ((other.kind === kind && other.name === name) ||
          // The index of a key belongs to the key.
          (other.kind === 'constraint' && kind === 'index' && `${schema}.${other.name}` === name)),
    )
  );
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
    case 'default privileges':
      return `${name} on future ${object}`;
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
