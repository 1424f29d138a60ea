import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectPath } from './database.js';

/** A folder of this project whose files are generated and committed. */
export interface CommittedFolder {
  /** Within the project: `src/generated`. */
  folder: string;
  /** What there should be in it, by name. */
  fresh: ReadonlyMap<string, string>;
  /** What is counted: `files`. */
  unit: string;
  /** The command that writes them. */
  command: string;
  /** Writes nothing. */
  checkOnly: boolean;
}

/**
 * Brings a folder up to date, and says what that changed; or checks that it is.
 *
 * @throws Error that names the files which are not fresh, if it only checks
 */
export async function keepFresh({ folder, fresh, unit, command, checkOnly }: CommittedFolder): Promise<void> {
  const path = projectPath(folder);
  const committed = new Map<string, string>();
  for (const name of await readdir(path).catch(() => [])) {
    committed.set(name, await readFile(join(path, name), 'utf8'));
  }
  const names = [...new Set([...fresh.keys(), ...committed.keys()])].sort();
  const stale = names.filter((name) => fresh.get(name) !== committed.get(name));

  if (checkOnly) {
    if (stale.length > 0) throw new Error(`Stale in ${folder}: ${stale.join(', ')}. Run: ${command}`);
    console.log(`${folder} is fresh: ${names.length} ${unit}.`);
    return;
  }
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true });
  for (const [name, text] of fresh) await writeFile(join(path, name), text);
  console.log(stale.length > 0 ? `Written to ${folder}: ${stale.join(', ')}.` : `${folder} was fresh.`);
}
