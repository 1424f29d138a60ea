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
import { findLostTables } from './lost-tables.js';
import { migrationsTableDifferences } from './migrations-table-differences.js';
import { monthDifferences } from './month-differences.js';
import { rangeDifferences } from './partition-differences.js';
import { partitionNameDifferences } from './partition-name-differences.js';
import { readItemsWith } from './read-items.js';
import { type AppliedMigrations, readAppliedMigrations } from './row-items.js';
import { sequenceDifferences } from './sequence-differences.js';

/** What of the host is intended: see `VerifyOptions`. */
interface KnownNames {
  knownRoles: readonly string[];
  knownObjects: readonly string[];
  knownIndexes: readonly string[];
}

/** The differences of an installation, in the order in which to repair them. */
export async function findDifferences(
  client: DedicatedConnection,
  installation: Installation,
  { knownRoles, knownObjects, knownIndexes }: KnownNames,
): Promise<Difference[]> {
  const applied = await readAppliedMigrations(client, installation);
  const hidden = applied.filter(({ isHidden }) => isHidden);
  // Of another version or not: what to repair depends on it.
  if (hidden.length > 0) return hidden.map(hiddenMigrationsDifference);
  const items = await readItemsWith(client, installation, applied);
  const partitions = items.filter(isPartition).map(({ name }) => name);
  const shipped = expectedItems(installation, partitions);
  const [expected, found] = comparableMigrations(shipped, items);
  const detached = detachedPartitions(found, installation.schema);
  const { logId } = installation;
  const attached = logId === null ? [] : await readAttached(client, logId);
  const names = partitionNameDifferences(attached, tablesOf(found), installation);
  const ranges =
    logId === null
      ? []
      : rangeDifferences(attached, await readMonths(client), installation, new Set(detached.keys()));
  const toAttach = new Set(ranges.map(({ name }) => name));
  // These are reported with the ranges, or are waiting to be dropped.
  const isInTransit = ({ object }: Item) =>
    detached.get(nameOf(object)) === 'to be dropped' ||
    (detached.has(nameOf(object)) && toAttach.has(nameOf(object)));
  const namesOf = (kind: ItemKind) => expected.filter((item) => item.kind === kind).map(({ name }) => name);
  const own = {
    tables: namesOf('table'),
    views: namesOf('view'),
    functions: namesOf('function'),
    indexes: namesOf('index'),
  };
  const lostTables = await findLostTables(client, expected, found, installation);
  const differences = compare(
    installation,
    expected,
    found.filter(
      (item) =>
        !isInTransit(item) &&
        !isOfKnownRole(item, knownRoles) &&
        !isOfKnownIndex(item, knownIndexes, own.indexes),
    ),
    lostTables,
  );
  // All other differences follow from the other version, and repairing them would interfere with the migrations.
  const migrations = differences.filter(({ kind }) => kind === 'migration');
  if (migrations.length > 0) return migrations;
  const log = `table ${installation.schema}.crm_sync_log`;
  const expectedOfLog = (kind: ItemKind, name: string) =>
    expected.find((item) => item.object === log && item.kind === kind && item.name === name)?.definition
      .sql ?? null;
  const present = tablesOf(found);
  const unknownTables = new Set([
    ...own.tables.filter((table) => !present.has(table)),
    ...differences.flatMap(({ kind, name }) =>
      kind === 'column' ? [name.slice(0, name.lastIndexOf('.'))] : [],
    ),
  ]);
  return [
    ...(await migrationsTableDifferences(
      client,
      installation,
      applied,
      shipped.filter(isMigration).map(({ name }) => name),
    )),
    ...differences,
    ...(logId === null ? [] : await monthDifferences(client, logId, expectedOfLog)),
    ...names,
    ...ranges,
    ...(await sequenceDifferences(client, installation.schema, unknownTables)),
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
    (kind === 'privileges' || kind === 'default privileges') &&
    !['public', 'the owner', 'crm_app', 'crm_worker', 'crm_reader'].includes(name) &&
    knownRoles.some((role) => name === role || name === quoteIdentifier(role))
  );
}

/** Whether an item is an index of the host that is known, its comment, or its part in a partition of the log. */
function isOfKnownIndex(
  { kind, name }: Item,
  knownIndexes: readonly string[],
  own: readonly string[],
): boolean {
  const index =
    kind === 'index' ? name : kind === 'comment' && name.startsWith('index ') ? name.slice(6) : null;
  return index !== null && knownIndexes.includes(index) && !own.includes(index);
}

/** The qualified names of tables and other relations. */
function tablesOf(items: readonly Item[]): Set<string> {
  const kinds: readonly ItemKind[] = ['table', 'view', 'sequence'];
  return new Set(items.filter(({ kind }) => kinds.includes(kind)).map(({ name }) => name));
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
