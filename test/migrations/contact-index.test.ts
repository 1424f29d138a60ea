import { beforeAll, describe, expect, test } from 'vitest';
import { insertConnection } from '../support/connection.js';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { monthName } from '../support/log-partitions.js';
import { migrations } from '../support/migrations.js';

const { pool } = useDatabase('host');
const month = monthName(0);
const contactIndex = '(internal_id)';
const timeline = '(organisation_id, internal_id, occurred_at DESC, id DESC)';

const position = migrations.findIndex(({ file }) => file.startsWith('0056'));
const [added, replaced] = migrations.slice(position, position + 2);

beforeAll(async () => {
  for (const { up } of migrations.slice(0, position)) await pool.query(up);
});

/** The indexes of a table that find the events of a contact: their names, columns, and those they belong to. */
const indexesOf = (table: string) => `
  select
    index.indexrelid::regclass::text as name,
    substring(pg_get_indexdef(index.indexrelid) from '\\(.*?\\)') as columns,
    parent.inhparent::regclass::text as parent
  from pg_index as index
  left join pg_inherits as parent on parent.inhrelid = index.indexrelid
  where index.indrelid = '${table}'::regclass
    and pg_get_indexdef(index.indexrelid) ~ '\\((organisation_id, )?internal_id[,)]'
  order by columns`;

describe('the index of a contact’s events', () => {
  test('is replaced under its name, in the log and in each partition', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(`${added?.up}; ${replaced?.up}`);
      expect((await client.query(indexesOf('crm_sync_log'))).rows).toEqual([
        { name: 'crm_sync_log_internal_id_idx', columns: contactIndex, parent: null },
      ]);
      expect((await client.query(indexesOf(month))).rows).toEqual([
        { name: expect.any(String), columns: contactIndex, parent: 'crm_sync_log_internal_id_idx' },
      ]);
    });
  });

  test('is there twice between the two files', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(added?.up ?? '');
      expect((await client.query(indexesOf(month))).rows).toMatchObject([
        { columns: contactIndex, parent: 'crm_sync_log_contact_idx' },
        { columns: timeline, parent: 'crm_sync_log_internal_id_idx' },
      ]);
    });
  });

  test('is not taken over from a build that was interrupted', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(
        `create index ${month}_contact_idx on ${month} (internal_id) where internal_id is not null;
         update pg_index set indisvalid = false where indexrelid = '${month}_contact_idx'::regclass`,
      );
      await expect(client.query(added?.up ?? '')).rejects.toMatchObject({
        code: 'CRM01',
        message: `the build of an index was interrupted: public.${month}_contact_idx`,
        hint: expect.stringContaining(`drop index concurrently public.${month}_contact_idx`),
      });
    });
  });

  test('takes a third of the space of the earlier one, if each contact has three events a month', async () => {
    await rolledBack(pool, async (client) => {
      const { organisationId } = await createTenant(client);
      const { connectionId } = await insertConnection(client, organisationId);
      await client.query(added?.up ?? '');
      await client.query(
        `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, internal_id, status)
         select $1, $2, 'inbound', 'contact', md5((number % 3000)::text)::uuid, 'success'
         from generate_series(1, 9000) as number`,
        [organisationId, connectionId],
      );
      const { rows } = await client.query<{ now: number; before: number }>(
        `select
           sum(pg_relation_size(inhrelid)) filter (where inhparent = 'crm_sync_log_contact_idx'::regclass)::float8 as now,
           sum(pg_relation_size(inhrelid)) filter (where inhparent = 'crm_sync_log_internal_id_idx'::regclass)::float8 as before
         from pg_inherits`,
      );
      const [{ now, before } = { now: 0, before: 0 }] = rows;
      expect(now).toBeGreaterThan(0);
      expect(now / before).toBeLessThan(0.4);
    });
  });

  test('becomes the earlier one by going down, which uses one that was built beforehand', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(`${added?.up}; ${replaced?.up}`);
      await client.query(
        `create index built on ${month} (organisation_id, internal_id, occurred_at desc, id desc)
         where internal_id is not null`,
      );
      await client.query(`${replaced?.down}; ${added?.down}`);
      expect((await client.query(indexesOf(month))).rows).toEqual([
        { name: 'built', columns: timeline, parent: 'crm_sync_log_internal_id_idx' },
      ]);
    });
  });
});
