/**
 * Holds a database against what this version of the package expects of it.
 *
 * @packageDocumentation
 */
import { CrmSchemaError } from '../errors.js';
import { isOfThisPackage } from '../migrations/status.js';
import { readAttached, readMonths } from '../partitions/attached.js';
import { dropMarker } from '../partitions/drop-marker.js';
import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import { quoted } from '../statements/quoting.js';
import { refuse } from '../validation.js';
import { findInstallation, readItems } from './catalog.js';
import { compare } from './compare.js';
import { type Difference, nameOf } from './difference.js';
import { expectedItems } from './expected.js';
import type { Installation, Item } from './items.js';
import { rangeDifferences } from './partition-differences.js';

export type { Difference, DifferenceKind } from './difference.js';

/** What was found, and where. */
export interface Verification {
  /** Quoted, where it has to be in SQL. */
  schema: string;
  /** Whom most of the tables belong to. */
  owner: string;
  /** In the order in which it is best mended; empty if all is as it should be. */
  differences: Difference[];
}

/** What is meant to be as it is. */
export interface VerifyOptions {
  /** Roles of the host that were given privileges here on purpose, such as one that replicates; none by default. */
  knownRoles?: readonly string[] | undefined;
}

/**
 * Compares what the catalog has with what the migrations of this version make: tables, columns, defaults,
 * constraints, indexes and whether they are valid, triggers and whether they are enabled, row-level security
 * and policies, functions, owners, privileges and comments; that the log has no gap and a partition of its own
 * for this month and the next, each with all that belongs to it; that none of the three roles can do what
 * policies keep it from, and nobody whom they hold can create in the schema; that no setting of the database or of a role stops
 * its clock or its triggers, or sets an organisation; that what is cut by age has a period; and the index on
 * contacts. Whatever else is the host's is none of its business, unless it is called
 * `crm_…` or is on a table of this schema.
 *
 * Any user may ask, and nothing is written. All is read in one transaction of its own, which locks nothing and
 * waits five seconds for a lock; where something differs it is read again until it is the same twice (five times at
 * most), for the catalog may have changed while it was read.
 *
 * @param client finds the installation by its search_path, and has no transaction open
 * @throws CrmSchemaError `schema_not_found`; `invalid_input` for a pool, and where a transaction is open
 */
export async function verify(
  client: DedicatedConnection,
  options: VerifyOptions = {},
): Promise<Verification> {
  await checkDedicatedConnection(client);
  const { knownRoles = [] } = options;
  if (!Array.isArray(knownRoles)) refuse({ field: 'knownRoles' }, 'has to be an array of names');
  let found = await read(client, options);
  for (let look = 2; look <= 5 && found.differences.length > 0; look += 1) {
    const before = JSON.stringify(found);
    found = await read(client, options);
    if (JSON.stringify(found) === before) break;
  }
  return found;
}

/** Reads it all once; anew where something that was to be read has just gone. */
async function read(client: DedicatedConnection, options: VerifyOptions): Promise<Verification> {
  for (let attempt = 1; ; attempt += 1) {
    await client.query('begin isolation level repeatable read read only');
    try {
      return await verification(client, options);
    } catch (error) {
      // `cache lookup failed for relation …`
      if ((error as { code?: string }).code !== 'XX000' || attempt === 5) throw error;
    } finally {
      await client.query('rollback').catch(() => {});
    }
  }
}

/** What `verify` finds at one look, in the client's own transaction, whose settings it changes. */
export async function verification(
  client: DedicatedConnection,
  { knownRoles = [] }: VerifyOptions = {},
): Promise<Verification> {
  const place = await findInstallation(client);
  if (place === null) {
    throw new CrmSchemaError(
      'schema_not_found',
      'The schema is not there: run the migrations first, or name its schema in PGOPTIONS="-c search_path=…".',
    );
  }
  return {
    schema: place.schema,
    owner: place.owner,
    differences: await differencesAt(client, place, knownRoles),
  };
}

async function differencesAt(
  client: DedicatedConnection,
  place: Installation,
  knownRoles: readonly string[],
): Promise<Difference[]> {
  const all = await readItems(client, place);
  const partitions = all.filter(isPartition).map(({ name }) => name);
  const [expected, found] = comparableMigrations(expectedItems(place, partitions), all);
  const detached = detachedTables(found, place.schema);
  const ranges =
    place.logId === null
      ? []
      : rangeDifferences(
          await readAttached(client, place.logId),
          await readMonths(client),
          place,
          new Set(detached.keys()),
        );
  const attachedAgain = new Set(ranges.map(({ name }) => name));
  const isOnItsWay = ({ object }: Item) =>
    detached.get(nameOf(object)) === 'to be dropped' ||
    (detached.has(nameOf(object)) && attachedAgain.has(nameOf(object)));
  const differences = compare(
    place,
    expected,
    found.filter((item) => !isOnItsWay(item) && !isMeant(item, knownRoles)),
  );
  // All else follows from another version; what would mend it would be in the way of the migrations.
  const migrations = differences.filter(({ kind }) => kind === 'migration');
  return migrations.length > 0 ? migrations : [...differences, ...ranges];
}

/** Which migrations were applied cannot be told by who may not look; and some may be the host's. */
function comparableMigrations(expected: readonly Item[], found: readonly Item[]): [Item[], Item[]] {
  const ours = expected.filter(isMigration).map(({ name }) => name);
  const isCounted = found.some((item) => isMigration(item) && ours.includes(item.name));
  const isOurs = ({ name }: Item) =>
    ours.includes(name) || (isOfThisPackage(name) && ours.every((other) => other < name));
  return [
    expected.filter((item) => !isMigration(item) || isCounted),
    found.filter((item) => !isMigration(item) || (isCounted && isOurs(item))),
  ];
}

function isMigration({ kind }: Item): boolean {
  return kind === 'migration';
}

/** Of the three roles and of everybody, nothing else is meant than what is expected. */
function isMeant({ kind, name }: Item, knownRoles: readonly string[]): boolean {
  return (
    kind === 'privileges' &&
    !['public', 'the owner', 'crm_app', 'crm_worker', 'crm_reader'].includes(name) &&
    knownRoles.some((role) => name === role || name === quoted(role))
  );
}

function isPartition({ kind, definition }: Item): boolean {
  return kind === 'table' && String(definition).endsWith(', a partition');
}

/** The owner's tables that look like partitions of the log and are none, and whether they are on their way out. */
function detachedTables(found: readonly Item[], schema: string): Map<string, 'to be dropped' | 'forgotten'> {
  const of = (object: string, kind: Item['kind']) =>
    found.find((item) => item.kind === kind && item.object === object && item.name === object)?.definition;
  const tables = found.filter(
    ({ object, kind, name, definition }) =>
      kind === 'table' &&
      definition === 'table' &&
      name.startsWith(`${schema}.`) &&
      /\.crm_sync_log_(catch_all|\d{4}_\d\d|before_\d{4}_\d\d(_\d+)?)$/.test(name) &&
      of(object, 'owner') === 'the owner of the tables',
  );
  return new Map(
    tables.map(({ object, name }) => {
      const isLeaving = String(of(object, 'comment') ?? '').endsWith(dropMarker);
      return [name, isLeaving ? 'to be dropped' : 'forgotten'];
    }),
  );
}
