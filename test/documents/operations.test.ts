import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { credentialsConnect } from '../../src/credentials.js';
import {
  connectionDisconnect,
  connectionRequestSync,
  contactExport,
  contactExternalIdLink,
  outboundChangeAnnounce,
  syncBatchRecord,
  syncRunClaim,
} from '../../src/index.js';
import { contactErase, contactEraseAgain, ErasureKey, erasureList, verify } from '../../src/migrations.js';
import { type Agency, agencyWithOttoline } from '../erasure/agency.js';
import { createSamples } from '../queries/every-query.js';
import { connect } from '../support/connection.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { placesOf } from '../support/erasure.js';
import {
  beginLog,
  connectWithEvents,
  eventsOf,
  monthName,
  monthStart,
  partitionNames,
  pastName,
} from '../support/log-partitions.js';
import { blockWith, codeBlocks, statements } from './blocks.js';

const { pool } = useDatabase();

const pages = (await readdir(projectPath('docs/operations'))).toSorted();

beforeAll(async () => {
  await createSamples(pool);
});

describe('docs/operations', () => {
  test.each([
    ['README.md', 3],
    ['back-up.md', 2],
    ['data-requests.md', 2],
    ['erasure.md', 3],
    ['install.md', 1],
    ['monitor.md', 10],
    ['partitions.md', 5],
    ['roles.md', 3],
    ['upgrade.md', 6],
  ])('the %s page has %i blocks of statements', async (page, count) => {
    expect(await statements(page)).toHaveLength(count);
  });

  test.each(pages)('every statement of %s runs, in order', async (page) => {
    // The other pages name the users that this one creates.
    const users = page === 'roles.md' ? [] : [await blockWith('roles.md', 'create role web_user')];
    await rolledBack(pool, async (client) => {
      for (const sql of [...users, ...(await statements(page))]) await client.query(sql);
    });
  });

  test('a member of crm_reader can run the queries for readers', async () => {
    const sql = await blockWith('monitor.md', 'as overdue');
    expect(sql.split(';').length).toBeGreaterThan(4);
    await rolledBack(pool, async (client) => {
      await client.query('set local role crm_reader');
      await client.query(sql);
    });
  });

  test('the queries for readers find an unknown account, archived ids of one, and a record to decide on', async () => {
    const sql = await blockWith('monitor.md', 'as overdue');
    const part = (text: string) => sql.split(';').find((each) => each.includes(text)) ?? '';
    await rolledBack(pool, async (client) => {
      const { organisationId, contactIds } = await createTenant(client, 1);
      const found = async (text: string) =>
        (await client.query(part(text).replace('limit 20', ''))).rows.filter(
          (row) => row.organisation_id === organisationId,
        );
      const key = await connect(client, organisationId, 'street');
      expect(await found('and account is null')).toMatchObject([
        { id: key.connectionId, provider: 'street' },
      ]);

      const [run] = (await syncRunClaim(client, { worker: 'test', limit: 1000 })).filter(
        ({ connectionId }) => connectionId === key.connectionId,
      );
      const record = { direction: 'inbound', entityType: 'person', externalId: 'back' } as const;
      const error = { kind: 'conflict', retryable: false, message: 'Test.' } as const;
      const events = [{ ...record, status: 'error', error }] as const;
      await syncBatchRecord(client, { ...(run ?? expect.unreachable()), batchNumber: 1, events });
      expect(await found("and kind = 'conflict'")).toMatchObject([{ record_id: 'back' }]);

      const link = { organisationId, provider: 'street', entityType: 'person', externalId: '1' } as const;
      await contactExternalIdLink(client, { ...link, contactId: contactIds[0] as string });
      await connectionDisconnect(client, key);
      const credentials = sampleCredentials.street;
      await credentialsConnect(client, await testKeyRing(), {
        organisationId,
        provider: 'street',
        credentials,
        account: 'live',
        idsOfUnknownAccount: 'archive',
      });
      expect(await found('and account is null')).toEqual([]);
      expect(await found('where connection.account is null')).toMatchObject([
        { provider: 'street', ids: '1' },
      ]);
    });
  });

  test('the checks find nothing in a new installation, and find what was tampered with', async () => {
    const protection = await blockWith('monitor.md', 'row-level security is off');
    const grants = await blockWith('roles.md', 'string_agg(privilege_type');
    await rolledBack(pool, async (client) => {
      expect((await client.query(protection)).rows).toEqual([]);
      expect((await client.query(grants)).rows).toEqual([]);
      await client.query('alter table crm_sync_log disable trigger crm_sync_log_refuse_change');
      await client.query('alter table crm_sync_runs disable row level security');
      await client.query('grant truncate on crm_sync_runs to public');
      const found = (await client.query(protection)).rows.map((row) => row.found);
      expect(found).toEqual(expect.arrayContaining(['crm_sync_log', 'crm_sync_runs']));
      expect((await client.query(grants)).rows).toMatchObject([{ relname: 'crm_sync_runs' }]);
    });
  });

  test('a paused CRM is not claimed, not even after a webhook, until it is resumed', async () => {
    const pause = await blockWith('README.md', 'paused_at = now()');
    const resume = await blockWith('README.md', 'paused_at = null');
    await rolledBack(pool, async (client) => {
      await client.query('update crm_connections set next_sync_at = now()');
      const { organisationId } = await createTenant(client);
      const { connectionId } = await connect(client, organisationId, 'reapit');
      const claimed = async () => {
        await client.query('savepoint claim');
        const runs = await syncRunClaim(client, { worker: 'test', limit: 100, leaseSeconds: 300 });
        await client.query('rollback to claim');
        return runs.some((run) => run.connectionId === connectionId);
      };
      const isClaimed = async (sql: string) => {
        await client.query(sql);
        return claimed();
      };
      expect(await claimed()).toBe(true);
      expect(await isClaimed(pause)).toBe(false);
      expect((await client.query(pause)).rowCount).toBe(0);
      await connectionRequestSync(client, { organisationId, connectionIds: [connectionId] });
      await outboundChangeAnnounce(client);
      expect(await claimed()).toBe(false);
      await connectionRequestSync(client, { organisationId, connectionIds: [connectionId], isUrgent: true });
      expect(await claimed()).toBe(false);
      expect(await isClaimed(resume)).toBe(true);
    });
  });

  test("a detached table does not count as next month's partition", async () => {
    const query = await blockWith('monitor.md', 'next_month_is_there');
    await rolledBack(pool, async (client) => {
      expect((await client.query(query)).rows).toMatchObject([{ next_month_is_there: true }]);
      const { rows } = await client.query(
        "select 'crm_sync_log_' || to_char(now() at time zone 'utc' + interval '1 month', 'YYYY_MM') as name",
      );
      await client.query(`alter table crm_sync_log detach partition ${rows[0].name}`);
      expect((await client.query(query)).rows).toMatchObject([{ next_month_is_there: false }]);
    });
  });
});

