import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  connectionDisconnect,
  connectionListTotals,
  contactExternalIdLink,
  contactExternalIdLock,
  contactMerge,
  providers,
  syncLogRecord,
  syncRunClaim,
} from '../../src/index.js';
import { ErasureKey, erasureList, organisationErase } from '../../src/migrations.js';
import { connect, insertConnection } from '../support/connection.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { placesOf } from '../support/erasure.js';
import { tenantWithIds } from '../support/identity.js';
import { createDetachedMonth, leavingAgency, rowsOf } from '../support/leaving-agency.js';
import { waitUntilSomebodyIsBlocked } from '../support/locks.js';
import { expectRefused } from '../support/refusals.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const members = [
  useMember(database, 'crm_app'),
  useMember(database, 'crm_worker'),
  useMember(database, 'crm_reader'),
];

const key = ErasureKey.parse(Buffer.alloc(32, 7).toString('base64'));

beforeAll(() => createDetachedMonth(pool));

/** Erases with a connection of its own. */
async function erase(organisationId: string, batchSize?: number, onBatch?: (deleted: number) => void) {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    return await organisationErase(client, key, { organisationId, batchSize, onBatch });
  } finally {
    await client.end();
  }
}

/** One batch, by the function of the schema. */
const batchOf = (organisationId: string, size: number) => [
  'select * from crm_erase_organisation($1, $2, $3, $4)',
  [organisationId, key.hashOrganisation(organisationId), key.id, size],
];

/** Connects a CRM as a program that does not call `connectionConnect`, which waits for the erasure. */
const insertByHand = (organisationId: string) =>
  withClient(database.url, (client) => insertConnection(client, organisationId, 'alto'));

let leaving: Awaited<ReturnType<typeof leavingAgency>>;
beforeEach(async () => {
  leaving = await leavingAgency(pool);
});

