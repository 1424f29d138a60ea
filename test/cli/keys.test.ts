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
  test.each(keyAlgorithms)('prints a key ring with a %s key', async (algorithm) => {
    const { code, stdout, stderr } = await runCli(['credentials', 'generate-key', '--alg', algorithm]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const keys = await KeyRing.parse(stdout);
    expect(keys.keys).toEqual([{ keyId: keys.current, algorithm, isCurrent: true, canDecrypt: true }]);
    expect(keys.current).toMatch(/^key-\d{4}-\d\d-\d\d-[0-9a-f]{4}$/);
  });

  test('never generates the same key twice', async () => {
    const [one, other] = await Promise.all(
      [1, 2].map(() => runCli(['credentials', 'generate-key', '--kid', 'k'])),
    );
    expect(one?.stdout).not.toBe(other?.stdout);
  });

  test('refuses an invalid id', async () => {
    expect(await runCli(['credentials', 'generate-key', '--kid', 'a b'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'keyId must be 1 to 200 characters of A-Z a-z 0-9 . _ : -, and not a key itself.\n',
    });
  });

  test('does not report a key as added if it could not be printed', async () => {
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

  test('--add adds a key to the key ring without making it current', async () => {
    const { code, stdout, stderr } = await runCli(['credentials', 'generate-key', '--add', '--kid', 'next'], {
      CRM_SCHEMA_KEYS: ring,
    });
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'Added next. To make it current instead of test-key-1: crm-schema credentials use-key next\n',
    });
    expect(JSON.parse(stdout)).toMatchObject({
      comment: 'ours',
      current: 'test-key-1',
      keys: [testRingKey(), { kid: 'next' }],
    });
  });

  test('refuses to add a key with an id that the key ring already has', async () => {
    expect(
      await runCli(['credentials', 'generate-key', '--add', '--kid', 'test-key-1'], {
        CRM_SCHEMA_KEYS: ring,
      }),
    ).toEqual({
      code: 1,
      stdout: '',
      stderr: 'The key ring already has a key test-key-1: choose another --kid.\n',
    });
  });

  test('--out writes a file that only its owner can read, and never overwrites one', async () => {
    const out = join(folder, 'new.json');
    const command = ['credentials', 'generate-key', '--kid', 'k', '--out', out];
    expect(await runCli(command)).toEqual({ code: 0, stdout: '', stderr: `Created ${out} with key k.\n` });
    expect((await stat(out)).mode & 0o777).toBe(0o600);
    const written = await readFile(out, 'utf8');
    await KeyRing.parse(written);
    expect(await runCli(command, { CRM_SCHEMA_KEYS: out })).toEqual({
      code: 1,
      stdout: '',
      stderr: `${out} already exists, and its keys may be in use. To add a key to it: generate-key --add\n`,
    });
    expect(await readFile(out, 'utf8')).toBe(written);
  });
});

