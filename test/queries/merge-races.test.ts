import { randomInt } from 'node:crypto';
import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import {
  contactExternalIdLinkMany,
  contactExternalIdLock,
  contactExternalIdRepointMany,
  contactExternalIdUnlinkMany,
  contactMerge,
  contactMergeUndo,
  externalRecordCheckMany,
  externalRecordMergeMany,
  type Provider,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { tenantWithIds } from '../support/identity.js';
import { waitUntilBlocked } from '../support/locks.js';

const { url, pool } = useDatabase();

type Tenant = Awaited<ReturnType<typeof tenantWithIds>>;

/** Runs `work` with a transaction of each of two sessions; both commit what it leaves open. */
async function withTwo(work: (one: pg.PoolClient, other: pg.PoolClient) => Promise<void>): Promise<void> {
  const clients = [await pool.connect(), await pool.connect()] as const;
  try {
    for (const client of clients) await client.query('begin');
    await work(...clients);
  } finally {
    for (const client of clients) {
      await client.query('rollback');
      client.release();
    }
  }
}

describe('a merge of contacts', () => {
  test('that waits for a link moves that, too', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    const { organisationId, link } = tenant;
    await withTwo(async (worker, merger) => {
      await contactExternalIdLock(worker, { organisationId, providers: ['reapit', 'alto'] });
      await contactExternalIdLinkMany(worker, { organisationId, links: [link(0, 'alto contact 7')] });
      const merge = contactMerge(merger, tenant.merge(0, 1));
      await waitUntilBlocked(url, merger);
      await worker.query('commit');
      expect((await merge).records.map(tenant.nameOf)).toEqual(['alto contact 7', 'reapit contact 1']);
      await merger.query('commit');
    });
    expect(await tenant.ids(1)).toEqual(['*alto contact 7', '*reapit contact 1']);
  });

  test('keeps the host from deleting either contact, and deadlocks with no deletion', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    const { organisationId, link, contact } = tenant;
    await withTwo(async (merger, host) => {
      await contactMerge(merger, tenant.merge(0, 1));
      const deletion = host.query('delete from contacts where id = $1', [contact(0)]);
      await waitUntilBlocked(url, host);
      // Its foreign key locks the contact, which the deletion wants, too.
      await contactExternalIdLinkMany(merger, { organisationId, links: [link(1, 'alto contact 7')] });
      await merger.query('commit');
      expect((await deletion).rowCount).toBe(1);
      await host.query('commit');
    });
    expect(await tenant.ids(1)).toEqual(['*alto contact 7', '*reapit contact 1']);
  });

  test('locks the contacts before their ids, so that a deletion that waits for either is no deadlock', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 2'], ['reapit contact 1']);
    const batch = await pool.connect();
    try {
      await batch.query('begin');
      await batch.query(
        "select from contact_external_ids where organisation_id = $1 and external_id = '2' for update",
        [tenant.organisationId],
      );
      await withTwo(async (merger, host) => {
        // It has locked the first id by now, and waits for the second.
        const merge = contactMerge(merger, tenant.merge(0, 1));
        await waitUntilBlocked(url, merger);
        const deletion = host.query('delete from contacts where id = $1', [tenant.contact(1)]);
        await waitUntilBlocked(url, host);
        await batch.query('commit');
        expect((await merge).records).toMatchObject([{ externalId: '2', outcome: 'became_alias' }]);
        await merger.query('commit');
        expect((await deletion).rowCount).toBe(1);
        await host.query('commit');
      });
    } finally {
      batch.release();
    }
    expect([await tenant.ids(0), await tenant.ids(1)]).toEqual([[], []]);
  });

  test('that waits for the deletion of a contact is refused', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    await withTwo(async (host, merger) => {
      await host.query('delete from contacts where id = $1', [tenant.contact(1)]);
      const merge = contactMerge(merger, tenant.merge(0, 1)).catch(({ code }) => code);
      await waitUntilBlocked(url, merger);
      await host.query('commit');
      expect(await merge).toBe('wrong_tenant');
    });
    expect(await tenant.ids(0)).toEqual(['*reapit contact 1']);
  });

  test('does not deadlock with a worker that changes the contact first and links it then, as 1.3.0 does', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    const { organisationId, link, contact } = tenant;
    await withTwo(async (worker, merger) => {
      await worker.query("update contacts set name = 'Test Name' where id = $1", [contact(0)]);
      await contactExternalIdLock(merger, { organisationId, providers: ['alto', 'reapit'] });
      const linked = contactExternalIdLinkMany(worker, {
        organisationId,
        links: [link(0, 'alto contact 7')],
      });
      await waitUntilBlocked(url, worker);
      await contactMerge(merger, tenant.merge(0, 1));
      await merger.query('commit');
      expect(await linked).toEqual([{ outcome: 'linked' }]);
      await worker.query('commit');
    });
    expect([await tenant.ids(0), await tenant.ids(1)]).toEqual([['*alto contact 7'], ['*reapit contact 1']]);
  });

  test('drops a failed push that fails again meanwhile', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    const { organisationId, contact } = tenant;
    await connect(pool, organisationId);
    await pool.query(
      `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error,
         first_failed_at, last_failed_at, next_attempt_at)
       select organisation_id, id, 'outbound', 'contact', $2, 1,
         '{"kind": "timeout", "retryable": true, "message": "No answer."}', now(), now(), now()
       from crm_connections where organisation_id = $1`,
      [organisationId, contact(0)],
    );
    await withTwo(async (worker, merger) => {
      await worker.query(
        `update crm_sync_failures set attempts = 2, last_failed_at = last_failed_at + interval '1 minute'
         where organisation_id = $1`,
        [organisationId],
      );
      const merge = contactMerge(merger, tenant.merge(0, 1));
      await waitUntilBlocked(url, merger);
      await worker.query('commit');
      await merge;
      await merger.query('commit');
    });
    const { rows } = await pool.query('select from crm_sync_failures where organisation_id = $1', [
      organisationId,
    ]);
    expect(rows).toEqual([]);
  });

  test('and one in the opposite direction follow each other', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    await withTwo(async (one, other) => {
      await contactMerge(one, tenant.merge(0, 1));
      const second = contactMerge(other, tenant.merge(1, 0));
      await waitUntilBlocked(url, other);
      await one.query('commit');
      expect((await second).records).toHaveLength(2);
      await other.query('commit');
    });
    expect(await tenant.ids(0)).toEqual(['*reapit contact 2', 'reapit contact 1']);
  });

  test('is undone once by two sessions that undo it at the same time', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const { operationId } = await contactMerge(pool, tenant.merge(0, 1));
    await withTwo(async (one, other) => {
      expect((await contactMergeUndo(one, tenant.undo(operationId))).outcome).toBe('undone');
      const second = contactMergeUndo(other, tenant.undo(operationId));
      await waitUntilBlocked(url, other);
      await one.query('commit');
      expect((await second).outcome).toBe('undone_before');
      await other.query('commit');
    });
    expect([await tenant.ids(0), await tenant.ids(1)]).toEqual([
      ['*reapit contact 1'],
      ['*reapit contact 2'],
    ]);
  });
});