describe('organisationErase', () => {
  test('leaves nothing of the organisation but the proofs, and touches no row of another', async () => {
    const staying = await leavingAgency(pool);
    const before = await rowsOf(pool, leaving.organisationId);
    // A table that the agency has no row in would be erased in name only.
    const { rows: tables } = await pool.query(
      'select distinct counted_as as name from crm_organisation_tables()',
    );
    const filled = [...before.keys()].map((name) => name.replace(/_\d{4}_\d\d$|_catch_all$/, ''));
    expect(filled).toEqual(expect.arrayContaining(tables.map(({ name }) => name)));
    const others = await rowsOf(pool, staying.organisationId);

    const batches: number[] = [];
    const { erasureId, counts } = await erase(leaving.organisationId, 30, (deleted) => batches.push(deleted));
    expect(Math.max(...batches)).toBe(30);
    expect([...(await rowsOf(pool, leaving.organisationId)).keys()]).toEqual(['crm_erasures']);
    expect(await rowsOf(pool, staying.organisationId)).toEqual(others);

    const numberOf = (held: Map<string, string[]>) => [...held.values()].flat().length;
    // One proof stays, of the contact that was erased before.
    expect(Object.values(counts).reduce((sum, count) => sum + count)).toBe(numberOf(before) - 1);
    expect(counts).toMatchObject({ crm_sync_log: 108, crm_connections: 1, crm_erasure_salts: 1 });
    const { rows } = await pool.query(
      "select id::text, subject_hashes, key_id, finished_at, counts from crm_erasures where organisation_id = $1 and subject = 'organisation'",
      [leaving.organisationId],
    );
    expect(rows).toEqual([
      {
        id: erasureId,
        subject_hashes: [key.hashOrganisation(leaving.organisationId)],
        key_id: key.id,
        finished_at: expect.any(Date),
        counts,
      },
    ]);
    // Its connections, contacts, account and records are nowhere, not even in columns of other names.
    for (const id of [leaving.connectionId, ...leaving.contactIds])
      expect(await placesOf(pool, id)).toEqual([]);
    const places = await placesOf(pool, leaving.organisationId);
    expect(places.every((place) => place.startsWith('crm_erasures '))).toBe(true);

    await pool.query('delete from contacts where organisation_id = $1', [leaving.organisationId]);
    await pool.query('delete from organisations where id = $1', [leaving.organisationId]);
  });

  test('empties one table in a transaction, the log first', async () => {
    const emptied: string[] = [];
    for (;;) {
      const { rows } = await pool.query(...(batchOf(leaving.organisationId, 30) as [string, unknown[]]));
      emptied.push(rows[0].emptied);
      if (rows[0].is_finished) break;
    }
    const last = emptied.findLastIndex((name) => name.startsWith('crm_sync_log'));
    expect(emptied.slice(0, last + 1).every((name) => name.startsWith('crm_sync_log'))).toBe(true);
    expect(emptied.filter((name) => name.startsWith('crm_sync_log')).length).toBeGreaterThan(5);
    expect(emptied.at(-1)).toBe('crm_connections');
  });

  test('goes on with the same proof after an interruption', async () => {
    // The last one of a month has fewer.
    for (let batch = 0; batch < 3; batch += 1)
      await pool.query(...(batchOf(leaving.organisationId, 20) as [string, unknown[]]));
    const { rows } = await pool.query(
      "select id::text, finished_at, counts from crm_erasures where organisation_id = $1 and subject = 'organisation'",
      [leaving.organisationId],
    );
    expect(rows).toMatchObject([{ finished_at: null, counts: { crm_sync_log: 54 } }]);
    const proof = async () =>
      (await withClient(database.url, erasureList)).find((each) => each.erasureId === rows[0].id);
    expect(await proof()).toMatchObject({ subject: 'organisation', finishedAt: null });
    const { erasureId, counts } = await erase(leaving.organisationId);
    expect(erasureId).toBe(rows[0].id);
    expect(counts).toMatchObject({ crm_sync_log: 108 });
    expect(await proof()).toMatchObject({ finishedAt: expect.stringMatching(/^20.*Z$/) });
  });

  test('of an organisation of which nothing is kept, writes no proof', async () => {
    const organisationId = randomUUID();
    expect(await erase(organisationId)).toEqual({ erasureId: null, counts: {} });
    await erase(leaving.organisationId);
    const proofs = await rowsOf(pool, leaving.organisationId);
    expect(await erase(leaving.organisationId)).toEqual({ erasureId: null, counts: {} });
    expect(await rowsOf(pool, leaving.organisationId)).toEqual(proofs);
  });

  test('refuses while a CRM is connected, also between two batches', async () => {
    await pool.query(...(batchOf(leaving.organisationId, 20) as [string, unknown[]]));
    const again = await connect(pool, leaving.organisationId, 'alto');
    const before = await rowsOf(pool, leaving.organisationId);
    await expectRefused(erase(leaving.organisationId), {
      code: 'CRM04',
      message: 'the organisation is still connected to alto',
    });
    expect(await rowsOf(pool, leaving.organisationId)).toEqual(before);
    await connectionDisconnect(pool, again);
    expect((await erase(leaving.organisationId)).counts).toMatchObject({ crm_connections: 2 });
  });

  test('refuses if a CRM was connected by hand while its last batch waited, and loses nothing', async () => {
    const { organisationId, connectionId } = leaving;
    const holder = await pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from crm_connections where id = $1 for key share', [connectionId]);
      const erased = erase(organisationId);
      const refused = expectRefused(erased, {
        code: 'CRM04',
        message: 'the organisation is still connected to alto',
      });
      await waitUntilSomebodyIsBlocked(pool);
      const { connectionId: connected } = await insertByHand(organisationId);
      await holder.query('commit');
      await refused;
      const { rows } = await pool.query(
        'select id, status, credentials is not null as "hasCredentials" from crm_connections where organisation_id = $1 order by connected_at',
        [organisationId],
      );
      expect(rows).toEqual([
        { id: connectionId, status: 'disconnected', hasCredentials: false },
        { id: connected, status: 'active', hasCredentials: true },
      ]);
    } finally {
      await holder.query('rollback');
      holder.release();
    }
  });

  test('refuses if a CRM was connected by hand and disconnected while its last batch waited, and erases it the next time', async () => {
    const { organisationId, connectionId } = leaving;
    const holder = await pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from crm_connections where id = $1 for key share', [connectionId]);
      const refused = expectRefused(erase(organisationId), {
        code: 'CRM04',
        message: 'the organisation was connected to alto meanwhile',
      });
      await waitUntilSomebodyIsBlocked(pool);
      await connectionDisconnect(pool, await insertByHand(organisationId));
      await holder.query('commit');
      await refused;
      expect((await rowsOf(pool, organisationId)).get('crm_connections')).toHaveLength(2);
      expect((await erase(organisationId)).counts).toMatchObject({ crm_connections: 2 });
    } finally {
      await holder.query('rollback');
      holder.release();
    }
  });

  test('keeps whoever connects a CRM waiting for its last batch, and leaves that connection', async () => {
    const { organisationId, connectionId } = leaving;
    const holder = await pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from crm_connections where id = $1 for key share', [connectionId]);
      const erased = erase(organisationId);
      await waitUntilSomebodyIsBlocked(pool);
      let isConnected = false;
      const connecting = connect(pool, organisationId, 'alto').finally(() => {
        isConnected = true;
      });
      await holder.query('select pg_sleep(0.3)');
      expect(isConnected).toBe(false);
      await holder.query('commit');
      expect((await erased).counts).toMatchObject({ crm_connections: 1 });
      const connected = await connecting;
      const { rows } = await pool.query('select id from crm_connections where organisation_id = $1', [
        organisationId,
      ]);
      expect(rows).toEqual([{ id: connected.connectionId }]);
    } finally {
      await holder.query('rollback');
      holder.release();
    }
  });

  test('refuses while credentials have still to be revoked', async () => {
    const pending = await connect(pool, leaving.organisationId, 'alto');
    await connectionDisconnect(pool, { ...pending, revokeWithinSeconds: 3600 });
    await expectRefused(erase(leaving.organisationId), {
      code: 'CRM04',
      message: /at alto have still to be revoked/,
    });
  });

  test('names a detached month that it cannot search, and erases nothing', async () => {
    await rolledBack(pool, async (client) => {
      await client.query('create table crm_sync_log_2019_12 (organisation_id uuid)');
      await expectRefused(client.query(...(batchOf(leaving.organisationId, 20) as [string, unknown[]])), {
        code: 'CRM01',
        message: /crm_sync_log_2019_12/,
      });
    });
  });

  test('leaves the log append-only for the owner, later in the same transaction', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(...(batchOf(leaving.organisationId, 20) as [string, unknown[]]));
      await expectRefused(client.query('delete from crm_sync_log'), { code: 'CRM02' });
    });
  });

  test('refuses a pool, an open transaction, and a batch of no rows', async () => {
    const { organisationId } = leaving;
    const refused = (code: string) => expect.objectContaining({ code });
    await expect(organisationErase(pool as never, key, { organisationId })).rejects.toEqual(
      refused('invalid_input'),
    );
    await expect(erase(organisationId, 0)).rejects.toThrow(/batchSize/);
    await rolledBack(pool, async (client) => {
      await expect(organisationErase(client, key, { organisationId })).rejects.toEqual(
        refused('invalid_input'),
      );
    });
  });

  test('is refused to members of the roles, and at another isolation level', async () => {
    for (const member of members) {
      await expectRefused(member.query(...(batchOf(leaving.organisationId, 20) as [string, unknown[]])), {
        code: '42501',
      });
      await expectRefused(member.query('select * from crm_organisation_tables()'), { code: '42501' });
    }
    await rolledBack(pool, async (client) => {
      await client.query('set transaction isolation level repeatable read');
      await expectRefused(client.query(...(batchOf(leaving.organisationId, 20) as [string, unknown[]])), {
        code: '0A000',
      });
    });
  });
});