describe('the statements that keep a month', () => {
  const { url } = useDatabase();

  test('leave no gap, nothing for verify to report, and the rows in the renamed table', async () => {
    const blocks = await codeBlocks('docs/operations/partitions.md');
    const { text = '' } = blocks.find((block) => block.text.includes('kept_sync_log_2026_11')) ?? {};
    const parts = text.split('\n\n');
    expect(parts).toHaveLength(2);
    await withClient(url, async (client) => {
      await beginLog(client, 5);
      const { connectionId } = await connectWithEvents(client, [-6, -5, -4, -3]);
      const keep = async (part = '', ahead = 0) => {
        const month = monthStart(ahead).slice(0, 7).replace('-', '_');
        for (const sql of part.replace(/^--.*/gm, '').split(';')) {
          if (sql.trim() !== '') await client.query(sql.replaceAll('2026_11', month));
        }
      };

      // The first month has no partition before it, the second has.
      await keep(parts[1], -5);
      expect((await partitionNames(client)).slice(0, 2)).toEqual([pastName(-4), monthName(-4)]);
      await keep(parts[0], -4);
      await keep(parts[1], -4);
      expect((await partitionNames(client)).slice(0, 2)).toEqual([pastName(-3), monthName(-3)]);

      expect((await verify(client)).differences).toEqual([]);
      expect(await eventsOf(client, connectionId)).toEqual(['OXF-3']);
      const kept = async (ahead: number) => {
        const name = monthName(ahead).replace('crm_', 'kept_');
        return (await client.query(`select external_id as id from ${name} order by occurred_at`)).rows;
      };
      expect(await kept(-5)).toEqual([{ id: 'OXF-6' }, { id: 'OXF-5' }]);
      expect(await kept(-4)).toEqual([{ id: 'OXF-4' }]);
    });
  });
});

const key = ErasureKey.parse(Buffer.alloc(32, 'test').toString('base64'));

