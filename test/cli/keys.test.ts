import { execFile } from 'node:child_process';
import { lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { KeyRing, keyAlgorithms } from '../../src/credentials.js';
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

  test('refuses an id that is none', async () => {
    expect(await runCli(['credentials', 'generate-key', '--kid', 'a b'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'keyId has to be 1 to 200 of A-Z a-z 0-9 . _ : -, and no key.\n',
    });
  });

  test('does not say that it has made a key that nobody got', async () => {
    const { code, stderr } = await new Promise<{ code: number | undefined; stderr: string }>((resolve) => {
      execFile(
        process.execPath,
        [inject('command'), 'credentials', 'generate-key', '--add'],
        { cwd: projectPath('.'), env: { ...process.env, CRM_SCHEMA_KEYS: ring }, shell: false },
        (error, _, text) => resolve({ code: error?.code as number | undefined, stderr: text }),
      ).stdout?.destroy();
    });
    expect(code).toBe(1);
    expect(stderr).not.toContain('Added');
  });

  test('adds a key to the ring, which is current only when its owner says so', async () => {
    const { code, stdout, stderr } = await runCli(['credentials', 'generate-key', '--add', '--kid', 'next'], {
      CRM_SCHEMA_KEYS: ring,
    });
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'Added next. test-key-1 stays current until: use-key next\n',
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
      stderr: 'The key ring has a key test-key-1 already: choose another --kid.\n',
    });
  });

  test('writes a file that only its owner can read, and never over keys', async () => {
    const out = join(folder, 'new.json');
    const command = ['credentials', 'generate-key', '--kid', 'k', '--out', out];
    expect(await runCli(command)).toEqual({ code: 0, stdout: '', stderr: `Made ${out} with the key k.\n` });
    expect((await stat(out)).mode & 0o777).toBe(0o600);
    const written = await readFile(out, 'utf8');
    await KeyRing.parse(written);
    expect(await runCli(command, { CRM_SCHEMA_KEYS: out })).toEqual({
      code: 1,
      stdout: '',
      stderr: `${out} exists already, and keys in it may be needed. To add one to it: generate-key --add\n`,
    });
    expect(await readFile(out, 'utf8')).toBe(written);
  });
});

describe('a key ring in a file', () => {
  test('is changed where it is, through a link, for the same users as before', async () => {
    const path = join(folder, 'ring.json');
    const link = join(folder, 'link.json');
    await writeFile(path, ring, { mode: 0o640 });
    await symlink(path, link);
    const before = await stat(path);
    const env = { CRM_SCHEMA_KEYS: link };
    const added = await runCli(['credentials', 'generate-key', '--add', '--kid', 'next'], env);
    expect(added).toMatchObject({ code: 0, stdout: '' });
    const used = await runCli(['credentials', 'use-key', 'next'], env);
    expect(used).toEqual({
      code: 0,
      stdout: '',
      stderr: 'next is current. What is under other keys stays there until: rotate\n',
    });
    expect((await lstat(link)).isSymbolicLink()).toBe(true);
    const { mode, uid, gid } = await stat(path);
    expect({ mode, uid, gid }).toEqual({ mode: before.mode, uid: before.uid, gid: before.gid });
    const document = JSON.parse(await readFile(path, 'utf8'));
    expect(document).toMatchObject({
      comment: 'ours',
      current: 'next',
      keys: [testRingKey(), { kid: 'next' }],
    });
    expect((await readdir(folder)).filter((name) => !name.endsWith('.json'))).toEqual([]);
  });

  test('loses no key to others that change it at the same time', async () => {
    const path = join(folder, 'busy.json');
    await writeFile(path, ring);
    const names = Array.from({ length: 6 }, (_, index) => `add-${index}`);
    const runs = await Promise.all(
      names.map((name) =>
        runCli(['credentials', 'generate-key', '--add', '--kid', name], { CRM_SCHEMA_KEYS: path }),
      ),
    );
    const added = names.filter((_, index) => runs[index]?.code === 0);
    expect(added.length).toBeGreaterThan(0);
    for (const { code, stderr } of runs) {
      if (code !== 0) expect(stderr).toMatch(/^process \d+ on .* is changing the ring\./);
    }
    const keys = await KeyRing.parse(await readFile(path, 'utf8'));
    expect(keys.keys.map(({ keyId }) => keyId).toSorted()).toEqual([...added, 'test-key-1'].toSorted());
  });

  test('stays as it was where it cannot be changed, and nothing else is left', async () => {
    const path = join(folder, 'kept.json');
    await writeFile(path, ring);
    const { code } = await runCli(['credentials', 'use-key', 'nobody'], { CRM_SCHEMA_KEYS: path });
    expect(code).toBe(1);
    expect(await readFile(path, 'utf8')).toBe(ring);
    expect((await readdir(folder)).filter((name) => !name.endsWith('.json'))).toEqual([]);
  });

  test('stays as it was where another process has it, which is named', async () => {
    const path = join(folder, 'locked.json');
    await writeFile(path, ring);
    await writeFile(`${path}.lock`, 'process 1 on elsewhere');
    expect(await runCli(['credentials', 'generate-key', '--add'], { CRM_SCHEMA_KEYS: path })).toEqual({
      code: 1,
      stdout: '',
      stderr: `process 1 on elsewhere is changing the ring. If it is not running any more, remove ${path}.lock\n`,
    });
    expect(await readFile(`${path}.lock`, 'utf8')).toBe('process 1 on elsewhere');
    expect(await readFile(path, 'utf8')).toBe(ring);
    await rm(`${path}.lock`);
  });

  test.each([
    ['a ring in quotes too many', `'${ring}'`],
    ['a bare key', testRingKey().k as string],
    ['a bare key with a slash', `a/${testRingKey().k}`],
  ])('is not what %s is taken for, which nobody sees', async (_, value) => {
    for (const command of [['generate-key', '--add'], ['use-key', 'x'], ['status'], ['public-ring']]) {
      const { code, stdout, stderr } = await runCli(['credentials', ...command], { CRM_SCHEMA_KEYS: value });
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(/^CRM_SCHEMA_KEYS is neither a key ring as JSON nor the path of a file/);
      expect(stderr).not.toContain((testRingKey().k as string).slice(3, 20));
    }
  });
});

describe('credentials use-key', () => {
  test('refuses a key that the ring does not have', async () => {
    expect(await runCli(['credentials', 'use-key', 'nobody'], { CRM_SCHEMA_KEYS: ring })).toEqual({
      code: 1,
      stdout: '',
      stderr: 'The key ring has no such key; it has test-key-1.\n',
    });
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

test('the key ring is spoken of in the help of those who need it alone', async () => {
  for (const args of [['credentials'], ['credentials', 'rotate']])
    expect((await runCli([...args, '--help'])).stdout, args.join(' ')).toContain('CRM_SCHEMA_KEYS');
  for (const args of [[], ['health'], ['failures', 'replay'], ['partitions', 'drop']]) {
    const { stdout } = await runCli([...args, '--help']);
    expect(stdout, args.join(' ')).toContain('DATABASE_URL');
    expect(stdout, args.join(' ')).not.toContain('CRM_SCHEMA_KEYS');
  }
});
