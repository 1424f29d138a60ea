import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { createTenant, insert, rolledBack, useDatabase } from '../support/database.js';
import { expectRefused } from '../support/refusals.js';

const { pool } = useDatabase();

const primaries = 'contact_external_ids';
const aliases = 'contact_external_id_aliases';

/** In a transaction that is rolled back: a function that inserts a row, and one that counts those of a table. */
async function withTables(
  work: (tools: {
    client: pg.PoolClient;
    contactIds: string[];
    add: (
      table: string,
      contact: number,
      externalId: string,
      more?: Record<string, unknown>,
    ) => Promise<unknown>;
    idsIn: (table: string) => Promise<string[]>;
  }) => Promise<void>,
): Promise<void> {
  await rolledBack(pool, async (client) => {
    const { organisationId, contactIds } = await createTenant(client, 3);
    await work({
      client,
      contactIds,
      add: (table, contact, externalId, more = {}) =>
        insert(client, table, {
          organisation_id: organisationId,
          provider: 'reapit',
          entity_type: 'contact',
          external_id: externalId,
          contact_id: contactIds[contact],
          ...more,
        }),
      idsIn: async (table) => {
        const { rows } = await client.query(
          `select external_id from ${table} where organisation_id = $1 order by 1`,
          [organisationId],
        );
        return rows.map(({ external_id }) => external_id);
      },
    });
  });
}

const merged = { remote_state: 'merged', merged_into_entity_type: 'contact', merged_into_external_id: '9' };

describe('the guard of the primary ids', () => {
  test.each([
    ["another contact's alias", 1, {}],
    ['an alias of the same contact, which has a primary id', 0, {}],
  ])('does not write %s, and raises no error', async (_, contact, more) => {
    await withTables(async ({ add, idsIn }) => {
      await add(primaries, 0, '1');
      await add(aliases, 0, '2');
      expect(await add(primaries, contact, '2', more)).toBeUndefined();
      expect([await idsIn(primaries), await idsIn(aliases)]).toEqual([['1'], ['2']]);
    });
  });

  test('keeps a merged alias of a contact without a primary id', async () => {
    await withTables(async ({ add, idsIn }) => {
      await add(aliases, 0, '2', merged);
      expect(await add(primaries, 0, '2')).toBeUndefined();
      expect([await idsIn(primaries), await idsIn(aliases)]).toEqual([[], ['2']]);
    });
  });

  test('makes the alias of a contact without a primary id its primary id, with its state', async () => {
    await withTables(async ({ add, idsIn }) => {
      const state = { first_seen_at: '2026-01-02T00:00:00Z', remote_state: 'deleted', remote_version: '"7"' };
      await add(aliases, 0, '2', state);
      expect(await add(primaries, 0, '2')).toMatchObject({
        first_seen_at: new Date('2026-01-02T00:00:00Z'),
        remote_state: 'deleted',
        remote_version: '"7"',
      });
      expect([await idsIn(primaries), await idsIn(aliases)]).toEqual([['2'], []]);
    });
  });

  test('does not let an update of the key take an alias', async () => {
    await withTables(async ({ client, contactIds, add, idsIn }) => {
      await add(primaries, 0, '1');
      await add(primaries, 1, '3');
      await add(aliases, 1, '2');
      const { rowCount } = await client.query(
        `update ${primaries} set external_id = '2' where contact_id = $1`,
        [contactIds[0]],
      );
      expect(rowCount).toBe(0);
      expect(await idsIn(primaries)).toEqual(['1', '3']);
    });
  });
});

describe('the guard of the aliases', () => {
  test('does not write a primary id, by insertion or by update, and raises no error', async () => {
    await withTables(async ({ client, add, idsIn }) => {
      await add(primaries, 0, '1');
      expect(await add(aliases, 0, '1')).toBeUndefined();
      expect(await add(aliases, 1, '1')).toBeUndefined();
      await add(aliases, 1, '2');
      const { rowCount } = await client.query(
        `update ${aliases} set external_id = '1' where external_id = '2'`,
      );
      expect(rowCount).toBe(0);
      expect([await idsIn(primaries), await idsIn(aliases)]).toEqual([['1'], ['2']]);
    });
  });
});

