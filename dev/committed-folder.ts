import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectPath } from './database.js';

/** A folder of generated files that are committed. */
export interface CommittedFolder {
  /** Its path in this project: `src/generated`. */
  folder: string;
  /** The expected text of each file, by name. */
  fresh: ReadonlyMap<string, string>;
  /** What to call the files when counting them: `files`, `pages`. */
  unit: string;
  /** The command that writes the files. */
  command: string;
  /** Only checks, and writes nothing. */
  checkOnly: boolean;
}

/**
 * Brings a folder up to date and prints what changed; or checks that it is up to date.
 *
 * @throws Error that names the stale files, if it only checks
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

/**
 * Brings a generated file that is committed up to date and prints whether it changed; or checks that it is up to date.
 *
 * @throws Error if it is stale, if it only checks
 */
export async function keepFileFresh({
  path,
  fresh,
  command,
  checkOnly,
}: Pick<CommittedFolder, 'command' | 'checkOnly'> & {
  /** Its path in this project. */
  path: string;
  /** The expected text. */
  fresh: string;
}): Promise<void> {
  const committed = await readFile(projectPath(path), 'utf8').catch(() => undefined);
  if (committed === fresh) return console.log(`${path} ${checkOnly ? 'is' : 'was'} fresh.`);
  if (checkOnly) throw new Error(`Stale: ${path}. Run: ${command}`);
  await writeFile(projectPath(path), fresh);
  console.log(`Written: ${path}.`);
}
