import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { databaseUrl } from '../../dev/database.js';
import { showProgress } from '../../src/cli/progress.js';
import { credentialsGet, generateKey, KeyRing } from '../../src/credentials.js';
import type { ConnectionKey } from '../../src/index.js';
import { runCli, startCli } from '../support/cli.js';
import { connect } from '../support/connection.js';
import { encryptCredentials, testRingKey } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const database = useDatabase();
const empty = useDatabase('empty');
const { pool } = database;

beforeEach(async () => {
  await pool.query('delete from crm_connections');
});

const next = await generateKey('A256KW', 'next');
const ring = (...keys: unknown[]) => JSON.stringify({ current: 'next', keys });
const environment = () => ({ DATABASE_URL: database.url, CRM_SCHEMA_KEYS: ring(next, testRingKey()) });

async function connectMany(count: number, kid = 'test-key-1'): Promise<void> {
  const owners = await Promise.all(
    Array.from({ length: count }, async () => {
      const { organisationId } = await createTenant(pool);
      return { organisationId, connectionId: randomUUID(), provider: 'street' } as const;
    }),
  );
  const credentials = await Promise.all(
    owners.map((owner) => encryptCredentials(owner, { token: owner.connectionId }, kid)),
  );
  await pool.query(
    `insert into crm_connections (organisation_id, id, provider, credentials)
     select * from unnest($1::uuid[], $2::uuid[], array_fill('street'::text, array[$4::integer]), $3::jsonb[])`,
    [
      owners.map(({ organisationId }) => organisationId),
      owners.map(({ connectionId }) => connectionId),
      credentials.map((each) => JSON.stringify(each)),
      count,
    ],
  );
}

describe('credentials status', () => {
  test('shows each key and what to do next', async () => {
    await connectMany(3);
    expect(await runCli(['credentials', 'status'], environment())).toEqual({
      code: 0,
      stderr: '',
      stdout: `Key         Status    Connections
next        current             0
test-key-1  other               3
To re-encrypt 3 connections: crm-schema credentials rotate
`,
    });
  });

  test('exits with 3 and counts the connections if they need a missing key', async () => {
    await connectMany(2);
    await connectMany(1, 'next');
    const env = { ...environment(), CRM_SCHEMA_KEYS: ring(next, testRingKey('idle')) };
    expect(await runCli(['credentials', 'status'], env)).toEqual({
      code: 3,
      stderr: '',
      stdout: `Key         Status    Connections
next        current             1
idle        other               0
test-key-1  missing             2
2 connections cannot be decrypted: key test-key-1 is not in the key ring.
idle protects no connections: run use-key to use it, or drop-key.
`,
    });
    const json = await runCli(['credentials', 'status', '--json'], env);
    expect(json.code).toBe(3);
    expect(JSON.parse(json.stdout)).toEqual({
      current: 'next',
      keys: [
        { keyId: 'next', standing: 'current', canDecrypt: true, connections: 1 },
        { keyId: 'idle', standing: 'other', canDecrypt: true, connections: 0 },
        { keyId: 'test-key-1', standing: 'missing', canDecrypt: false, connections: 2 },
      ],
    });
  });
});

