import { randomBytes } from 'node:crypto';
import { type Command, Option } from 'commander';
import { credentialsCountByKey } from '../credentials/keys-in-use.js';
import {
  generateKey,
  type KeyAlgorithm,
  keyAlgorithms,
  publicHalf,
  type RingKey,
} from '../credentials/wrapping-keys.js';
import { CrmSchemaError } from '../errors.js';
import { withUnrestrictedConnection } from './database.js';
import { changeRing, createRingFile, type OpenedRing, openRing, printRing } from './key-ring-file.js';
import { formatQuantity } from './numbers.js';
import { printMessage } from './text.js';

interface GenerateOptions {
  alg: KeyAlgorithm;
  kid?: string;
  add?: boolean;
  out?: string;
}

/** Adds the commands that create and change key rings. */
export function addKeyCommands(command: Command): void {
  command
    .command('generate-key')
    .description('Creates a key ring with one new key. With --add, adds a new key to the existing key ring.')
    .addOption(
      new Option('--alg <algorithm>', 'how the key encrypts: symmetric, or with a public half')
        .choices(keyAlgorithms)
        .default('A256KW'),
    )
    .option('--kid <id>', "the key's id; defaults to one with today's date")
    .option('--add', 'add the key to the ring in CRM_SCHEMA_KEYS; it encrypts nothing until use-key')
    .addOption(
      new Option(
        '--out <file>',
        'write the new ring to a file that only you can read, instead of printing it',
      ).conflicts('add'),
    )
    .action(generate);
  command
    .command('use-key')
    .description('Makes a key current: it encrypts from now on.')
    .argument('<id>', "the key's id")
    .action(useKey);
  command
    .command('drop-key')
    .description('Removes a key from the key ring. Refuses while connections need it, and says how many.')
    .argument('<id>', "the key's id")
    .option('--even-if-needed', 'drop it anyway: what it protects can no longer be decrypted')
    .action(dropKey);
  command
    .command('public-ring')
    .description(
      'Prints a key ring for services that encrypt but cannot decrypt: the public half of the current key.',
    )
    .action(printPublicRing);
}

async function generate({ alg, kid, add, out }: GenerateOptions): Promise<void> {
  const today = new Date().toISOString().slice(0, 10);
  const key = await generateKey(alg, kid ?? `key-${today}-${randomBytes(2).toString('hex')}`);
  await (add ? addToRing(key) : createRing(key, out));
}

async function addToRing(key: RingKey): Promise<void> {
  const { current } = await changeRing((ring) => {
    if (hasKey(ring, key.kid))
      throw invalidKeyRing(`The key ring already has a key ${key.kid}: choose another --kid.`);
    return { ...ring.document, current: ring.keys.current, keys: [...ring.document.keys, key] };
  });
  printMessage(
    `Added ${key.kid}. To make it current instead of ${current}: crm-schema credentials use-key ${key.kid}`,
  );
}

/** Prints a key ring with this key alone, or writes it to a file. */
async function createRing(key: RingKey, path: string | undefined): Promise<void> {
  const document = { current: key.kid, keys: [key] };
  if (path === undefined) return printRing(document);
  await createRingFile(path, document);
  printMessage(`Created ${path} with key ${key.kid}.`);
}

async function useKey(id: string): Promise<void> {
  await changeRing((ring) => {
    if (!hasKey(ring, id)) throw unknownKey(ring);
    return { ...ring.document, current: id };
  });
  printMessage(
    `${id} is now current. To re-encrypt credentials under other keys: crm-schema credentials rotate`,
  );
}

async function dropKey(id: string, { evenIfNeeded }: { evenIfNeeded?: boolean }): Promise<void> {
  const { keys } = await openRing();
  const usages = await withUnrestrictedConnection((client) => credentialsCountByKey(client, keys));
  const needed = usages.find((usage) => usage.keyId === id)?.connections ?? 0;
  await changeRing((ring) => {
    if (!hasKey(ring, id)) throw unknownKey(ring);
    if (id === ring.keys.current)
      throw invalidKeyRing(`${id} is the current key: make another key current first.`);
    if (needed > 0 && !evenIfNeeded) {
      throw new CrmSchemaError(
        'key_still_needed',
        `${id} was not dropped: ${formatQuantity(needed, 'connection')} still under it. Rotate first.`,
      );
    }
    const others = ring.document.keys.filter(({ kid }) => kid !== id);
    return { ...ring.document, current: ring.keys.current, keys: others };
  });
  printMessage(
    `Dropped ${id}, with ${formatQuantity(needed, 'connection')} under it. Backups may still need it.`,
  );
}

async function printPublicRing(): Promise<void> {
  const { keys, document } = await openRing();
  const key = document.keys.find(({ kid }) => kid === keys.current);
  const publicKey = key && publicHalf(key);
  if (publicKey === undefined) {
    throw invalidKeyRing(
      `The current key ${keys.current} is symmetric: anyone who encrypts with it can also decrypt. Create a key with --alg ECDH-ES+A256KW.`,
    );
  }
  await printRing({ current: keys.current, keys: [publicKey] });
}

function hasKey({ document }: OpenedRing, id: string): boolean {
  return document.keys.some(({ kid }) => kid === id);
}

/** Does not repeat the argument: it may be a key instead of its id. */
function unknownKey({ document }: OpenedRing): CrmSchemaError {
  return invalidKeyRing(
    `The key ring has no such key. Its keys are ${document.keys.map(({ kid }) => kid).join(', ')}.`,
  );
}

function invalidKeyRing(message: string): CrmSchemaError {
  return new CrmSchemaError('invalid_key_ring', message);
}
