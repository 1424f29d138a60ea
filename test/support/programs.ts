import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Finds a program in PATH, or in the folder of Debian that PATH may not contain.
 *
 * @param otherFolders searched first
 * @returns its path; undefined if it is not installed
 */
export function findProgram(name: string, otherFolders: readonly string[] = []): string | undefined {
  const folders = [...otherFolders, ...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/**
 * Whether a program is missing, and the tests that need it are skipped. Prints that once.
 *
 * @param required the environment variable that makes its absence an error instead
 */
export function isMissing(what: string, path: string | undefined, required: string): boolean {
  if (path !== undefined) return false;
  if (process.env[required]) throw new Error(`${required} is set, but ${what} is not installed.`);
  console.log(`Skipped: ${what} is not installed. Set ${required}=1 to make that an error.`);
  return true;
}
