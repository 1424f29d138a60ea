import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CrmSchemaError } from '../errors.js';

/** The root of the package, from `src` as from `dist`. */
const root = fileURLToPath(new URL('../../', import.meta.url));

/** The absolute path of the folder of `.sql` files, for stock node-pg-migrate's `--migrations-dir`. */
export const migrationsDirectory: string = join(root, 'migrations');

/** Whether a file is as it was released; `unreleased`: it is not part of any release yet. */
export type MigrationRelease = 'released' | 'unreleased' | 'edited';

/** A migration file of this package. */
export interface MigrationFile {
  /** The name recorded in the database: `0001_prepare_host_tables`. */
  name: string;
  number: number;
  path: string;
  content: string;
  release: MigrationRelease;
}

/** The names of this package's migrations, in ascending order: `0001_prepare_host_tables`. */
export async function migrationNames(): Promise<string[]> {
  return (await fileNames().catch(() => incomplete())).map((file) => basename(file, '.sql'));
}

/** The number of a migration: 1 for `0001_prepare_host_tables`. */
export function numberOf(name: string): number {
  return Number.parseInt(name, 10);
}

/**
 * Reads this package's migrations, in ascending order.
 *
 * @throws CrmSchemaError `migration_refused` if files of the package are missing, for example because a bundler
 * included only JavaScript
 */
export async function readMigrationFiles(): Promise<MigrationFile[]> {
  const [checksums, files] = await Promise.all([releasedChecksums(), fileNames()]).catch(() => incomplete());
  if ([...checksums.keys()].some((path) => !files.includes(basename(path)))) incomplete();
  return Promise.all(
    files.map(async (file) => {
      const path = join(migrationsDirectory, file);
      const content = await readFile(path);
      const checksum = createHash('sha256').update(content).digest('hex');
      const released = checksums.get(`migrations/${file}`);
      const name = basename(file, '.sql');
      return {
        name,
        number: numberOf(name),
        path,
        content: content.toString('utf8'),
        release: released === undefined ? 'unreleased' : released === checksum ? 'released' : 'edited',
      };
    }),
  );
}

function incomplete(): never {
  throw new CrmSchemaError(
    'migration_refused',
    'Files of this package are missing: reinstall it, and mark it as external if you use a bundler.',
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