describe('credentials rotate', () => {
  test('re-encrypts everything under the current key, and reports it in plain lines', async () => {
    await connectMany(5);
    const first = await runCli(['credentials', 'rotate', '--batch-size', '2'], environment());
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toMatch(/^Re-encrypted 5 connections under next in \d\.\d\d s\.\n$/);
    expect(await runCli(['credentials', 'rotate'], environment())).toEqual({
      code: 0,
      stdout: 'Nothing to do: all connections are already under next.\n',
      stderr: 'To encrypt with test-key-1, first make it current: crm-schema credentials use-key <id>\n',
    });
  });

  test('exits with 1 and names each connection that it could not re-encrypt', async () => {
    await connectMany(2, 'lost-key');
    const { organisationId, connectionId } = await connect(pool, (await createTenant(pool)).organisationId);
    await pool.query(
      `update crm_connections set credentials = jsonb_set(credentials, '{tag}', '"AAAAAAAAAAAAAAAAAAAAAA"') where id = $1`,
      [connectionId],
    );
    await connectMany(1);
    const { code, stdout, stderr } = await runCli(['credentials', 'rotate'], environment());
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Re-encrypted 1 connection under next/);
    expect(stderr).toBe(`2 connections cannot be decrypted: key lost-key is not in the key ring.
Not re-encrypted: connection ${connectionId} of organisation ${organisationId}, key test-key-1: credentials_not_authentic.
`);
    const json = await runCli(['credentials', 'rotate', '--json'], environment());
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toEqual({
      keyId: 'next',
      rotated: 0,
      remaining: 3,
      lacking: [{ keyId: 'lost-key', standing: 'missing', canDecrypt: false, connections: 2 }],
      failures: [{ organisationId, connectionId, keyId: 'test-key-1', code: 'credentials_not_authentic' }],
    });
  });

  test.each(['SIGKILL', 'SIGTERM', 'SIGINT'] as const)(
    'interrupted by %s at any point, leaves each connection readable, and the next run finishes',
    async (signal) => {
      const count = 400;
      await connectMany(count);
      const keys = await KeyRing.parse(environment().CRM_SCHEMA_KEYS);
      const rotated = async (): Promise<number> => {
        const { rows } = await pool.query(
          "select count(*)::integer as count from crm_connections where credentials_key_id = 'next'",
        );
        return rows[0].count;
      };
      let interruptions = 0;
      for (const share of [0.05, 0.3, 0.7]) {
        const { child, ended } = startCli(['credentials', 'rotate', '--batch-size', '1'], environment());
        while (child.exitCode === null && (await rotated()) < count * share);
        child.kill(signal);
        const { code, stderr } = await ended;
        if (code === 0) continue;
        interruptions += 1;
        if (signal !== 'SIGKILL') {
          expect(code).toBe(1);
          expect(stderr).toContain('Interrupted: run it again to re-encrypt the rest.');
        }
      }
      expect(interruptions).toBeGreaterThan(0);
      expect(await rotated()).toBeLessThan(count);
      const { rows } = await pool.query<ConnectionKey>(
        'select organisation_id as "organisationId", id as "connectionId" from crm_connections',
      );
      const readAll = () =>
        Promise.all(
          rows.map(async (owner) => {
            const read = await credentialsGet(pool, keys, { ...owner, provider: 'street' });
            expect(read?.credentials.token).toBe(owner.connectionId);
          }),
        );
      await readAll();
      expect(await runCli(['credentials', 'rotate'], environment())).toMatchObject({ code: 0 });
      expect(await rotated()).toBe(count);
      await readAll();
    },
  );

  test('draws a progress bar within the width of the terminal', () => {
    const written: string[] = [];
    const stream = { isTTY: true, columns: 80, write: (text: string) => written.push(text) > 0 };
    const progress = showProgress('Re-encrypting', stream);
    progress.update(0, 100_000);
    progress.update(54_321, 100_000);
    progress.update(100_000, 100_000);
    progress.end();
    const drawn = written.map((text) => text.replace('\r\x1b[K', ''));
    expect(drawn[1]).toMatch(/^Re-encrypting \[#+·+\] {2}54 % {2}54,321 of 100,000 {2}0:00$/);
    expect(drawn[2]).toMatch(/^Re-encrypting \[#+\] 100 % {2}100,000 of 100,000 {2}0:00$/);
    for (const line of drawn) expect([...line].length).toBeLessThan(80);
    expect(drawn.at(-1)).toBe('');
    for (const text of written) expect(text.startsWith('\r\x1b[K')).toBe(true);
  });

  test('shows only the numbers on a narrow terminal', () => {
    const written: string[] = [];
    const stream = { isTTY: true, columns: 30, write: (text: string) => written.push(text) > 0 };
    showProgress('Re-encrypting', stream).update(1, 2);
    expect(written).toEqual(['\r\x1b[K50 %  1 of 2  0:00']);
  });
});

describe('credentials drop-key', () => {
  test('refuses a key that connections need, and says how many', async () => {
    await connectMany(2);
    expect(await runCli(['credentials', 'drop-key', 'test-key-1'], environment())).toEqual({
      code: 1,
      stdout: '',
      stderr: 'test-key-1 was not dropped: 2 connections still under it. Rotate first.\n',
    });
  });

  test('drops a key that no connection needs, or any with --even-if-needed', async () => {
    const dropped = await runCli(['credentials', 'drop-key', 'test-key-1'], environment());
    expect(dropped).toMatchObject({
      code: 0,
      stderr: 'Dropped test-key-1, with 0 connections under it. Backups may still need it.\n',
    });
    expect(JSON.parse(dropped.stdout)).toEqual({ current: 'next', keys: [next] });
    await connectMany(1);
    const lost = await runCli(['credentials', 'drop-key', 'test-key-1', '--even-if-needed'], environment());
    expect(lost).toMatchObject({
      code: 0,
      stderr: 'Dropped test-key-1, with 1 connection under it. Backups may still need it.\n',
    });
    expect(JSON.parse(lost.stdout)).toEqual({ current: 'next', keys: [next] });
  });

  test.each([
    ['the current key', 'next', 'next is the current key: make another key current first.\n'],
    ['an unknown key', 'nobody', 'The key ring has no such key. Its keys are next, test-key-1.\n'],
  ])('refuses %s', async (_, id, stderr) => {
    expect(await runCli(['credentials', 'drop-key', id], environment())).toEqual({
      code: 1,
      stdout: '',
      stderr,
    });
  });
});

describe('an error is one line, without a stack or a password', () => {
  const nobody = 'postgres://u:topsecret@';
  test.each<[string, () => Record<string, string>, string]>([
    [
      'no key ring',
      () => ({ DATABASE_URL: database.url }),
      'CRM_SCHEMA_KEYS is not set: set it to a key ring',
    ],
    [
      'a malformed key ring',
      () => ({ ...environment(), CRM_SCHEMA_KEYS: '{"topsecret"' }),
      'The key ring is not JSON.',
    ],
    ['no database', () => ({ CRM_SCHEMA_KEYS: ring(next) }), 'DATABASE_URL is not set'],
    [
      'a service file, which is not supported',
      () => ({ CRM_SCHEMA_KEYS: ring(next), PGUSER: 'u', PGSERVICE: 'elsewhere' }),
      'PGSERVICE is not supported',
    ],
    ['an invalid URL', () => ({ ...environment(), DATABASE_URL: 'topsecret' }), 'DATABASE_URL is not a URL'],
    [
      'a closed port',
      () => ({ ...environment(), DATABASE_URL: `${nobody}127.0.0.1:1/x` }),
      'Nothing answers',
    ],
    [
      'a wrong password',
      () => ({ ...environment(), DATABASE_URL: database.url.replace(/:[^:@]+@/, ':topsecret@') }),
      'The database refused the user or the password: check DATABASE_URL.',
    ],
    [
      'no such database',
      () => ({ ...environment(), DATABASE_URL: databaseUrl(database.url, 'nowhere') }),
      'The database does not exist: check DATABASE_URL.',
    ],
    [
      'no schema',
      () => ({ ...environment(), DATABASE_URL: empty.url }),
      'The schema is missing or of an older version: run crm-schema migrate up first',
    ],
  ])('%s', async (_, env, message) => {
    for (const command of ['status', 'rotate']) {
      const { code, stdout, stderr } = await runCli(['credentials', command], env());
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(/^[^\n]+\n$/);
      expect(stderr).toContain(message);
      expect(stderr).not.toContain('topsecret');
    }
  });

  test('a connection lost during a rotation', async () => {
    await connectMany(400);
    const { child, ended } = startCli(['credentials', 'rotate', '--batch-size', '1'], environment());
    for (;;) {
      const { rowCount } = await pool.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'crm-schema' and datname = current_database() and query like '%credentialsRewrap%'",
      );
      if (rowCount || child.exitCode !== null) break;
    }
    const { code, stderr } = await ended;
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr:
        'The connection to the database was lost. Committed work is kept: run the command again for the rest.\n',
    });
  });
});

