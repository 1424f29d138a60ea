import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Where a program of the system is: in a folder of PATH, or where Debian puts what PATH may leave out.
 *
 * @param otherFolders are searched first
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
 * Whether tests that need a program that is not there are skipped, which is said once.
 *
 * @param required names the environment variable that makes its absence an error instead
 */
export function isMissing(what: string, path: string | undefined, required: string): boolean {
  if (path !== undefined) return false;
  if (process.env[required]) throw new Error(`${required} is set, and there is no ${what}.`);
  console.log(`Skipped, because there is no ${what}; ${required}=1 would make that an error.`);
  return true;
}
