import { beforeEach, describe, expect, test } from 'vitest';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionListLiveByAccount,
  connectionListWithHealth,
  type Queryable,
  type RunKey,
  recordRequestAdd,
  recordRequestClaim,
  recordRequestClear,
  syncRunClaim,
  syncRunFinish,
  withOrganisation,
} from '../../src/index.js';
import { nine } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { useMember } from '../support/roles.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool, url } = database;
const app = useMember(database, 'crm_app');
const { atNine, connectDue } = syncSetup(database);

let key: ConnectionKey;
beforeEach(async () => {
  await pool.query('truncate crm_record_requests, crm_sync_runs');
  await pool.query("update crm_connections set next_sync_at = '9000-01-01 00:00Z'");
  key = await connectDue();
});

const record = (externalId: string, entityType = 'contact') => ({ entityType, externalId });
const many = (count: number, start = 0) =>
  Array.from({ length: count }, (_, index) => record(String(start + index).padStart(5, '0')));

const add = (client: Queryable, ...externalIds: string[]) =>
  recordRequestAdd(client, { ...key, records: externalIds.map((externalId) => record(externalId)) });
const claim = async (client: Queryable, run: RunKey, limit?: number) =>
  (await recordRequestClaim(client, { ...run, limit })).map(({ externalId }) => externalId);
const clear = (client: Queryable, run: RunKey, ...externalIds: string[]) =>
  recordRequestClear(client, { ...run, records: externalIds.map((externalId) => record(externalId)) });

async function waiting(): Promise<string[]> {
  const { rows } = await pool.query(
    'select external_id from crm_record_requests where connection_id = $1 order by external_id',
    [key.connectionId],
  );
  return rows.map(({ external_id }) => external_id);
}

