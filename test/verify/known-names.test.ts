import { expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { type VerifyOptions, verify } from '../../src/verify/verify.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { differencesIn } from './support.js';

const { url, pool } = useDatabase();

/** The names of what differs after these statements. */
async function namesAfter(statements: string, known: VerifyOptions = {}) {
  return rolledBack(pool, async (client) => {
    await client.query(statements);
    return (await differencesIn(client, known)).map(({ name }) => name);
  });
}

test.each([
  ['a table', 'create index theirs on crm_sync_runs (worker)', 'public.theirs', 'public.crm_sync_runs'],
  ['the log', 'create index theirs on crm_sync_log (direction)', 'public.theirs', 'public.crm_sync_log'],
  [
    'a table, with a comment,',
    `create index "Theirs, too" on crm_sync_runs (worker); comment on index "Theirs, too" is 'Theirs.'`,
    'public."Theirs, too"',
    'public.crm_sync_runs',
  ],
])('an index of the host on %s is reported, unless it is known', async (_, statements, index, table) => {
  expect(await namesAfter(statements)).toEqual([`${index} on ${table}`]);
  expect(await namesAfter(statements, { knownIndexes: ['public.another'] })).toEqual([
    `${index} on ${table}`,
  ]);
  expect(await namesAfter(statements, { knownIndexes: [index] })).toEqual([]);
});

test('an index of this schema is compared even if it is called known', async () => {
  const found = await rolledBack(pool, async (client) => {
    await client.query(
      `drop index crm_sync_runs_expires_at_idx;
       create index crm_sync_runs_expires_at_idx on crm_sync_runs (worker)`,
    );
    const [difference] = await differencesIn(client, {
      knownIndexes: ['public.crm_sync_runs_expires_at_idx'],
    });
    return difference?.found;
  });
  expect(found).toBe('btree (worker)');
});

test('default privileges of a role are reported, unless it is known; those of the three roles and of public always', async () => {
  const statements = `create role crm_test_replica;
    alter default privileges in schema public grant select on tables to crm_test_replica, crm_reader, public;
    alter default privileges in schema public grant usage on sequences to crm_test_replica`;
  const always = ['crm_reader on future tables in schema public', 'public on future tables in schema public'];
  expect(await namesAfter(statements)).toEqual([
    'crm_test_replica on future sequences in schema public',
    always[0],
    'crm_test_replica on future tables in schema public',
    always[1],
  ]);
  expect(await namesAfter(statements, { knownRoles: ['crm_test_replica', 'crm_reader', 'public'] })).toEqual(
    always,
  );
});

test('default privileges for other schemas and other creators are not reported', async () => {
  expect(
    await namesAfter(
      `create schema elsewhere; create role crm_test_x;
       alter default privileges in schema elsewhere grant select on tables to crm_test_x;
       alter default privileges for role crm_test_x in schema public grant select on tables to public;
       alter default privileges revoke execute on functions from public;
       alter default privileges grant usage on types to crm_test_x`,
    ),
  ).toEqual([]);
});

test.each(['knownRoles', 'knownObjects', 'knownIndexes'] as const)(
  '%s that is no array is refused',
  async (option) => {
    await withClient(url, async (client) => {
      await expect(verify(client, { [option]: 'leak' as never })).rejects.toThrow(
        `${option} must be an array`,
      );
    });
  },
);
