import pg from 'pg';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type DedicatedConnection,
  migrateDown,
  migrateUp,
  migrationPlan,
  migrationStatus,
  verify,
} from '../../src/migrations.js';
import { migrations } from '../support/migrations.js';
import { freshDatabase } from './migrations.js';

const read = vi.hoisted(() => ({ paths: [] as string[] }));

vi.mock('node:fs/promises', async (original) => {
  const actual = await original<typeof import('node:fs/promises')>();
  return {
    ...actual,
    readFile(...[path, ...rest]: Parameters<typeof actual.readFile>) {
      read.paths.push(String(path));
      return actual.readFile(path, ...rest);
    },
  };
});

const functions: Record<string, (client: DedicatedConnection) => Promise<unknown>> = {
  migrationStatus: (client) => migrationStatus(client),
  migrationPlan: (client) => migrationPlan(client),
  migrateUp: (client) => migrateUp(client, { attempts: 1 }),
  migrateDown: (client) => migrateDown(client, { to: 0, attempts: 1 }),
  verify: (client) => verify(client),
};

let url: string;
let client: pg.Client;
beforeEach(async () => {
  url = await freshDatabase();
  client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  await client.query(`
    set lock_timeout = '700ms'; set statement_timeout = '70s'; set idle_session_timeout = '80s';
    set default_transaction_isolation = 'repeatable read'; set datestyle = 'German'; set timezone = 'Asia/Tokyo';
    set application_name = 'mine'`);
});
afterEach(() => client.end());

async function settings(): Promise<Record<string, string>> {
  // PL/pgSQL's own settings appear once it is loaded.
  await client.query('do $$ begin end $$');
  const { rows } = await client.query('select name, setting from pg_settings order by name');
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
}

describe.each(Object.entries(functions))('%s', (name, call) => {
  test('leaves the settings of the session as they were', async () => {
    if (name === 'migrateDown' || name === 'verify') await migrateUp(client);
    const before = await settings();
    await call(client);
    expect(await settings()).toEqual(before);
  });

  test('leaves the settings of the session as they were when it fails', async () => {
    await migrateUp(client, { to: name === 'verify' ? undefined : 5 });
    const before = await settings();
    await withClient(url, async (holder) => {
      await holder.query(
        `begin; lock table crm_schema_migrations, crm_connections, crm_sync_log in access exclusive mode`,
      );
      await expect(call(client)).rejects.toThrow();
    });
    expect(await settings()).toEqual(before);
    expect((await client.query('select now() = statement_timestamp() as free')).rows).toEqual([
      { free: true },
    ]);
  });
});

test.each(['migrateUp', 'migrateDown', 'migrationPlan'])(
  '%s reads each migration file once',
  async (name) => {
    if (name === 'migrateDown') await migrateUp(client);
    read.paths.length = 0;
    await functions[name]?.(client);
    const files = read.paths.filter((path) => path.endsWith('.sql'));
    expect(files).toHaveLength(migrations.length);
    expect(new Set(files).size).toBe(migrations.length);
  },
);

test.each([undefined, 3, 0])('migrationPlan to %s reads the status once', async (to) => {
  await migrateUp(client, { to: 5 });
  const transactions: string[] = [];
  const observed: DedicatedConnection = {
    query(text, values) {
      if (text.startsWith('begin')) transactions.push(text);
      return client.query(text, values);
    },
  };
  await migrationPlan(observed, { to });
  expect(transactions).toEqual(['begin read only']);
});
