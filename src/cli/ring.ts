import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyRing } from '../credentials/key-ring.js';
import { type KeyRingDocument, keyRingFile, parsed, readKeyRing } from '../credentials/key-ring-document.js';

/** The key ring of the environment: ready for use, and as it is written down. */
export interface Ring {
  keys: KeyRing;
  document: KeyRingDocument;
}

/** @throws CrmSchemaError `invalid_key_ring` */
export async function openRing(): Promise<Ring> {
  const text = await readKeyRing(process.env);
  return { keys: await KeyRing.parse(text), document: parsed(text) as KeyRingDocument };
}

/** @throws Error if it could not be written: a key that nobody has is worth nothing */
export async function printRing(document: KeyRingDocument): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.once('error', reject);
    process.stdout.write(text(document), (error) => (error ? reject(error) : resolve()));
  });
}

/**
 * Changes the key ring of the environment: rewrites the file that it is in, or prints it where the
 * environment itself holds it.
 *
 * @param change takes no time: others wait
 * @returns the ring as it is now
 * @throws CrmSchemaError `invalid_key_ring`, and whatever `change` throws; then nothing is changed
 */
export async function changeRing(change: (ring: Ring) => KeyRingDocument): Promise<KeyRing> {
  // Before anything is done with what may be no path but a key.
  const found = await openRing();
  const file = keyRingFile(process.env);
  if (file === undefined) {
    const document = change(found);
    const keys = await KeyRing.parse(document);
    await printRing(document);
    return keys;
  }
  // Through a link, which stays.
  const path = await realpath(file);
  return locked(path, async () => {
    const document = change(await openRing());
    const keys = await KeyRing.parse(document);
    await replace(path, document);
    return keys;
  });
}

/** A new file that only its owner can read. */
export async function create(path: string, document: KeyRingDocument): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
    throw new Error(
      `${path} exists already, and keys in it may be needed. To add one to it: generate-key --add`,
    );
  });
  try {
    await write(file, document);
  } catch (error) {
    await rm(path);
    throw error;
  } finally {
    await file.close();
  }
}

/** Puts another ring in a file's place in one step, for the same users as before. */
async function replace(path: string, document: KeyRingDocument): Promise<void> {
  const { mode, uid, gid } = await stat(path);
  const name = `${path}.${randomBytes(6).toString('hex')}`;
  const draft = await open(name, 'wx', 0o600);
  try {
    const own = await draft.stat();
    if (uid !== own.uid || gid !== own.gid) await draft.chown(uid, gid).catch(cannotKeepOwner);
    await draft.chmod(mode & 0o777);
    await write(draft, document);
    await rename(name, path);
  } catch (error) {
    await rm(name, { force: true });
    throw error;
  } finally {
    await draft.close();
  }
  const folder = await open(dirname(path), 'r');
  await folder.sync().finally(() => folder.close());
}

function cannotKeepOwner(): never {
  throw new Error('The key ring belongs to another user or group: change it as that user.');
}

/** Of two that change a ring at once, one would lose the other's key. Waits five seconds for its turn. */
async function locked<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
  const lock = `${path}.lock`;
  const holder = `process ${process.pid} on ${hostname()}`;
  for (let attempt = 1; ; attempt += 1) {
    const file = await open(lock, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    if (file !== undefined) {
      await file.writeFile(holder).finally(() => file.close());
      break;
    }
    if (attempt === 50) {
      const other = await readFile(lock, 'utf8').catch(() => 'another process');
      throw new Error(`${other} is changing the ring. If it is not running any more, remove ${lock}`);
    }
    await sleep(100);
  }
  try {
    return await work();
  } finally {
    // Not another's, should somebody have removed ours.
    if ((await readFile(lock, 'utf8').catch(() => '')) === holder) await rm(lock, { force: true });
  }
}

/** On the disk when this returns: after a power cut, half a ring would be none. */
async function write(file: FileHandle, document: KeyRingDocument): Promise<void> {
  await file.writeFile(text(document));
  await file.sync();
}

function text(document: KeyRingDocument): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}