test.each<[string, (tenant: Tenant, client: pg.ClientBase, operationId: string) => Promise<unknown>]>([
  ['a merge of contacts', (tenant, client) => contactMerge(client, tenant.merge(0, 1))],
  [
    'the undo of a merge',
    (tenant, client, operationId) => contactMergeUndo(client, tenant.undo(operationId)),
  ],
  [
    'a merge of records',
    ({ organisationId, recordMerge }, client) =>
      externalRecordMergeMany(client, {
        organisationId,
        provider: 'reapit',
        merges: [recordMerge('reapit contact 9', 'reapit contact 1')],
      }),
  ],
  [
    'a link',
    ({ organisationId, link }, client) =>
      contactExternalIdLinkMany(client, {
        organisationId,
        links: [link(0, 'reapit contact 9'), link(0, 'reapit contact 1')],
      }),
  ],
  [
    'unlinking',
    ({ organisationId, link }, client) =>
      contactExternalIdUnlinkMany(client, {
        organisationId,
        links: [link(0, 'reapit contact 9'), link(0, 'reapit contact 1')],
      }),
  ],
  [
    're-pointing',
    ({ organisationId, record, contact }, client) =>
      contactExternalIdRepointMany(client, {
        organisationId,
        moves: ['reapit contact 9', 'reapit contact 1'].map((name, index) => ({
          ...record(name),
          fromContactId: contact(0),
          toContactId: contact(index + 1),
        })),
      }),
  ],
])(
  '%s locks a primary id and an alias in the order of a worker that checks records, and does not deadlock with it',
  async (name, change) => {
    // The alias comes first in the order of the keys.
    const tenant = await tenantWithIds(pool, ['reapit contact 9', 'reapit contact 1'], [], []);
    const { organisationId } = tenant;
    const merge = name.startsWith('the undo') ? await contactMerge(pool, tenant.merge(0, 1)) : undefined;
    const check = (client: pg.ClientBase, externalId: string) =>
      externalRecordCheckMany(client, {
        organisationId,
        provider: 'reapit',
        records: [{ entityType: 'contact', externalId }],
      });
    await withTwo(async (worker, other) => {
      await check(worker, '1');
      const changed = change(tenant, other, merge?.operationId ?? '');
      await waitUntilBlocked(url, other);
      const checked = check(worker, '9');
      await Promise.all([changed, checked.then(() => worker.query('commit'))]);
      await other.query('commit');
    });
  },
);

test('a merge of records that waits for a link finds its contact', async () => {
  const tenant = await tenantWithIds(pool, []);
  const { organisationId, link, contact } = tenant;
  await withTwo(async (worker, merger) => {
    await contactExternalIdLinkMany(worker, { organisationId, links: [link(0, 'reapit contact 1')] });
    const merge = externalRecordMergeMany(merger, {
      organisationId,
      provider: 'reapit',
      merges: [tenant.recordMerge('reapit contact 9', 'reapit contact 1')],
    });
    await waitUntilBlocked(url, merger);
    await worker.query('commit');
    expect(await merge).toEqual([{ outcome: 'merged', contactId: contact(0) }]);
    await merger.query('commit');
  });
  expect(await tenant.ids(0)).toEqual(['*reapit contact 1', 'reapit contact 9']);
});

