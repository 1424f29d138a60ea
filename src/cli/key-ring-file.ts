import { randomBytes } from 'node:crypto';
import { fsync as fsyncWithCallback } from 'node:fs';
import { type FileHandle, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { KeyRing } from '../credentials/key-ring.js';
import {
  type KeyRingDocument,
  keyRingFile,
  parseKeyRingJson,
  readKeyRing,
} from '../credentials/key-ring-document.js';

// Yarn Plug'n'Play has no `sync` of a FileHandle.
const fsync = promisify(fsyncWithCallback);

/** The key ring of the environment: ready for use, and in its written form. */
export interface OpenedRing {
  keys: KeyRing;
  document: KeyRingDocument;
}

/**
 * Reads the key ring of the environment.
 *
 * @throws CrmSchemaError `invalid_key_ring`
 */
export async function openRing(): Promise<OpenedRing> {
  const text = await readKeyRing(process.env);
  return { keys: await KeyRing.parse(text), document: parseKeyRingJson(text) as KeyRingDocument };
}

/**
 * Prints a key ring to standard output.
 *
 * @throws Error if it could not be written, because a new key that nobody received is lost
 */
export async function printRing(document: KeyRingDocument): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.once('error', reject);
    process.stdout.write(formatRing(document), (error) => (error ? reject(error) : resolve()));
  });
}

/**
 * Changes the key ring of the environment: rewrites its file, or prints the new key ring if the environment
 * holds the key ring itself.
 *
 * @param change must be quick, because other processes wait for it
 * @returns the new key ring
 * @throws CrmSchemaError `invalid_key_ring`, and whatever `change` throws; nothing is changed then
 */
export async function changeRing(change: (ring: OpenedRing) => KeyRingDocument): Promise<KeyRing> {
  // Read it before using it as a path: the value may be a key by mistake.
  const opened = await openRing();
  const file = keyRingFile(process.env);
  if (file === undefined) {
    const document = change(opened);
    const keys = await KeyRing.parse(document);
    await printRing(document);
    return keys;
  }
  // Follows a symbolic link, to keep it.
  const path = await realpath(file);
  return withLockFile(path, async () => {
    const document = change(await openRing());
    const keys = await KeyRing.parse(document);
    await replaceFile(path, document);
    return keys;
  });
}

/** Writes a key ring to a new file that only its owner can read. */
export async function createRingFile(path: string, document: KeyRingDocument): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
    throw new Error(
      `${path} already exists, and its keys may be in use. To add a key to it: generate-key --add`,
    );
  });
  try {
    await writeToDisk(file, document);
  } catch (error) {
    await rm(path);
    throw error;
  } finally {
    await file.close();
  }
}

/** Replaces a key ring's file atomically, keeping its owner and permissions. */
async function replaceFile(path: string, document: KeyRingDocument): Promise<void> {
  const { mode, uid, gid } = await stat(path);
  const draftPath = `${path}.${randomBytes(6).toString('hex')}`;
  const draft = await open(draftPath, 'wx', 0o600);
  try {
    const draftStat = await draft.stat();
    if (uid !== draftStat.uid || gid !== draftStat.gid)
      await draft.chown(uid, gid).catch(rethrowAsForeignOwner);
    await draft.chmod(mode & 0o777);
    await writeToDisk(draft, document);
    await rename(draftPath, path);
  } catch (error) {
    await rm(draftPath, { force: true });
    throw error;
  } finally {
    await draft.close();
  }
  await syncFolder(dirname(path));
}

/** Keeps the new name of a file through a power cut, where that is possible: Windows cannot sync a folder. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await fsync(folder.fd);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!['EPERM', 'EINVAL', 'ENOTSUP'].includes(code)) throw error;
  } finally {
    await folder.close();
  }
}

function rethrowAsForeignOwner(): never {
  throw new Error('The key ring file belongs to another user or group: change it as that user.');
}

/** Prevents two concurrent changes from losing one of the keys. Waits up to five seconds for its turn. */
async function withLockFile<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
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
      const currentHolder = await readFile(lock, 'utf8').catch(() => 'another process');
      throw new Error(
        `${currentHolder} is changing the key ring. If it is no longer running, remove ${lock}`,
      );
    }
    await sleep(100);
  }
  try {
    return await work();
  } finally {
    // Only if the lock file is still ours: someone may have removed it.
    if ((await readFile(lock, 'utf8').catch(() => '')) === holder) await rm(lock, { force: true });
  }
}

/** Writes to disk before it returns: after a power cut, half a key ring would be useless. */
async function writeToDisk(file: FileHandle, document: KeyRingDocument): Promise<void> {
  await file.writeFile(formatRing(document));
  await fsync(file.fd);
}

function formatRing(document: KeyRingDocument): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}