describe('a person whose contact the host does not have', () => {
  const { pool, url } = useDatabase();

  test('is found by the id of a record, before and after the contact is deleted', async () => {
    const { organisationId, ottoline, hers } = await agencyWithOttoline(pool);
    const landlord = hers.find((text) => text.startsWith('LANDLORD')) ?? '';
    const query = (await blockWith('data-requests.md', 'contact_external_id_changes'))
      .replaceAll('018f7a5e-0000-7000-8000-000000000001', organisationId)
      .replaceAll('OXF18000001', landlord);
    const found = [{ organisation_id: organisationId, contact_id: ottoline }];
    expect((await pool.query(query)).rows).toEqual(found);
    await pool.query('delete from contacts where id = $1', [ottoline]);
    expect((await pool.query(query)).rows).toEqual(found);
  });

  test('is exported and erased by a contact to which the record is linked for it', async () => {
    const { organisationId } = await createTenant(pool);
    await connect(pool, organisationId, 'reapit');
    const externalId = `FAILED-${randomUUID().slice(0, 8)}`;
    const record = { direction: 'inbound', entityType: 'contact', externalId } as const;
    const error = { kind: 'validation', retryable: false, message: 'It has no name.' } as const;
    const run = (await syncRunClaim(pool, { worker: 'test', limit: 100 })).find(
      (each) => each.organisationId === organisationId,
    );
    await syncBatchRecord(pool, {
      ...(run ?? expect.unreachable()),
      batchNumber: 1,
      events: [{ ...record, status: 'error', error }],
    });
    expect(await placesOf(pool, externalId)).toHaveLength(2);

    const contact = { organisationId, contactId: randomUUID() };
    await withClient(url, async (client) => {
      const link = async () => {
        await client.query('begin');
        await client.query('insert into contacts (organisation_id, id, name) values ($1, $2, $3)', [
          organisationId,
          contact.contactId,
          'Edmund',
        ]);
        await contactExternalIdLink(client, {
          ...contact,
          provider: 'reapit',
          entityType: 'contact',
          externalId,
        });
      };
      await link();
      let text = '';
      for await (const piece of contactExport(client, contact)) text += piece;
      await client.query('rollback');
      expect(JSON.parse(text)).toMatchObject({
        events: [{ externalId }],
        failures: [{ recordId: externalId }],
      });

      await link();
      await contactErase(client, key, contact);
      await client.query('delete from contacts where id = $1', [contact.contactId]);
      await client.query('commit');
    });
    expect(await placesOf(pool, externalId)).toEqual([]);
  });
});

describe('a month that is kept under another name', () => {
  const { pool, url } = useDatabase();

  test('is erased in once it has its old name back, also afterwards with the proof', async () => {
    const month = monthName(0);
    const { text = '' } =
      (await codeBlocks('docs/operations/erasure.md')).find((block) =>
        block.text.includes('rename to crm_sync_log_2026_11'),
      ) ?? {};
    const [giveBack = '', rename = ''] = [...text.matchAll(/^psql -c '([^']*)'$/gm)].map(([, sql = '']) =>
      sql.replaceAll('crm_sync_log_2026_11', month).replaceAll('kept_sync_log_2026_11', 'kept_month'),
    );
    const [first, second] = [await agencyWithOttoline(pool), await agencyWithOttoline(pool)];
    await pool.query(`alter table crm_sync_log detach partition ${month}`);
    await pool.query('select crm_sync_log_ensure_past()');
    await pool.query(rename);
    const left = async ({ hers }: Agency) =>
      (await Promise.all(hers.map((text) => placesOf(pool, text)))).flat();
    await withClient(url, async (client) => {
      await pool.query(giveBack);
      await contactErase(client, key, { organisationId: first.organisationId, contactId: first.ottoline });
      await pool.query(rename);
      expect(await left(first)).toEqual([]);

      await contactErase(client, key, { organisationId: second.organisationId, contactId: second.ottoline });
      expect(await left(second)).not.toEqual([]);
      await pool.query(giveBack);
      const proofs = await erasureList(client);
      expect((await contactEraseAgain(client, key, proofs)).map(({ outcome }) => outcome)).toEqual([
        'absent',
        'erased',
      ]);
      await pool.query(rename);
      expect(await left(second)).toEqual([]);
    });
  });
});

describe('a month that was restored, from before a column was added', () => {
  const { pool, url } = useDatabase();

  test('is erased in once it has the owner and the columns of the log', async () => {
    const month = monthName(0);
    const { text = '' } =
      (await codeBlocks('docs/operations/erasure.md')).find((block) => block.text.includes('add column')) ??
      {};
    const repairs = [...text.matchAll(/^psql -c '([^']*)'/gm)].map(([, sql = '']) =>
      sql.replaceAll('crm_sync_log_2025_09', month).replaceAll('crm_deploy', 'current_user'),
    );
    expect(repairs).toHaveLength(2);
    const { organisationId, ottoline, hers } = await agencyWithOttoline(pool);
    await pool.query(`alter table crm_sync_log detach partition ${month}`);
    await pool.query(`alter table ${month} drop column reason`);
    await pool.query(`alter table ${month} owner to crm_reader`);
    expect((await pool.query(`select from ${month} where internal_id = $1`, [ottoline])).rowCount).not.toBe(
      0,
    );
    await withClient(url, async (client) => {
      const erase = () => contactErase(client, key, { organisationId, contactId: ottoline });
      for (const sql of repairs) {
        await expect(erase()).rejects.toMatchObject({ code: 'CRM01' });
        await client.query(sql);
      }
      await erase();
    });
    expect((await Promise.all(hers.map((text) => placesOf(pool, text)))).flat()).toEqual([]);
  });
});
