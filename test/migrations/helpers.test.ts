import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { expectRefused } from '../support/refusals.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { url, pool } = database;

describe('crm_run_in_schema', () => {
  const lockBoth = `select crm_run_in_schema(
    'lock table %1$I.contact_external_ids, %1$I.contact_external_id_aliases in access exclusive mode'
  )`;

  test('gives way to a transaction that locks in the other order, and tries again', async () => {
    await withClient(url, async (application) => {
      await application.query("begin; set local lock_timeout = '900ms'");
      await application.query('lock table contact_external_id_aliases in row exclusive mode');
      await withClient(url, async (migration) => {
        await migration.query("begin; set local deadlock_timeout = '1min'");
        const locked = migration.query(lockBoth);
        // Awaited below; until then Node must not see an unhandled rejection.
        locked.catch(() => {});
        await waitUntilBlocked(url, migration);
        await application.query('lock table contact_external_ids in row exclusive mode');
        await application.query('commit');
        await locked;
      });
    });
  });

  test('leaves lock_timeout as it was', async () => {
    await rolledBack(pool, async (client) => {
      await client.query("set local lock_timeout = '5s'");
      await client.query(lockBoth);
      expect((await client.query('show lock_timeout')).rows).toEqual([{ lock_timeout: '5s' }]);
    });
  });

  test('gives up after a hundred attempts with the statement and a hint', async () => {
    await rolledBack(pool, async (client) => {
      // Fails at once instead of waiting.
      await expectRefused(
        client.query(
          `select crm_run_in_schema($$ do 'begin raise lock_not_available using message = ''busy''; end' $$)`,
        ),
        {
          code: '55P03',
          message: 'busy',
          detail: expect.stringContaining('raise lock_not_available'),
          hint: expect.stringContaining('pg_stat_activity'),
        },
      );
    });
  });
});

test('crm_edit_function changes what it finds, and refuses a function without it', async () => {
  await rolledBack(pool, async (client) => {
    await client.query(`create function answer() returns text language sql as $$ select 'one' $$`);
    await client.query("select crm_edit_function('answer()', '''one''', '''two''')");
    expect((await client.query('select answer()')).rows).toEqual([{ answer: 'two' }]);
    await expectRefused(client.query("select crm_edit_function('answer()', '''one''', '''three''')"), {
      code: 'CRM01',
      message: expect.stringContaining('answer() is not as an earlier migration left it'),
    });
  });
});

test('crm_give_to_owner gives tables, views and functions to the owner of the log', async () => {
  await rolledBack(pool, async (client) => {
    const owner = `crm_owner_${randomBytes(4).toString('hex')}`;
    await client.query(`create role ${owner}; grant create on schema public to ${owner}`);
    await client.query(`alter table crm_sync_log owner to ${owner}`);
    await client.query('create table "Odd name" (); create view seen as select 1 as one');
    await client.query('create function add_up(integer, text[]) returns integer language sql return 1');
    await client.query(
      `select crm_give_to_owner(array['table "Odd name"', 'view seen', 'function add_up(integer, text[])'])`,
    );
    const { rows } = await client.query(
      `select relowner::regrole::text as owner from pg_class where relname in ('Odd name', 'seen')
       union all
       select proowner::regrole::text from pg_proc where proname = 'add_up'`,
    );
    expect(rows).toEqual([{ owner }, { owner }, { owner }]);
  });
});

describe.each(['crm_app', 'crm_worker', 'crm_reader'] as const)('%s', (role) => {
  const member = useMember(database, role);

  test.each([
    "crm_run_in_schema('drop table %1$I.crm_sync_log')",
    "crm_edit_function('crm_organisation_id()', 'a', 'b')",
    "crm_give_to_owner(array['table crm_sync_log'])",
    "crm_refuse_data_loss('something')",
    "crm_require_schema('public')",
  ])('may not call %s', async (call) => {
    await expectRefused(member.query(`select ${call}`), {
      code: '42501',
      message: `permission denied for function ${call.split('(')[0]}`,
    });
  });
});
