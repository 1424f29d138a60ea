import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises';
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

export function printRing(document: KeyRingDocument): void {
  console.log(JSON.stringify(document, null, 2));
}

/**
 * Changes the key ring of the environment: rewrites the file that it is in, or prints it where the
 * environment itself holds it.
 *
 * @returns the ring as it is now
 * @throws CrmSchemaError `invalid_key_ring`, and whatever `change` throws; then nothing is changed
 */
export async function changeRing(
  change: (ring: Ring) => KeyRingDocument | Promise<KeyRingDocument>,
): Promise<KeyRing> {
  const file = keyRingFile(process.env);
  if (file === undefined) {
    const document = await change(await openRing());
    printRing(document);
    return KeyRing.parse(document);
  }
  // Through a link, which stays.
  const path = await realpath(file).catch(() => file);
  return withDraft(path, async (draft) => {
    const document = await change(await openRing());
    const keys = await KeyRing.parse(document);
    const { mode, uid, gid } = await stat(path);
    const { uid: ownUid, gid: ownGid } = await draft.stat();
    if (uid !== ownUid || gid !== ownGid) await draft.chown(uid, gid);
    await draft.chmod(mode & 0o777);
    await write(draft, document);
    await rename(`${path}.new`, path);
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

/**
 * Opens the file that will take another's place, which is also the lock: of two that change a ring at
 * once, one would lose the other's key.
 */
async function withDraft<Result>(
  path: string,
  work: (draft: FileHandle) => Promise<Result>,
): Promise<Result> {
  const name = `${path}.new`;
  const draft = await open(name, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
    throw new Error(
      `${name} exists: somebody is changing the ring. If nobody is, remove that file and try again.`,
    );
  });
  try {
    return await work(draft);
  } catch (error) {
    await rm(name, { force: true });
    throw error;
  } finally {
    await draft.close();
  }
}

/** On the disk when this returns: after a power cut, half a ring would be none. */
async function write(file: FileHandle, document: KeyRingDocument): Promise<void> {
  await file.writeFile(`${JSON.stringify(document, null, 2)}\n`);
  await file.sync();
}
