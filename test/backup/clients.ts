import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findProgram } from '../support/programs.js';

/** Where Debian installs the programs of each major version. */
const debian = '/usr/lib/postgresql';

/**
 * Finds the folder with the pg_dump, pg_restore and psql for a server: those of its own version, else those
 * of the next newer one. Older ones refuse the server.
 *
 * @returns undefined if there are none
 */
export function findClients(serverMajorVersion: number): string | undefined {
  const built = process.env.TEST_POSTGRES_FOLDER ?? '';
  const folders = [
    ...(built === '' ? [] : [join(built, 'bin')]),
    ...debianFolders(),
    dirname(findProgram('pg_dump') ?? ''),
  ];
  return folders
    .map((folder) => ({ folder, version: majorVersion(folder) }))
    .filter(({ version }) => version >= serverMajorVersion)
    .sort((one, other) => one.version - other.version)[0]?.folder;
}

function debianFolders(): string[] {
  try {
    return readdirSync(debian).map((version) => join(debian, version, 'bin'));
  } catch {
    return [];
  }
}

/** The version of a folder's programs; 0 if one is missing. */
function majorVersion(folder: string): number {
  try {
    const [version] = ['pg_dump', 'pg_restore', 'psql'].map((program) =>
      /\) (\d+)/.exec(execFileSync(join(folder, program), ['--version'], { encoding: 'utf8' })),
    );
    return Number(version?.[1] ?? 0);
  } catch {
    return 0;
  }
}
