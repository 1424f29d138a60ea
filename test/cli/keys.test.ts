import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KeyRing, keyAlgorithms } from '../../src/credentials/index.js';
import { runCli } from '../support/cli.js';
import { testRingKey } from '../support/credentials.js';

const ring = JSON.stringify({ comment: 'ours', current: 'test-key-1', keys: [testRingKey()] });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'crm-schema-keys-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('credentials generate-key', () => {
  test.each(keyAlgorithms)('prints a key ring with a key for %s', async (algorithm) => {
    const { code, stdout, stderr } = await runCli(['credentials', 'generate-key', '--alg', algorithm]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const keys = await KeyRing.parse(stdout);
    expect(keys.keys).toEqual([{ keyId: keys.current, algorithm, isCurrent: true, canDecrypt: true }]);
    expect(keys.current).toMatch(/^key-\d{4}-\d\d-\d\d-[0-9a-f]{4}$/);
  });

  test('never makes the same key twice', async () => {
    const [one, other] = await Promise.all(
      [1, 2].map(() => runCli(['credentials', 'generate-key', '--kid', 'k'])),
    );
    expect(one?.stdout).not.toBe(other?.stdout);
  });

  test('adds a key to the ring, which is current only when its owner says so', async () => {
    const { code, stdout, stderr } = await runCli(['credentials', 'generate-key', '--add', '--kid', 'next'], {
      CRM_SCHEMA_KEYS: ring,
    });
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'Added next; test-key-1 stays current until "current" says otherwise.\n',
    });
    expect(JSON.parse(stdout)).toMatchObject({
      comment: 'ours',
      current: 'test-key-1',
      keys: [testRingKey(), { kid: 'next' }],
    });
  });

  test('refuses to add a key of the same id', async () => {
    expect(
      await runCli(['credentials', 'generate-key', '--add', '--kid', 'test-key-1'], {
        CRM_SCHEMA_KEYS: ring,
      }),
    ).toEqual({
      code: 1,
      stdout: '',
      stderr: 'The key ring has a key of that id already: choose another --kid.\n',
    });
  });

  test('writes a file that only its owner can read, and never over keys', async () => {
    const out = join(folder, 'new.json');
    const command = ['credentials', 'generate-key', '--out', out];
    expect(await runCli(command)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await stat(out)).mode & 0o777).toBe(0o600);
    const written = await readFile(out, 'utf8');
    await KeyRing.parse(written);
    // Also not where the file is the ring's own, but nothing was said of adding.
    for (const env of [{}, { CRM_SCHEMA_KEYS: out }]) {
      const { code, stderr } = await runCli(command, env);
      expect(code).toBe(1);
      expect(stderr).toContain(`${out} exists already and may hold keys that are needed. To add one:`);
    }
    expect(await readFile(out, 'utf8')).toBe(written);
  });

  test('adds to the very file that the ring is in', async () => {
    const out = join(folder, 'ring.json');
    await writeFile(out, ring, { mode: 0o640 });
    const { code } = await runCli(['credentials', 'generate-key', '--add', '--kid', 'next', '--out', out], {
      CRM_SCHEMA_KEYS: out,
    });
    expect(code).toBe(0);
    const keys = await KeyRing.parse(await readFile(out, 'utf8'));
    expect(keys.keys.map(({ keyId }) => keyId)).toEqual(['test-key-1', 'next']);
    expect((await stat(out)).mode & 0o777).toBe(0o640);
  });
});

describe('credentials public-ring', () => {
  test('prints what encrypts and cannot decrypt', async () => {
    const made = await runCli(['credentials', 'generate-key', '--alg', 'ECDH-ES+A256KW', '--kid', 'pair']);
    const { code, stdout } = await runCli(['credentials', 'public-ring'], { CRM_SCHEMA_KEYS: made.stdout });
    expect(code).toBe(0);
    const keys = await KeyRing.parse(stdout);
    expect(keys.keys).toEqual([
      { keyId: 'pair', algorithm: 'ECDH-ES+A256KW', isCurrent: true, canDecrypt: false },
    ]);
    expect(stdout).not.toContain(JSON.parse(made.stdout).keys[0].d);
  });

  test('says that a symmetric key has no such half', async () => {
    const { code, stdout, stderr } = await runCli(['credentials', 'public-ring'], { CRM_SCHEMA_KEYS: ring });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('The current key test-key-1 is symmetric');
  });
});

describe('a wrong call', () => {
  test.each([
    ['no command', [], /^Usage: crm-schema/],
    ['no command of credentials', ['credentials'], /^Usage: crm-schema credentials/],
    [
      'an unknown command',
      ['credentials', 'rotat'],
      /^error: unknown command 'rotat'\n\(Did you mean rotate\?\)\n$/,
    ],
    ['an unknown option', ['credentials', 'status', '--nonsense'], /^error: unknown option '--nonsense'\n$/],
    ['an argument too many', ['credentials', 'status', 'all'], /^error: too many arguments/],
    [
      'a batch of nothing',
      ['credentials', 'rotate', '--batch-size', '0'],
      /whole number from 1 to 1000\.\n$/,
    ],
    ['an unknown algorithm', ['credentials', 'generate-key', '--alg', 'dir'], /Allowed choices are A256KW/],
    ['a key id with a space', ['credentials', 'generate-key', '--kid', 'a b'], /1 to 200 of A-Z a-z 0-9/],
  ])('ends with exit code 2: %s', async (_, args, message) => {
    const { code, stdout, stderr } = await runCli(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });

  test.each([[['--help']], [['credentials', '--help']], [['credentials', 'rotate', '--help']]])(
    'is helped by %j, in 80 columns',
    async (args) => {
      const { code, stdout, stderr } = await runCli(args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      for (const line of stdout.split('\n')) expect([...line].length, line).toBeLessThanOrEqual(80);
    },
  );
});
