import { expect, inject, test } from 'vitest';
import { rolledBack, useDatabase } from '../support/database.js';
import { differencesIn } from './support.js';

const { pool } = useDatabase();

/** Runs the SQL that verify prints for a damage as a role, and returns the advice and what still differs. */
async function repairedAs(role: string, damage: string) {
  return rolledBack(pool, async (client) => {
    await client.query(damage);
    const differences = await differencesIn(client);
    expect(differences).not.toEqual([]);
    await client.query(`set local role ${role}`);
    for (const statement of differences.flatMap(({ statements }) => statements))
      await client.query(statement);
    await client.query('reset role');
    return { advice: new Set(differences.map(({ advice }) => advice)), left: await differencesIn(client) };
  });
}

test.each([
  ['usage of the schema is missing', 'revoke usage on schema public from public'],
  ['somebody may create in it', 'grant create on schema public to crm_worker'],
])(
  'where %s, verify names the owner of the schema, from whom alone PostgreSQL takes the repair',
  async (_, damage) => {
    const prepared = `create role crm_test_host; create role crm_test_owner;
      alter schema public owner to crm_test_host; grant usage on schema public to crm_test_owner; ${damage}`;
    const byHost = await repairedAs('crm_test_host', prepared);
    expect(byHost).toEqual({
      advice: new Set(['Run as a superuser, or as a member of crm_test_host:']),
      left: [],
    });
    // It only warns everybody else: this is why the advice is needed.
    const byAnother = await repairedAs('crm_test_owner', prepared);
    expect(byAnother.left).not.toEqual([]);
  },
);

test('where a membership was granted by another role, verify names it', async () => {
  const damage = `create role crm_test_grantor; grant crm_worker to crm_test_grantor with admin option;
    set local role crm_test_grantor; grant crm_worker to crm_app; reset role`;
  const isKept = inject('serverMajorVersion') >= 16;
  const { advice, left } = await repairedAs(isKept ? 'crm_test_grantor' : 'none', damage);
  expect(left).toEqual([]);
  expect(advice).toEqual(
    new Set([isKept ? 'Run as a superuser, or as a member of crm_test_grantor:' : 'Run as a superuser:']),
  );
});

test('where a function of the host leaks, verify names its owner', async () => {
  const { advice, left } = await repairedAs(
    'crm_test_host',
    `create role crm_test_host; grant create on schema public to crm_test_host; set local role crm_test_host;
     create function leak() returns bigint language sql security definer
       as 'select count(*) from public.crm_sync_log';
     reset role`,
  );
  expect([...advice].join()).toContain('as a superuser or a member of crm_test_host:');
  expect(left).toEqual([]);
});
