import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { migrationRefused } from './refusal.js';

/** The root of the package, from `src` as from `dist`; null in a CommonJS bundle, where modules have no URL. */
function packageRoot(): string | null {
  const { url } = import.meta as { url?: string };
  return url?.startsWith('file:') ? fileURLToPath(new URL('../../', url)) : null;
}

/**
 * The absolute path of the folder of `.sql` files, for stock node-pg-migrate's `--migrations-dir`. In a CommonJS
 * bundle, a path that does not exist: mark the package as external.
 */
export const migrationsDirectory: string = join(
  packageRoot() ?? '/mark-this-package-as-external-in-your-bundler',
  'migrations',
);

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
  /** Whether only its line endings differ from the released file: Git on Windows writes CRLF. */
  hasOtherLineEndings: boolean;
}

/** The names of this package's migrations, in ascending order: `0001_prepare_host_tables`. */
export async function migrationNames(): Promise<string[]> {
  return (await readFileNames().catch(() => refuseIncompletePackage())).map((file) => basename(file, '.sql'));
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
  const [checksums, fileNames] = await Promise.all([readReleasedChecksums(), readFileNames()]).catch(() =>
    refuseIncompletePackage(),
  );
  if ([...checksums.keys()].some((path) => !fileNames.includes(basename(path)))) refuseIncompletePackage();
  return Promise.all(
    fileNames.map(async (file) => {
      const path = join(migrationsDirectory, file);
      const content = await readFile(path, 'utf8');
      const releasedChecksum = checksums.get(`migrations/${file}`);
      const isReleased = checksumOf(content) === releasedChecksum;
      const name = basename(file, '.sql');
      return {
        name,
        number: numberOf(name),
        path,
        content,
        release: releasedChecksum === undefined ? 'unreleased' : isReleased ? 'released' : 'edited',
        hasOtherLineEndings: !isReleased && checksumOf(content.replace(/\r\n?/g, '\n')) === releasedChecksum,
      };
    }),
  );
}

function checksumOf(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}

/**
 * The absolute path of a file of this package.
 *
 * @throws CrmSchemaError `migration_refused` in a CommonJS bundle
 */
function packagePath(name: string): string {
  return join(packageRoot() ?? refuseIncompletePackage(), name);
}

/**
 * Reads a JSON file of this package.
 *
 * @throws CrmSchemaError `migration_refused` if it is missing, for example because a bundler included only JavaScript
 */
export function readPackageJson<Document>(name: string): Document {
  try {
    return JSON.parse(readFileSync(packagePath(name), 'utf8'));
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOENT') throw error;
    return refuseIncompletePackage();
  }
}

function refuseIncompletePackage(): never {
  throw migrationRefused(
    'Files of this package are missing: reinstall it, and mark it as external if you use a bundler.',
  );
}

async function readFileNames(): Promise<string[]> {
  return (await readdir(migrationsDirectory)).filter((file) => file.endsWith('.sql')).toSorted();
}

/** The checksum of each released file by its path, from the file that `sha256sum --check` reads. */
async function readReleasedChecksums(): Promise<Map<string, string>> {
  const text = await readFile(packagePath('migrations.sha256'), 'utf8');
  // Git on Windows may have written CRLF, and `sha256sum` writes a star before the name of a file in binary mode.
  const lines = text.trimEnd().split(/\r\n?|\n/);
  return new Map(lines.map((line) => line.split(/ [ *]/).reverse() as [string, string]));
}