test('a key ring with only the public half cannot rotate, and status says what it cannot decrypt', async () => {
  await connectMany(1);
  const { d: _, ...half } = await generateKey('ECDH-ES+A256KW', 'next');
  const env = { DATABASE_URL: database.url, CRM_SCHEMA_KEYS: ring(half, testRingKey()) };
  expect(await runCli(['credentials', 'rotate'], env)).toEqual({
    code: 1,
    stdout: '',
    stderr:
      'The key ring has only the public half of next: rotate with the key ring of a service that can decrypt.\n',
  });
  await pool.query('delete from crm_connections');
  await connectMany(2, 'next');
  expect(await runCli(['credentials', 'status'], env)).toMatchObject({
    code: 3,
    stdout: expect.stringContaining(
      '2 connections cannot be decrypted: the key ring has only the public half of\nnext.',
    ),
  });
});

test('a rotation that only missing keys keep from finishing exits with 3', async () => {
  await connectMany(1, 'lost-key');
  expect(await runCli(['credentials', 'rotate'], environment())).toEqual({
    code: 3,
    stdout: '',
    stderr: '1 connection cannot be decrypted: key lost-key is not in the key ring.\n',
  });
});

test("rotates at READ COMMITTED, whatever the role's default isolation level", async () => {
  await connectMany(3);
  await pool.query(
    `create function refuse_level() returns trigger language plpgsql as $$
       begin
         if current_setting('transaction_isolation') <> 'read committed' then raise exception 'not at this level'; end if;
         return new;
       end $$;
     create trigger refuse_level before update on crm_connections for each row execute function refuse_level()`,
  );
  onTestFinished(async () => void (await pool.query('drop function refuse_level cascade')));
  const env = { ...environment(), PGOPTIONS: '-c default_transaction_isolation=serializable' };
  const { ended } = startCli(['credentials', 'rotate', '--batch-size', '1'], env);
  expect(await ended).toMatchObject({ code: 0 });
  const { rows } = await runCli(['credentials', 'status'], env).then(() =>
    pool.query("select count(*)::integer as count from crm_connections where credentials_key_id = 'next'"),
  );
  expect(rows).toEqual([{ count: 3 }]);
});
