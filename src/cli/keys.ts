import { randomBytes } from 'node:crypto';
import { rename, stat, writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { keyIdPattern } from '../credentials/jwe.js';
import { KeyRing } from '../credentials/key-ring.js';
import { parsed, readKeyRing } from '../credentials/key-ring-document.js';
import {
  generateKey,
  type KeyAlgorithm,
  keyAlgorithms,
  publicHalf,
  type RingKey,
} from '../credentials/keys.js';
import { CrmSchemaError } from '../errors.js';

interface GenerateOptions {
  alg: KeyAlgorithm;
  kid?: string;
  add?: boolean;
  out?: string;
}

/** The commands that make key rings, and need no database. */
export function addKeyCommands(command: Command): void {
  command
    .command('generate-key')
    .description('Prints a new key ring with one new key, or with --add the key ring and one more key.')
    .addOption(new Option('--alg <algorithm>', 'how it protects').choices(keyAlgorithms).default('A256KW'))
    .option('--kid <id>', 'the id of the key; one with today’s date if not given', keyId)
    .option('--add', 'add it to the ring in CRM_SCHEMA_KEYS, whose current key stays current')
    .option('--out <file>', 'write it there, for your eyes only, in place of printing it')
    .action(generate);
  command
    .command('public-ring')
    .description(
      'Prints the key ring for services that encrypt and cannot decrypt: the public half of the current key.',
    )
    .action(printPublicRing);
}

function keyId(value: string): string {
  if (!keyIdPattern.test(value)) {
    throw new InvalidArgumentError('It has to be 1 to 200 of A-Z a-z 0-9 . _ : -');
  }
  return value;
}

async function generate(options: GenerateOptions): Promise<void> {
  const today = new Date().toISOString().slice(0, 10);
  const kid = options.kid ?? `key-${today}-${randomBytes(2).toString('hex')}`;
  const key = await generateKey(options.alg, kid);
  if (!options.add) {
    await putRing({ current: kid, keys: [key] }, options.out);
    return;
  }
  const { ring, document } = await currentRing();
  await putRing({ ...document, current: ring.current, keys: [...document.keys, key] }, options.out, true);
  console.error(`Added ${kid}; ${ring.current} stays current until "current" says otherwise.`);
}

async function printPublicRing(): Promise<void> {
  const { ring, document } = await currentRing();
  const key = document.keys.find(({ kid }) => kid === ring.current) as RingKey;
  const half = publicHalf(key);
  if (half === undefined) {
    throw new CrmSchemaError(
      'invalid_key_ring',
      `The current key ${ring.current} is symmetric: who encrypts with it can decrypt. Make one with --alg ECDH-ES+A256KW.`,
    );
  }
  await putRing({ current: ring.current, keys: [half] });
}

/** The key ring of the environment, checked, and as it is written down. */
async function currentRing(): Promise<{ ring: KeyRing; document: { keys: RingKey[] } }> {
  const text = await readKeyRing(process.env);
  const ring = await KeyRing.parse(text);
  return { ring, document: parsed(text) as { keys: RingKey[] } };
}

/** Prints a key ring, or writes it to a file, which loses no key that was in it. */
async function putRing(
  document: { current: string; keys: RingKey[] },
  out?: string,
  isAddition = false,
): Promise<void> {
  const ids = document.keys.map(({ kid }) => kid);
  if (new Set(ids).size < ids.length) {
    throw new CrmSchemaError(
      'invalid_key_ring',
      'The key ring has a key of that id already: choose another --kid.',
    );
  }
  const text = JSON.stringify(document, null, 2);
  if (out === undefined) console.log(text);
  else if (isAddition && process.env.CRM_SCHEMA_KEYS === out) await rewrite(out, `${text}\n`);
  else await create(out, `${text}\n`);
}

async function create(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
    throw new Error(
      `${path} exists already and may hold keys that are needed. To add one: CRM_SCHEMA_KEYS=${path} crm-schema credentials generate-key --add --out ${path}`,
    );
  });
}

/** In one step, so that there is a whole key ring at each moment. */
async function rewrite(path: string, text: string): Promise<void> {
  const { mode } = await stat(path);
  const draft = `${path}.${process.pid}.new`;
  await writeFile(draft, text, { mode: mode & 0o777, flag: 'wx' });
  await rename(draft, path);
}