describe('a key ring in a file', () => {
  test('is replaced through a symbolic link, which stays, with the same owner and permissions', async () => {
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
      stderr:
        'next is now current. To re-encrypt credentials under other keys: crm-schema credentials rotate\n',
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

  test('is replaced where a folder cannot be synced, as on Windows', async () => {
    const path = join(folder, 'unsynced.json');
    await writeFile(path, ring);
    const refuseSync = `import fs from 'node:fs/promises';
      import { syncBuiltinESMExports } from 'node:module';
      const { open } = fs;
      fs.open = async (...call) => {
        const file = await open(...call);
        if (!(await file.stat()).isDirectory()) return file;
        file.sync = () => Promise.reject(Object.assign(new Error(), { code: 'EPERM' }));
        console.error('A folder refuses to be synced.');
        return file;
      };
      syncBuiltinESMExports();`;
    const { code, stderr } = await runCli(['credentials', 'generate-key', '--add', '--kid', 'next'], {
      CRM_SCHEMA_KEYS: path,
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(refuseSync)}`,
    });
    expect(stderr).toMatch(/^A folder refuses to be synced\.\nAdded next\./);
    expect(code).toBe(0);
    expect((await KeyRing.parse(await readFile(path, 'utf8'))).keys).toHaveLength(2);
  });

  test('is read with a byte order mark, and refused in UTF-16', async () => {
    const path = join(folder, 'marked.json');
    const read = () => runCli(['credentials', 'public-ring'], { CRM_SCHEMA_KEYS: path });
    await writeFile(path, `\ufeff${ring}`);
    expect((await read()).stderr).toContain('The current key test-key-1 is symmetric');
    await writeFile(path, `\ufeff${ring}`, 'utf16le');
    expect(await read()).toEqual({
      code: 1,
      stdout: '',
      stderr: 'The key ring is in UTF-16, which the > of Windows PowerShell writes: save it as UTF-8.\n',
    });
  });

  test('loses no key when several processes change it at the same time', async () => {
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
      if (code !== 0) expect(stderr).toMatch(/^process \d+ on .* is changing the key ring\./);
    }
    const keys = await KeyRing.parse(await readFile(path, 'utf8'));
    expect(keys.keys.map(({ keyId }) => keyId).toSorted()).toEqual([...added, 'test-key-1'].toSorted());
  });

  test('is unchanged if a change is refused, and no temporary file is left', async () => {
    const path = join(folder, 'kept.json');
    await writeFile(path, ring);
    const { code } = await runCli(['credentials', 'use-key', 'nobody'], { CRM_SCHEMA_KEYS: path });
    expect(code).toBe(1);
    expect(await readFile(path, 'utf8')).toBe(ring);
    expect((await readdir(folder)).filter((name) => !name.endsWith('.json'))).toEqual([]);
  });

  test('is unchanged while another process holds its lock, which the message names', async () => {
    const path = join(folder, 'locked.json');
    await writeFile(path, ring);
    await writeFile(`${path}.lock`, 'process 1 on elsewhere');
    expect(await runCli(['credentials', 'generate-key', '--add'], { CRM_SCHEMA_KEYS: path })).toEqual({
      code: 1,
      stdout: '',
      stderr: `process 1 on elsewhere is changing the key ring. If it is no longer running, remove ${path}.lock\n`,
    });
    expect(await readFile(`${path}.lock`, 'utf8')).toBe('process 1 on elsewhere');
    expect(await readFile(path, 'utf8')).toBe(ring);
    await rm(`${path}.lock`);
  });

  test.each([
    ['a key ring in extra quotes', `'${ring}'`],
    ['a bare key', testRingKey().k as string],
    ['a bare key with a slash', `a/${testRingKey().k}`],
  ])('is not assumed if CRM_SCHEMA_KEYS is %s, which the message does not show', async (_, value) => {
    for (const command of [['generate-key', '--add'], ['use-key', 'x'], ['status'], ['public-ring']]) {
      const { code, stdout, stderr } = await runCli(['credentials', ...command], { CRM_SCHEMA_KEYS: value });
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(
        /^CRM_SCHEMA_KEYS is neither a key ring as JSON nor the path of a readable file/,
      );
      expect(stderr).not.toContain((testRingKey().k as string).slice(3, 20));
    }
  });
});

describe('credentials use-key', () => {
  test('refuses a key that the key ring does not have', async () => {
    expect(await runCli(['credentials', 'use-key', 'nobody'], { CRM_SCHEMA_KEYS: ring })).toEqual({
      code: 1,
      stdout: '',
      stderr: 'The key ring has no such key. Its keys are test-key-1.\n',
    });
  });
});

describe('credentials public-ring', () => {
  test('prints a key ring that encrypts but cannot decrypt', async () => {
    const made = await runCli(['credentials', 'generate-key', '--alg', 'ECDH-ES+A256KW', '--kid', 'pair']);
    const { code, stdout } = await runCli(['credentials', 'public-ring'], { CRM_SCHEMA_KEYS: made.stdout });
    expect(code).toBe(0);
    const keys = await KeyRing.parse(stdout);
    expect(keys.keys).toEqual([
      { keyId: 'pair', algorithm: 'ECDH-ES+A256KW', isCurrent: true, canDecrypt: false },
    ]);
    expect(stdout).not.toContain(JSON.parse(made.stdout).keys[0].d);
  });

  test('refuses a symmetric key, which has no public half', async () => {
    const { code, stdout, stderr } = await runCli(['credentials', 'public-ring'], { CRM_SCHEMA_KEYS: ring });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('The current key test-key-1 is symmetric');
  });
});

describe('a usage error', () => {
  test.each([
    ['no command', [], /^Usage: crm-schema/],
    ['no subcommand of credentials', ['credentials'], /^Usage: crm-schema credentials/],
    [
      'an unknown command',
      ['credentials', 'rotat'],
      /^error: unknown command 'rotat'\n\(Did you mean rotate\?\)\n$/,
    ],
    ['an unknown option', ['credentials', 'status', '--nonsense'], /^error: unknown option '--nonsense'\n$/],
    ['an extra argument', ['credentials', 'status', 'all'], /^error: too many arguments/],
    ['an empty batch', ['credentials', 'rotate', '--batch-size', '0'], /whole number from 1 to 1000\.\n$/],
    ['an unknown algorithm', ['credentials', 'generate-key', '--alg', 'dir'], /Allowed choices are A256KW/],
  ])('%s exits with 2', async (_, args, message) => {
    const { code, stdout, stderr } = await runCli(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });

  test.each([[['--help']], [['credentials', '--help']], [['credentials', 'rotate', '--help']]])(
    'the help of %j fits in 80 columns',
    async (args) => {
      const { code, stdout, stderr } = await runCli(args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      for (const line of stdout.split('\n')) expect([...line].length, line).toBeLessThanOrEqual(80);
    },
  );
});

test('help mentions the key ring only for commands that need it', async () => {
  for (const args of [['credentials'], ['credentials', 'rotate']])
    expect((await runCli([...args, '--help'])).stdout, args.join(' ')).toContain('CRM_SCHEMA_KEYS');
  for (const args of [[], ['health'], ['failures', 'replay'], ['partitions', 'drop']]) {
    const { stdout } = await runCli([...args, '--help']);
    expect(stdout, args.join(' ')).toContain('DATABASE_URL');
    expect(stdout, args.join(' ')).not.toContain('CRM_SCHEMA_KEYS');
  }
});