describe('recordRequestAdd', () => {
  test('asks for each record once, however often it is named', async () => {
    expect(await add(pool, '1', '2', '1')).toEqual({ added: 2, leftToSync: 0 });
    expect(await add(pool, '2', '3')).toEqual({ added: 1, leftToSync: 0 });
    expect(await waiting()).toEqual(['1', '2', '3']);
  });

  test('tells records of different types and connections apart', async () => {
    const other = await connectDue('alto', { organisationId: key.organisationId });
    const both = [record('1'), record('1', 'landlord')];
    expect(await recordRequestAdd(pool, { ...key, records: both })).toMatchObject({ added: 2 });
    expect(await recordRequestAdd(pool, { ...other, records: both })).toMatchObject({ added: 2 });
  });

  test('makes the connection due at once, but not before the CRM may be asked again', async () => {
    await atNine(async (client, clock) => {
      await pool.query("update crm_connections set next_sync_at = '2026-11-16 10:00Z' where id = $1", [
        key.connectionId,
      ]);
      await add(client, '1');
      const run = await claimOne(client);
      expect(run.connectionId).toBe(key.connectionId);
      await syncRunFinish(client, { ...run, outcome: 'success' });
      await pool.query(
        "update crm_connections set next_sync_at = '2026-11-16 10:00Z', not_before_at = '2026-11-16 09:30Z'",
      );
      await add(client, '2');
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await clock.pass(1800);
      expect((await claimOne(client)).connectionId).toBe(key.connectionId);
    });
  });

  test('requests another sync after a run that is open', async () => {
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await add(client, '1');
      await clock.pass(1);
      await syncRunFinish(client, { ...run, outcome: 'success' });
      expect((await claimOne(client)).connectionId).toBe(key.connectionId);
    });
  });

  test('asks for nothing and requests no sync if no record is named', async () => {
    await pool.query("update crm_connections set next_sync_at = '9000-01-01 00:00Z'");
    expect(await add(pool)).toEqual({ added: 0, leftToSync: 0 });
    expect(await syncRunClaim(pool, { worker: 'test' })).toEqual([]);
  });

  test('keeps 1,000 records of a connection, leaves others to the sync, and requests it', async () => {
    expect(await recordRequestAdd(pool, { ...key, records: many(999) })).toEqual({
      added: 999,
      leftToSync: 0,
    });
    expect(await recordRequestAdd(pool, { ...key, records: many(3, 998) })).toEqual({
      added: 1,
      leftToSync: 1,
    });
    expect((await waiting()).length).toBe(1000);
    await pool.query(
      "update crm_connections set next_sync_at = '9000-01-01 00:00Z', sync_requested_at = null",
    );
    const full = await recordRequestAdd(pool, { ...key, records: [record('more'), record('00000')] });
    expect(full).toEqual({ added: 0, leftToSync: 1 });
    expect(await syncRunClaim(pool, { worker: 'test' })).toMatchObject([key]);
    const { organisationId } = key;
    expect(await connectionListWithHealth(pool, { organisationId, failuresSince: nine })).toMatchObject([
      { requestedRecords: 1000 },
    ]);
  });

  test('asks again for a record that a run was given meanwhile', async () => {
    await atNine(async (client, clock) => {
      await add(client, '1', '2');
      const run = await claimOne(client);
      expect(await claim(client, run)).toEqual(['1', '2']);
      await clock.pass(5);
      expect(await add(client, '1')).toEqual({ added: 1, leftToSync: 0 });
      expect(await clear(client, run, '1', '2')).toEqual({ cleared: 1 });
      expect(await recordRequestClaim(client, run)).toEqual([
        { ...record('1'), requestedAt: '2026-11-16T09:00:05.000000Z', attempts: 1 },
      ]);
    });
  });

  test('is not lost if the run clears the record at the same moment', async () => {
    await atNine(async (client) => {
      await add(client, '1');
      const run = await claimOne(client);
      await claim(client, run);
      await client.query('begin');
      await add(client, '1');
      await atNine(async (worker) => {
        const clearing = clear(worker, run, '1');
        await waitUntilBlocked(url, worker);
        await client.query('commit');
        expect(await clearing).toEqual({ cleared: 0 });
      });
      expect(await waiting()).toEqual(['1']);
    });
  });

  test('refuses a connection that is disconnected or of another organisation', async () => {
    const notLive = { code: 'connection_not_live' };
    const { organisationId } = await createTenant(pool);
    const other = recordRequestAdd(pool, { ...key, organisationId, records: [record('1')] });
    await expect(other).rejects.toMatchObject(notLive);
    await add(pool, '1');
    await connectionDisconnect(pool, key);
    await expect(add(pool, '1')).rejects.toMatchObject(notLive);
    expect(await waiting()).toEqual([]);
  });

  test('takes records of the application’s own organisation only', async () => {
    const other = await connectDue();
    const call = withOrganisation(app, other.organisationId, (client) =>
      recordRequestAdd(client, { ...key, records: [record('1')] }),
    );
    await expect(call).rejects.toMatchObject({ code: 'connection_not_live' });
    const own = await withOrganisation(app, key.organisationId, (client) => add(client, '1'));
    expect(own).toEqual({ added: 1, leftToSync: 0 });
  });

  test.each([
    ['an entity type with a capital letter', [record('1', 'Contact')]],
    ['a blank id', [record(' ')]],
    ['more than 1,000 records', many(1001)],
    ['a record that is text', ['1' as never]],
    ['no array', { length: 1 } as never],
  ])('refuses %s', async (_, records) => {
    await expect(recordRequestAdd(pool, { ...key, records })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe('recordRequestClaim', () => {
  test('gives a run each record once, the longest waiting first, a page at a time', async () => {
    await atNine(async (client, clock) => {
      for (const externalId of ['3', '1', '2']) {
        await add(client, externalId);
        await clock.pass(1);
      }
      const run = await claimOne(client);
      expect(await claim(client, run, 2)).toEqual(expect.arrayContaining(['3', '1']));
      expect(await claim(client, run, 2)).toEqual(['2']);
      expect(await claim(client, run, 2)).toEqual([]);
    });
  });

  test('gives the next run what a run did not clear, after what none was given', async () => {
    await atNine(async (client, clock) => {
      await add(client, '1');
      const first = await claimOne(client);
      expect(await claim(client, first)).toEqual(['1']);
      await add(client, '2');
      await clock.pass(301);
      await syncRunClaim(client, { worker: 'test' });
      await pool.query('update crm_connections set next_sync_at = $1 where id = $2', [
        nine,
        key.connectionId,
      ]);
      const second = await claimOne(client);
      expect(await claim(client, second, 1)).toEqual(['2']);
      expect(await recordRequestClaim(client, second)).toEqual([
        { ...record('1'), requestedAt: nine, attempts: 2 },
      ]);
    });
  });

  test('fails with lease_lost once the run has ended or its lease has expired', async () => {
    await atNine(async (client, clock) => {
      await add(client, '1');
      const run = await claimOne(client);
      await clock.pass(300);
      const lost = { code: 'lease_lost' };
      await expect(claim(client, run)).rejects.toMatchObject(lost);
      await expect(clear(client, run, '1')).rejects.toMatchObject(lost);
      expect(await waiting()).toEqual(['1']);
    });
  });

  test('leaves the requests of other connections', async () => {
    await atNine(async (client) => {
      const run = await claimOne(client);
      const other = await connectDue('alto', { organisationId: key.organisationId });
      await recordRequestAdd(client, { ...other, records: [record('1')] });
      expect(await claim(client, run)).toEqual([]);
    });
  });
});

describe('recordRequestClear', () => {
  test('clears the given records that the run was given, and no others', async () => {
    await atNine(async (client) => {
      await add(client, '1', '2', '3');
      const run = await claimOne(client);
      await claim(client, run, 2);
      expect(await clear(client, run, '1', '1', '3', 'unknown')).toEqual({ cleared: 1 });
      expect(await waiting()).toEqual(['2', '3']);
    });
  });
});

describe('connectionListLiveByAccount', () => {
  const named = async (account: string, provider: 'reapit' | 'alto' = 'reapit') => {
    const made = await connect(pool, (await createTenant(pool)).organisationId, provider);
    await pool.query('update crm_connections set account = $1 where id = $2', [account, made.connectionId]);
    return made;
  };
  const ids = (connections: readonly ConnectionKey[]) => connections.map(({ connectionId }) => connectionId);

  test('lists the live connections to an account, compared exactly, at one CRM', async () => {
    const connection = await named('OXF');
    await named('oxf');
    await named('OXF', 'alto');
    await connectionDisconnect(pool, await named('OXF'));
    expect(await connectionListLiveByAccount(pool, { provider: 'reapit', account: 'OXF' })).toMatchObject([
      { ...connection, provider: 'reapit', account: 'OXF', status: 'active' },
    ]);
    expect(await connectionListLiveByAccount(pool, { provider: 'street', account: 'OXF' })).toEqual([]);
  });

  test('pages through the connections of several organisations to a sandbox', async () => {
    const all = [await named('SBOX'), await named('SBOX'), await named('SBOX')];
    const sandbox = { provider: 'reapit', account: 'SBOX' } as const;
    const first = await connectionListLiveByAccount(pool, { ...sandbox, limit: 2 });
    const second = await connectionListLiveByAccount(pool, { ...sandbox, limit: 2, after: first[1] });
    expect([...ids(first), ...ids(second)].toSorted()).toEqual(ids(all).toSorted());
    expect(first).toHaveLength(2);
  });

  test('shows the application only those of its own organisation', async () => {
    const [own, other] = [await named('AAA'), await named('AAA')];
    const list = (client: Queryable) =>
      connectionListLiveByAccount(client, { provider: 'reapit', account: 'AAA' });
    expect(ids(await withOrganisation(app, own.organisationId, list))).toEqual([own.connectionId]);
    expect(ids(await withOrganisation(app, other.organisationId, list))).toEqual([other.connectionId]);
    await expect(list(app)).rejects.toMatchObject({ code: 'organisation_not_set' });
  });

  test.each([
    ['an unknown CRM', { provider: 'salesforce' as never }, 'unknown_provider'],
    ['a blank account', { account: ' ' }, 'invalid_input'],
    ['more than 1,000', { limit: 1001 }, 'invalid_input'],
    ['a page after no connection', { after: {} as never }, 'invalid_input'],
  ])('refuses %s', async (_, wrong, code) => {
    const call = connectionListLiveByAccount(pool, { provider: 'reapit', account: 'OXF', ...wrong });
    await expect(call).rejects.toMatchObject({ code });
  });
});
