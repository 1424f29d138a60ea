import { randomBytes } from 'node:crypto';
import { type Command, Option } from 'commander';
import { credentialsCountByKey } from '../credentials/key-usage.js';
import { generateKey, type KeyAlgorithm, keyAlgorithms, publicHalf } from '../credentials/keys.js';
import { CrmSchemaError } from '../errors.js';
import { withDatabase } from './database.js';
import { connections } from './progress.js';
import { changeRing, create, openRing, printRing, type Ring } from './ring.js';
import { say } from './text.js';

interface GenerateOptions {
  alg: KeyAlgorithm;
  kid?: string;
  add?: boolean;
  out?: string;
}

/** The commands that make key rings and change them. */
export function addKeyCommands(command: Command): void {
  command
    .command('generate-key')
    .description('Makes a key ring with one new key; with --add, adds a new key to the ring there is.')
    .addOption(
      new Option('--alg <algorithm>', 'symmetric, or with a public half')
        .choices(keyAlgorithms)
        .default('A256KW'),
    )
    .option('--kid <id>', "the id of the key; one with today's date if not given")
    .option('--add', 'add it to the ring in CRM_SCHEMA_KEYS, where it encrypts nothing before use-key')
    .addOption(
      new Option(
        '--out <file>',
        'write the new ring to a file that only you can read, in place of printing it',
      ).conflicts('add'),
    )
    .action(generate);
  command
    .command('use-key')
    .description('Makes a key of the ring the current one, which encrypts from now on.')
    .argument('<id>', 'the id of the key')
    .action(useKey);
  command
    .command('drop-key')
    .description('Takes a key out of the ring. Refuses while connections need it, and says how many.')
    .argument('<id>', 'the id of the key')
    .option('--even-if-needed', 'drop it all the same: what it protects cannot be read any more')
    .action(dropKey);
  command
    .command('public-ring')
    .description(
      'Prints the ring for services that encrypt and cannot decrypt: the public half of the current key.',
    )
    .action(printPublicRing);
}

async function generate({ alg, kid, add, out }: GenerateOptions): Promise<void> {
  const today = new Date().toISOString().slice(0, 10);
  const key = await generateKey(alg, kid ?? `key-${today}-${randomBytes(2).toString('hex')}`);
  if (add) {
    const { current } = await changeRing((ring) => {
      if (has(ring, key.kid))
        throw ringError(`The key ring has a key ${key.kid} already: choose another --kid.`);
      return { ...ring.document, current: ring.keys.current, keys: [...ring.document.keys, key] };
    });
    say(`Added ${key.kid}. ${current} stays current until: use-key ${key.kid}`);
    return;
  }
  const document = { current: key.kid, keys: [key] };
  if (out === undefined) await printRing(document);
  else {
    await create(out, document);
    say(`Made ${out} with the key ${key.kid}.`);
  }
}

async function useKey(id: string): Promise<void> {
  await changeRing((ring) => {
    if (!has(ring, id)) throw unknownKey(ring);
    return { ...ring.document, current: id };
  });
  say(`${id} is current. What is under other keys stays there until: rotate`);
}

async function dropKey(id: string, { evenIfNeeded }: { evenIfNeeded?: boolean }): Promise<void> {
  const { keys } = await openRing();
  const usages = await withDatabase((client) => credentialsCountByKey(client, keys));
  const needed = usages.find((usage) => usage.keyId === id)?.connections ?? 0;
  await changeRing((ring) => {
    if (!has(ring, id)) throw unknownKey(ring);
    if (id === ring.keys.current)
      throw ringError(`${id} is the current key: make another one current first.`);
    if (needed > 0 && !evenIfNeeded) {
      throw new CrmSchemaError(
        'key_still_needed',
        `${connections(needed)} still under ${id}: rotate first. It was not dropped.`,
      );
    }
    const others = ring.document.keys.filter(({ kid }) => kid !== id);
    return { ...ring.document, current: ring.keys.current, keys: others };
  });
  say(`Dropped ${id}, with ${connections(needed)} under it. Backups may still need it.`);
}

async function printPublicRing(): Promise<void> {
  const { keys, document } = await openRing();
  const key = document.keys.find(({ kid }) => kid === keys.current);
  const half = key && publicHalf(key);
  if (half === undefined) {
    throw ringError(
      `The current key ${keys.current} is symmetric: who encrypts with it can decrypt. Make one with --alg ECDH-ES+A256KW.`,
    );
  }
  await printRing({ current: keys.current, keys: [half] });
}

function has({ document }: Ring, id: string): boolean {
  return document.keys.some(({ kid }) => kid === id);
}

/** What was asked for is not repeated: it may be a key in the place of its id. */
function unknownKey({ document }: Ring): CrmSchemaError {
  return ringError(`The key ring has no such key; it has ${document.keys.map(({ kid }) => kid).join(', ')}.`);
}

function ringError(message: string): CrmSchemaError {
  return new CrmSchemaError('invalid_key_ring', message);
}
