import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect, promisify } from 'node:util';

import pg from 'pg';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createHostTables, migrate, projectPath } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import {
  type CredentialsByProvider,
  credentialsCheckKeys,
  credentialsConnect,
  credentialsCountByKey,
  credentialsGet,
  credentialsRefresh,
  credentialsReplace,
  credentialsRotate,
  encryptCredentials,
  generateKey,
  KeyRing,
  type ProviderCredentials,
} from '../../src/credentials.js';
import {
  connectionConnect,
  connectionListWithHealth,
  connectionSetStatus,
  providers,
} from '../../src/index.js';
import { createTenant } from '../support/database.js';

const run = promisify(execFile);

/** A harmless text that must be found, to prove that each search works. */
const marker = `marker${randomBytes(8).toString('hex')}`;

/** All secrets made so far, to search for. */
const secrets: string[] = [];
function secret(): string {
  const text = `zq${randomBytes(12).toString('hex')}`;
  secrets.push(text);
  return text;
}

/** Credentials with a secret in every field that can hold one. The name of an account is none. */
function freshCredentials(): CredentialsByProvider {
  const client = { id: secret(), secret: secret() };
  return {
    agentos: { apiKey: secret(), shortName: 'example-agency', branchOid: secret() },
    reapit: { grant: 'authorization_code', refreshToken: secret(), accessToken: secret(), client },
    alto: { agencyRef: '00000000-0000-4000-8000-00000000000a', accessToken: secret(), client },
    street: { token: secret() },
    loop: { apiKey: secret(), other: { nested: [secret()] }, [secret()]: secret() },
    custom: { scheme: 'bearer', baseUrl: `https://crm.example.com/${secret()}`, token: secret() },
  };
}

let server: EmbeddedPostgres;
let pool: pg.Pool;
let log = '';
/** All results and errors of the public functions and output of the CLI, as printed. */
let printed = '';

function print(value: unknown): void {
  printed += `${inspect(value, { depth: 10 })}\n${JSON.stringify({ value })}\n${value}\n`;
  if (value instanceof Error) printed += `${value.stack}\n${inspect(value.cause, { depth: 10 })}\n`;
}

beforeAll(async () => {
  server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, {
    settings: {
      log_statement: 'all',
      log_min_duration_statement: '0',
      log_parameter_max_length: '-1',
      log_parameter_max_length_on_error: '-1',
      log_error_verbosity: 'verbose',
      shared_preload_libraries: 'pg_stat_statements',
      'pg_stat_statements.track': 'all',
    },
    onLog: (text) => {
      log += text;
    },
  });
  pool = new pg.Pool({ connectionString: server.url });
  // pool.end() does not wait for its connections to close, so stopping the server may still hit one.
  pool.on('error', () => {});
  const client = await pool.connect();
  await createHostTables(client);
  await migrate(client);
  await client.query('create extension pg_stat_statements');
  client.release();
  await useEverything();
});

afterAll(async () => {
  await pool.end();
  await server.stop();
});

/**
 * Passes secrets to every public function that takes any, in valid and invalid calls, and prints the results.
 */
