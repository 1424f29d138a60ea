import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CrmSchemaError } from '../errors.js';

/** The root of the package, from `src` as from `dist`. */
const root = fileURLToPath(new URL('../../', import.meta.url));

/** The absolute path of the folder of `.sql` files, for stock node-pg-migrate's `--migrations-dir`. */
export const migrationsDirectory: string = join(root, 'migrations');

/** Whether a file is as it was released; `unreleased`: no release has had it yet. */
export type MigrationRelease = 'released' | 'unreleased' | 'edited';

/** A file of the package. */
export interface MigrationFile {
  /** As it is recorded in the database: `0001_prepare_host_tables`. */
  name: string;
  number: number;
  path: string;
  release: MigrationRelease;
}

/**
 * The migrations of this package, in the order in which they go up.
 *
 * @throws CrmSchemaError `migration_refused` where the package is not whole, as when a bundler has left out what is
 * no JavaScript
 */
export async function readMigrationFiles(): Promise<MigrationFile[]> {
  const [checksums, names] = await Promise.all([releasedChecksums(), fileNames()]).catch(() => incomplete());
  if ([...checksums.keys()].some((path) => !names.includes(basename(path)))) incomplete();
  return Promise.all(
    names.map(async (file) => {
      const path = join(migrationsDirectory, file);
      const checksum = createHash('sha256')
        .update(await readFile(path))
        .digest('hex');
      const released = checksums.get(`migrations/${file}`);
      return {
        name: basename(file, '.sql'),
        number: Number.parseInt(file, 10),
        path,
        release:
          released === undefined ? 'unreleased' : released === checksum ? 'released' : ('edited' as const),
      };
    }),
  );
}

function incomplete(): never {
  throw new CrmSchemaError(
    'migration_refused',
    'Files of this package are missing: install it again, and let a bundler leave it outside.',
  );
}

async function fileNames(): Promise<string[]> {
  return (await readdir(migrationsDirectory)).filter((file) => file.endsWith('.sql')).toSorted();
}

/** By path, from the file that `sha256sum --check` reads. */
async function releasedChecksums(): Promise<Map<string, string>> {
  const lines = (await readFile(join(root, 'migrations.sha256'), 'utf8')).trimEnd().split('\n');
  return new Map(lines.map((line) => line.split('  ').reverse() as [string, string]));
}