test.each(
  [primaries, aliases].flatMap((table) => ['repeatable read', 'serializable'].map((level) => [table, level])),
)('writing to %s at %s is refused', async (table, level) => {
  await rolledBack(pool, async (client) => {
    await client.query(`rollback; begin isolation level ${level}`);
    const { organisationId, contactIds } = await createTenant(client, 1);
    await expectRefused(
      insert(client, table as string, {
        organisation_id: organisationId,
        provider: 'reapit',
        entity_type: 'contact',
        external_id: '1',
        contact_id: contactIds[0],
      }),
      { code: '0A000', hint: 'Use READ COMMITTED.' },
    );
  });
});

// It would not see what is taken.
test.each([
  [primaries, aliases],
  [aliases, primaries],
])('writing to %s is refused to a role that has a policy there, but none on %s', async (table, other) => {
  await rolledBack(pool, async (client) => {
    const { organisationId, contactIds } = await createTenant(client, 2);
    const row = (contact: number) => ({
      organisation_id: organisationId,
      provider: 'reapit',
      entity_type: 'contact',
      external_id: '1',
      contact_id: contactIds[contact],
    });
    await insert(client, other, row(0));
    await client.query(`
      create role importer;
      grant usage on schema public to importer;
      grant select, insert on ${table}, ${other} to importer;
      create policy importer_policy on ${table} to importer using (true) with check (true);
      set local role importer;
    `);
    await expectRefused(insert(client, table, row(1)), {
      code: 'CRM05',
      message: 'user importer sees no organisation',
    });
  });
});

test('a statement that changes the organisation setting midway cannot link an alias to another contact', async () => {
  await rolledBack(pool, async (client) => {
    const { organisationId, contactIds } = await createTenant(client, 3);
    const row = { organisation_id: organisationId, provider: 'reapit', entity_type: 'contact' };
    await insert(client, aliases, { ...row, external_id: 'alias', contact_id: contactIds[0] });
    await client.query('set local role crm_app');
    await client.query('select crm_set_organisation($1)', [organisationId]);
    const linked = client.query(
      `insert into ${primaries} (organisation_id, provider, entity_type, external_id, contact_id)
       select $1, 'reapit', 'contact', case number when 1 then 'other' else 'alias' end,
         case
           when number = 1 then $2::uuid
           when set_config('crm_schema.organisation_id', $4, true) is not null then $3::uuid
         end
       from generate_series(1, 2) as number`,
      [organisationId, contactIds[1], contactIds[2], randomUUID()],
    );
    await expectRefused(linked, { code: 'CRM05' });
  });
});

describe('crm_lock_external_ids', () => {
  test.each([
    'null, array[$$reapit$$]',
    'gen_random_uuid(), null',
    'gen_random_uuid(), array[$$reapit$$, null]',
  ])('fails with CRM04 for (%s)', async (parameters) => {
    await expectRefused(pool.query(`select crm_lock_external_ids(${parameters})`), { code: 'CRM04' });
  });

  test('takes at most 1,024 locks, however many organisations a transaction links', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(
        `with tenant as (
           insert into organisations (id, name)
           select gen_random_uuid(), 'Test Agency' from generate_series(1, 9000)
           returning id
         )
         insert into contacts (id, organisation_id, name)
         select gen_random_uuid(), id, 'Test Person' from tenant`,
      );
      await client.query(
        `insert into ${primaries} (organisation_id, provider, entity_type, external_id, contact_id)
         select organisation_id, 'reapit', 'contact', '1', id from contacts where name = 'Test Person'
         on conflict do nothing`,
      );
      const { rows } = await client.query(
        "select count(*)::integer as locks from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
      );
      expect(rows[0].locks).toBeGreaterThan(900);
      expect(rows[0].locks).toBeLessThanOrEqual(1024);
    });
  });
});