async function useEverything(): Promise<void> {
  const oldKey = await generateKey('A256KW', 'key-old');
  const newKey = await generateKey('ECDH-ES+A256KW', 'key-new');
  secrets.push(oldKey.k as string, newKey.d as string);
  const keys = await KeyRing.parse({ current: 'key-old', keys: [oldKey, newKey] });
  print(keys);
  const refusals: Promise<unknown>[] = [];
  const note = (attempt: Promise<unknown>) => refusals.push(attempt.then(print, print));

  const { organisationId } = await createTenant(pool);
  const credentials = freshCredentials();
  const replacements = freshCredentials();
  for (const provider of providers) {
    const own = { provider, credentials: credentials[provider] } as ProviderCredentials;
    const made = await credentialsConnect(pool, keys, { organisationId, ...own });
    const connection = { organisationId, connectionId: made.connectionId, provider };
    print(made);
    const read = await credentialsGet(pool, keys, connection);
    expect({ ...read?.credentials }).toEqual(credentials[provider]);
    print(read);
    print(read?.credentials);
    print(
      await credentialsRefresh(pool, keys, {
        ...connection,
        credentialsVersion: 1,
        refresh: async (current) => {
          print(current);
          return { credentials: replacements[provider] };
        },
      }),
    );
    print(
      await credentialsReplace(pool, keys, {
        ...connection,
        ...own,
        credentialsVersion: 1,
      }),
    );
    // A value in the wrong place, an invalid value, and an unknown field.
    const text = secret();
    for (const wrong of [text, [text], { [text]: text }, { ...credentials[provider], apiKey: `${text}\n` }]) {
      const given = { ...connection, connectionId: undefined, credentials: wrong as never };
      note(credentialsConnect(pool, keys, given));
      note(
        credentialsReplace(pool, keys, { ...connection, credentialsVersion: 2, credentials: wrong as never }),
      );
      note(connectionConnect(pool, { ...connection, credentials: wrong as never }));
    }
    // Encrypted for a connection that already exists: the database refuses it, and its detail shows the row.
    const encrypted = await encryptCredentials(keys, connection, credentials[provider]);
    print(encrypted);
    note(connectionConnect(pool, { ...connection, credentials: encrypted }));
    note(credentialsGet(pool, keys, { ...connection, provider: provider === 'loop' ? 'alto' : 'loop' }));
  }
  await Promise.all(refusals);
  note(KeyRing.parse(JSON.stringify({ current: oldKey.k, keys: [oldKey] })));
  note(KeyRing.parse({ keys: [{ ...oldKey, k: `${oldKey.k}=` }] }));
  note(KeyRing.parse(`{"keys": [{"k": "${oldKey.k}"`));
  note(KeyRing.load({ CRM_SCHEMA_KEYS: oldKey.k }));
  for (const wrong of [oldKey.k, oldKey, { keys: [oldKey] }])
    note(credentialsCountByKey(pool, wrong as never));
  await Promise.all(refusals);

  const [first] = await connectionListWithHealth(pool, { organisationId, failuresSince: new Date() });
  print(first);
  const key = { organisationId, connectionId: first?.connectionId as string };
  print(await connectionSetStatus(pool, { ...key, status: 'error', reason: marker }));
  await pool.query(`select /* ${marker} */ 1`);
  print(await credentialsCountByKey(pool, keys));
  print(await credentialsCheckKeys(pool, keys).catch((error) => error));

  const environment = (ring: unknown) => ({
    ...process.env,
    DATABASE_URL: server.url,
    CRM_SCHEMA_KEYS: JSON.stringify(ring),
  });
  const rings = [
    { current: 'key-new', keys: [newKey] },
    { current: 'key-new', keys: [newKey, { ...oldKey, k: newKey.d }] },
    { current: 'key-new', keys: [newKey, oldKey] },
    { current: oldKey.k, keys: [newKey, oldKey] },
  ];
  for (const ring of rings) {
    for (const command of ['status', 'rotate']) {
      const { stdout, stderr } = await run(process.execPath, [inject('command'), 'credentials', command], {
        cwd: projectPath('.'),
        env: environment(ring),
      }).catch((error) => error);
      printed += `${stdout}${stderr}`;
    }
  }
  print(await credentialsRotate(pool, keys));
}

/** The secrets that a text contains, in clear text or in hexadecimal as the server shows bytes. */
function found(text: string): string[] {
  return secrets.filter((each) => text.includes(each) || text.includes(Buffer.from(each).toString('hex')));
}

test('the search finds a secret', () => {
  expect(secrets.length).toBeGreaterThan(30);
  expect(found(`x${secrets[3]}y`)).toEqual([secrets[3]]);
});

test('no table and no statement statistics contain a secret', async () => {
  // The planner's statistics contain samples of values.
  await pool.query('analyze');
  const { rows: tables } = await pool.query(
    `select oid::regclass::text as name from pg_class
     where relkind in ('r', 'p', 'm')
       or relname in ('pg_stat_statements', 'pg_stat_activity', 'pg_prepared_statements', 'pg_cursors')`,
  );
  const contents = new Map<string, string>();
  for (const { name } of tables) {
    const { rows } = await pool.query(`select string_agg(row::text, ' ') as text from ${name} as row`);
    contents.set(name, rows[0].text ?? '');
  }
  expect(contents.get('crm_connections')).toContain(marker);
  expect(contents.get('pg_stat_statements')).toContain('set\n    credentials = $');
  expect(contents.get('pg_stat_statements')).toContain(marker);
  for (const [name, text] of contents) expect(found(text), name).toEqual([]);
});

test('no file of the server contains a secret, in tables, indexes or the write-ahead log', async () => {
  await pool.query('checkpoint');
  const { rows } = await pool.query('show data_directory');
  const files = await readdir(rows[0].data_directory, { recursive: true, withFileTypes: true });
  let markers = 0;
  for (const file of files.filter((each) => each.isFile())) {
    const text = await readFile(join(file.parentPath, file.name), 'latin1').catch(() => '');
    if (text.includes(marker)) markers += 1;
    expect(found(text), file.name).toEqual([]);
  }
  // At least in the table and the write-ahead log.
  expect(markers).toBeGreaterThanOrEqual(2);
});

test('the server’s log of all statements and parameters contains no secret', () => {
  expect(log).toContain('credentialsReplace');
  expect(log).toMatch(/encrypted_key/);
  expect(log).toContain(marker);
  expect(found(log)).toEqual([]);
});

test('no error, result or CLI output contains a secret', () => {
  expect(printed).toContain('live_connection_exists');
  expect(printed).toContain('invalid_key_ring');
  expect(printed).toContain('[hidden]');
  expect(printed).toContain('Not re-encrypted: connection');
  expect(printed).toContain('under key-new');
  expect(found(printed)).toEqual([]);
});