/** Creates an organisation that shares no lock with the leaving one: one in thirty does, by chance. */
async function tenantWithoutLocksOf(holder: pg.PoolClient, other: pg.Client) {
  const lock = async (client: pg.ClientBase, organisationId: string, isErasure: boolean) => {
    await client.query('begin');
    await contactExternalIdLock(client, { organisationId, providers });
    await client.query('select crm_lock_log($1, $2)', [organisationId, isErasure]);
  };
  await lock(holder, leaving.organisationId, true);
  for (;;) {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const isShared = await lock(other, tenant.organisationId, false).then(
      () => false,
      (error) => {
        if (error.code !== '55P03') throw error;
        return true;
      },
    );
    await other.query('rollback');
    if (isShared) continue;
    await holder.query('rollback');
    return tenant;
  }
}

test('while a batch of each table is not committed, another organisation reads, logs, links, merges and syncs', async () => {
  const impatient = new pg.Client({ connectionString: database.url, options: '-c lock_timeout=100' });
  await impatient.connect();
  const eraser = await pool.connect();
  try {
    const staying = await tenantWithoutLocksOf(eraser, impatient);
    const connection = await connect(pool, staying.organisationId);
    const emptied = new Set<string>();
    for (let isFinished = false; !isFinished; ) {
      await eraser.query('begin');
      const { rows } = await eraser.query(...(batchOf(leaving.organisationId, 1000) as [string, unknown[]]));
      isFinished = rows[0].is_finished;
      emptied.add(rows[0].emptied);
      await impatient.query('begin');
      await contactExternalIdLock(impatient, {
        organisationId: staying.organisationId,
        providers: ['reapit'],
      });
      await syncLogRecord(impatient, {
        ...connection,
        events: [{ direction: 'inbound', entityType: 'contact', externalId: '1', status: 'success' }],
      });
      await contactExternalIdLink(impatient, {
        organisationId: staying.organisationId,
        ...staying.link(0, 'alto contact 9'),
      });
      await contactMerge(impatient, staying.merge(1, 0));
      await syncRunClaim(impatient, { worker: 'test' });
      await connectionListTotals(impatient);
      await impatient.query('rollback');
      await eraser.query('commit');
    }
    expect(emptied.size).toBeGreaterThan(12);
  } finally {
    eraser.release();
    await impatient.end();
  }
});

test('waits for an event that is being logged, and erases it', async () => {
  const logging = await pool.connect();
  const { organisationId, connectionId } = leaving;
  try {
    await logging.query('begin');
    await syncLogRecord(logging, {
      organisationId,
      connectionId,
      events: [{ direction: 'inbound', entityType: 'contact', externalId: 'late', status: 'success' }],
    });
    const erased = erase(organisationId);
    await waitUntilSomebodyIsBlocked(pool);
    await logging.query('commit');
    expect((await erased).counts).toMatchObject({ crm_sync_log: 109 });
    expect([...(await rowsOf(pool, organisationId)).keys()]).toEqual(['crm_erasures']);
  } finally {
    logging.release();
  }
});
