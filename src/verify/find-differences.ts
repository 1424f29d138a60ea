import { isOfThisPackage } from '../migrations/status.js';
import { readAttached, readMonths } from '../partitions/attached.js';
import { dropMarker } from '../partitions/drop-marker.js';
import { isPartitionName } from '../partitions/names.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { quoteIdentifier } from '../statements/quoting.js';
import { compare } from './compare.js';
import { bySqlIf, type Difference, nameOf } from './difference.js';
import { expectedItems } from './expected-items.js';
import type { Installation } from './installation.js';
import type { Item, ItemKind } from './item.js';
import { leakDifferences } from './leak-differences.js';
import { rangeDifferences } from './partition-differences.js';
import { readItems } from './read-items.js';
import { type AppliedMigrations, readAppliedMigrations } from './row-items.js';
import { sequenceDifferences } from './sequence-differences.js';

/** What of the host is intended: see `VerifyOptions`. */
interface KnownNames {
  knownRoles: readonly string[];
  knownObjects: readonly string[];
}

/** The differences of an installation, in the order in which to repair them. */
export async function findDifferences(
  client: DedicatedConnection,
  installation: Installation,
  { knownRoles, knownObjects }: KnownNames,
): Promise<Difference[]> {
  const hidden = (await readAppliedMigrations(client, installation)).filter(({ isHidden }) => isHidden);
  // Of another version or not: what to repair depends on it.
  if (hidden.length > 0) return hidden.map(hiddenMigrationsDifference);
  const items = await readItems(client, installation);
  const partitions = items.filter(isPartition).map(({ name }) => name);
  const [expected, found] = comparableMigrations(expectedItems(installation, partitions), items);
  const detached = detachedPartitions(found, installation.schema);
  const ranges =
    installation.logId === null
      ? []
      : rangeDifferences(
          await readAttached(client, installation.logId),
          await readMonths(client),
          installation,
          new Set(detached.keys()),
        );
  const toAttach = new Set(ranges.map(({ name }) => name));
  // These are reported with the ranges, or are waiting to be dropped.
  const isInTransit = ({ object }: Item) =>
    detached.get(nameOf(object)) === 'to be dropped' ||
    (detached.has(nameOf(object)) && toAttach.has(nameOf(object)));
  const differences = compare(
    installation,
    expected,
    found.filter((item) => !isInTransit(item) && !isOfKnownRole(item, knownRoles)),
  );
  // All other differences follow from the other version, and repairing them would interfere with the migrations.
  const migrations = differences.filter(({ kind }) => kind === 'migration');
  if (migrations.length > 0) return migrations;
  const namesOf = (kind: ItemKind) => expected.filter((item) => item.kind === kind).map(({ name }) => name);
  const own = { tables: namesOf('table'), views: namesOf('view'), functions: namesOf('function') };
  return [
    ...differences,
    ...ranges,
    // Of tables that differ, nothing can be said.
    ...(differences.some(({ kind }) => kind === 'table' || kind === 'column')
      ? []
      : await sequenceDifferences(client, installation.schema)),
    ...(await leakDifferences(client, own, knownObjects)),
  ];
}

function hiddenMigrationsDifference({ table }: AppliedMigrations): Difference {
  return {
    kind: 'table',
    name: table,
    expected: 'the applied migrations',
    found: 'rows that row-level security hides from this user, so the schema may be of any version',
    ...bySqlIf('As the owner, then run verify again:', `alter table ${table} disable row level security`),
  };
}

/**
 * Leaves the migrations out if the user cannot see which were applied, and those of the host in the same
 * table.
 *
 * @returns expected and found
 */
function comparableMigrations(expected: readonly Item[], found: readonly Item[]): [Item[], Item[]] {
  const ours = expected.filter(isMigration).map(({ name }) => name);
  const isReadable = found.some((item) => isMigration(item) && ours.includes(item.name));
  const isOurs = ({ name }: Item) =>
    ours.includes(name) || (isOfThisPackage(name) && ours.every((other) => other < name));
  return [
    expected.filter((item) => !isMigration(item) || isReadable),
    found.filter((item) => !isMigration(item) || (isReadable && isOurs(item))),
  ];
}

function isMigration({ kind }: Item): boolean {
  return kind === 'migration';
}

/** Whether an item is a known role's privileges. The three roles and public cannot be known roles. */
function isOfKnownRole({ kind, name }: Item, knownRoles: readonly string[]): boolean {
  return (
    kind === 'privileges' &&
    !['public', 'the owner', 'crm_app', 'crm_worker', 'crm_reader'].includes(name) &&
    knownRoles.some((role) => name === role || name === quoteIdentifier(role))
  );
}

function isPartition({ kind, definition }: Item): boolean {
  return kind === 'table' && definition.state?.isPartition === true;
}

/** The owner's tables that are named like partitions of the log and are not attached to it. */
function detachedPartitions(
  found: readonly Item[],
  schema: string,
): Map<string, 'to be dropped' | 'to be attached'> {
  const sqlOf = (object: string, kind: ItemKind) =>
    found.find((item) => item.kind === kind && item.object === object && item.name === object)?.definition
      .sql;
  const tables = found.filter(
    ({ object, kind, name, definition }) =>
      kind === 'table' &&
      definition.sql === 'table' &&
      definition.state === undefined &&
      name.startsWith(`${schema}.`) &&
      isPartitionName(name.slice(`${schema}.`.length)) &&
      sqlOf(object, 'owner') === 'the owner of the tables',
  );
  return new Map(
    tables.map(({ object, name }) => [
      name,
      sqlOf(object, 'comment')?.endsWith(dropMarker) ? 'to be dropped' : 'to be attached',
    ]),
  );
}