/** Deadlocks that a transaction of an earlier release, or the host's deletion of contacts, may meet. */
const retryable = new Set(['40P01', '40001']);

test('twenty sessions that link, unlink, merge and undo at random keep the tables and the history consistent', async () => {
  const providers: Provider[] = ['reapit', 'alto'];
  const tenants = await Promise.all([createTenant(pool, 12), createTenant(pool, 12)]);
  const operations: string[][] = tenants.map(() => []);
  const done: Record<string, number> = {};
  const failed: Record<string, number> = {};
  const until = Date.now() + 6_000;
  const count = (counts: Record<string, number>, name: string) => {
    counts[name] = (counts[name] ?? 0) + 1;
  };

  async function step(which: number): Promise<void> {
    const { organisationId, contactIds } = tenants[which] as (typeof tenants)[number];
    const contact = () => contactIds[randomInt(contactIds.length)] as string;
    const provider = providers[randomInt(2)] as Provider;
    const record = () => ({
      entityType: randomInt(2) ? 'contact' : 'landlord',
      externalId: String(randomInt(12)),
    });
    const links = Array.from({ length: 1 + randomInt(3) }, () => ({
      provider,
      ...record(),
      contactId: contact(),
    }));
    switch (randomInt(6)) {
      case 0:
        await contactExternalIdUnlinkMany(pool, { organisationId, links });
        return count(done, 'unlink');
      case 1: {
        const [fromContactId, intoContactId] = [contact(), contact()];
        if (fromContactId === intoContactId) return;
        const { operationId, records } = await contactMerge(pool, {
          organisationId,
          fromContactId,
          intoContactId,
        });
        if (records.length > 0) operations[which]?.push(operationId);
        return count(done, 'merge');
      }
      case 2: {
        const merges = [
          { from: record(), into: record() },
          { from: record(), into: record() },
        ];
        for (const { outcome } of await externalRecordMergeMany(pool, { organisationId, provider, merges }))
          count(done, `records ${outcome}`);
        return;
      }
      case 3: {
        const operationId = operations[which]?.at(-1 - randomInt(3));
        if (operationId === undefined) return;
        const { outcome } = await contactMergeUndo(pool, { organisationId, operationId });
        return count(done, `undo ${outcome}`);
      }
      default:
        await contactExternalIdLinkMany(pool, {
          organisationId,
          links,
          ifContactTaken: randomInt(3) ? 'alias' : 'refuse',
        });
        return count(done, 'link');
    }
  }

  await Promise.all(
    Array.from({ length: 20 }, async (_, session) => {
      while (Date.now() < until) {
        await step(session % 2).catch((error) => {
          const code = error.code ?? String(error);
          if (!retryable.has(code)) throw error;
          count(failed, code);
        });
      }
    }),
  );
  expect(failed).toEqual({});
  for (const name of [
    'link',
    'unlink',
    'merge',
    'records merged',
    'records contacts_differ',
    'undo undone',
    'undo refused',
  ])
    expect(done[name], `${name} of ${JSON.stringify(done)}`).toBeGreaterThan(0);

  const offenders = async (query: string) => (await pool.query(query)).rows;
  // No id is in both tables.
  expect(
    await offenders(`
      select organisation_id, provider, entity_type, external_id
      from contact_external_records group by 1, 2, 3, 4 having count(*) > 1`),
  ).toEqual([]);
  // A contact with an id that was not merged has a primary id, which is in its organisation.
  expect(
    await offenders(`
      select alias.* from contact_external_id_aliases as alias
      where remote_state <> 'merged' and not exists (
        select from contact_external_ids as mapping
        where (mapping.organisation_id, mapping.provider, mapping.contact_id)
          = (alias.organisation_id, alias.provider, alias.contact_id)
      )`),
  ).toEqual([]);
  // What the history says last of an id is so, unless it was linked since.
  expect(
    await offenders(`
      select latest.*, record.contact_id, record.is_primary as is_primary_now
      from (
        select distinct on (organisation_id, provider, entity_type, external_id)
          organisation_id, provider, entity_type, external_id, kind, to_contact_id, is_primary
        from contact_external_id_changes
        where external_id is not null
        order by organisation_id, provider, entity_type, external_id, id desc
      ) as latest
      left join contact_external_records as record using (organisation_id, provider, entity_type, external_id)
      where to_contact_id is not null
        and (record.contact_id, record.is_primary) is distinct from (to_contact_id, latest.is_primary)`),
  ).toEqual([]);
  // Every change is of contacts of its own organisation.
  expect(
    await offenders(`
      select change.*
      from contact_external_id_changes as change
      inner join contacts on contacts.id in (from_contact_id, to_contact_id)
      where contacts.organisation_id <> change.organisation_id`),
  ).toEqual([]);
}, 60_000);
