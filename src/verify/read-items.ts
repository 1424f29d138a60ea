import { readCatalog } from '../catalog/read.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { functionItems } from './function-items.js';
import type { Installation } from './installation.js';
import { define, type Item } from './item.js';
import { ownerItems, privilegeItems } from './ownership-items.js';
import { relationItems } from './relation-items.js';
import { type AppliedMigrations, readAppliedMigrations, readRetentionPeriods } from './row-items.js';
import { scopeOf } from './scope.js';
import { readServerItems } from './server-items.js';

/** Reads all items of an installation, after `findInstallation` and in its transaction. */
export async function readItems(client: DedicatedConnection, installation: Installation): Promise<Item[]> {
  return readItemsWith(client, installation, await readAppliedMigrations(client, installation));
}

/**
 * Reads the same, when the migrations tables have been read already.
 *
 * @param applied the installation's migrations tables
 */
export async function readItemsWith(
  client: DedicatedConnection,
  installation: Installation,
  applied: readonly AppliedMigrations[],
): Promise<Item[]> {
  const catalog = await readCatalog(
    client,
    ...scopeOf(
      installation,
      applied.map(({ oid }) => oid),
    ),
  );
  const migrations = new Set(applied.flatMap(({ names }) => names));
  return [
    ...relationItems(catalog, `${installation.schema}.crm_sync_log`),
    ...functionItems(catalog),
    ...ownerItems(catalog, installation.owner),
    ...privilegeItems(catalog),
    ...(await readServerItems(client, installation)),
    ...(await readRetentionPeriods(client, installation)),
    ...[...migrations].map(migrationItem),
  ];
}

export function migrationItem(name: string): Item {
  return { object: `migration ${name}`, kind: 'migration', name, definition: define('applied') };
}
