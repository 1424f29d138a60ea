/**
 * Symptom: what the package has against refused credentials, left-over tokens and late webhooks is of no use to
 * somebody who takes the example worker as it is: a record that a webhook names is read with the stream, a refusal for
 * good becomes "internal, try again", and a token is never revoked.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits.
 *
 * Input: requests for records, a refusal for good, a disconnection with `revokeWithinSeconds`; the worker as it is.
 * Right: named records are read before the streams, once, and cleared with the batch that records them; the refusal is an
 * auth failure that is not retried, with the reason; the token is revoked.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Crm, CrmError, type CrmRecord } from '../../examples/crm.js';
import { runWorker, syncNext } from '../../examples/sync-worker.js';
import {
  type CredentialsToRevoke,
  credentialsConnect,
  credentialsRefresh,
  type KeyRing,
} from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionListWithHealth,
  recordRequestAdd,
  syncFailureList,
  syncLogListByConnection,
  syncRunListByConnection,
} from '../../src/index.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { makeDue, syncSetup } from '../support/sync.js';
import { waiting } from '../support/waiting.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const { connectDue } = syncSetup(database);

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

let key: ConnectionKey;
beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  key = await connectDue();
});

/** A CRM that answers with these records, and remembers in which order it was asked. */
function crmWith(read: Crm['read']): { crm: Crm; asked: string[] } {
  const asked: string[] = [];
  const crm: Crm = {
    entityTypes: ['contact'],
    async readPage() {
      asked.push('page');
      return { records: [], isLast: true, next: null, syncedTo: '2026-11-16T09:00:00Z' };
    },
    read(entityType, externalId) {
      asked.push(externalId);
      return read(entityType, externalId);
    },
    write: async () => null,
  };
  return { crm, asked };
}

const sync = (crm: Crm) => syncNext({ name: 'test', pool: worker, openCrm: async () => crm });

const person = (externalId: string): CrmRecord => ({
  entityType: 'contact',
  externalId,
  name: `Test Person ${externalId}`,
  state: 'active',
});

async function request(...externalIds: string[]): Promise<void> {
  const records = externalIds.map((externalId) => ({ entityType: 'contact', externalId }));
  await recordRequestAdd(pool, { ...key, records });
}

const requested = async () => {
  const { rows } = await pool.query(
    'select external_id from crm_record_requests where connection_id = $1 order by 1',
    [key.connectionId],
  );
  return rows.map(({ external_id }) => external_id);
};

describe('records that a webhook names', () => {
  test('are read before the streams, once, and cleared', async () => {
    await request('OXF3', 'OXF1', 'OXF2', 'OXF1', 'OXF4', 'OXF5', 'OXF6', 'OXF7');
    const { crm, asked } = crmWith(async (_, externalId) => person(externalId));
    await sync(crm);
    expect(asked.toSorted()).toEqual(['OXF1', 'OXF2', 'OXF3', 'OXF4', 'OXF5', 'OXF6', 'OXF7', 'page']);
    expect(asked.at(-1)).toBe('page');
    expect(await requested()).toEqual([]);
    const events = await syncLogListByConnection(pool, key);
    expect(events.map(({ externalId, status }) => [externalId, status])).toHaveLength(7);
    const { rows } = await pool.query('select count(*)::integer from contacts where organisation_id = $1', [
      key.organisationId,
    ]);
    expect(rows).toEqual([{ count: 7 }]);
  });

  test('that fail or are hidden are kept by the log and by their failure, and not asked for again', async () => {
    await request('OXF1', 'OXF2');
    const { crm } = crmWith(async (_, externalId) => {
      if (externalId === 'OXF2') return null;
      throw new CrmError('validation', 'No name.', { retryable: false });
    });
    await sync(crm);
    expect(await requested()).toEqual([]);
    expect(await syncFailureList(pool, key)).toMatchObject([{ recordId: 'OXF1', direction: 'inbound' }]);
    expect(await syncLogListByConnection(pool, key)).toHaveLength(2);
  });

  test('that cannot be read, because the line breaks, are read by the next run', async () => {
    await request('OXF1', 'OXF2');
    let isBroken = true;
    const { crm } = crmWith(async (_, externalId) => {
      if (isBroken && externalId === 'OXF2')
        throw new CrmError('network', 'The line broke.', { retryable: true });
      return person(externalId);
    });
    await sync(crm);
    expect(await requested()).toContain('OXF2');
    isBroken = false;
    await makeDue(pool, key);
    await sync(crm);
    expect(await requested()).toEqual([]);
  });
});

test('a refusal to refresh for good is an auth failure that nobody retries, with the reason', async () => {
  const { organisationId } = await createTenant(pool);
  const { connectionId } = await credentialsConnect(pool, keys, {
    organisationId,
    provider: 'reapit',
    credentials: sampleCredentials.reapit,
  });
  key = { organisationId, connectionId };
  await makeDue(pool, key);
  const refused = 'Reapit requires the agency to consent again.';
  await syncNext({
    name: 'test',
    pool: worker,
    openCrm: async (run) => {
      await credentialsRefresh(worker, keys, {
        ...run,
        provider: 'reapit',
        refresh: async () => ({ refused }),
      });
      return expect.unreachable();
    },
  });
  const [run] = await syncRunListByConnection(pool, key);
  expect(run).toMatchObject({
    outcome: 'failed',
    error: { kind: 'auth', retryable: false, message: expect.stringContaining(refused) },
  });
  const [health] = await connectionListWithHealth(pool, { ...key, failuresSince: '2026-01-01T00:00:00Z' });
  expect(health).toMatchObject({ status: 'error', statusReason: expect.stringContaining(refused) });
});

test('tokens of disconnected connections are revoked beside the syncs; one that the CRM cannot revoke does not stop the others', async () => {
  const connections: ConnectionKey[] = [];
  for (let count = 0; count < 3; count += 1) {
    const { organisationId } = await createTenant(pool);
    const { connectionId } = await credentialsConnect(pool, keys, {
      organisationId,
      provider: 'reapit',
      credentials: sampleCredentials.reapit,
    });
    connections.push({ organisationId, connectionId });
    await connectionDisconnect(pool, { organisationId, connectionId, revokeWithinSeconds: 3600 + count });
  }
  const revoked: CredentialsToRevoke[] = [];
  const ending = new AbortController();
  const running = runWorker(
    {
      name: 'test',
      pool: worker,
      openCrm: async () => crmWith(async () => null).crm,
      revocation: {
        keys,
        async revoke(waiting) {
          if (waiting.connectionId === connections[1]?.connectionId) throw new Error('The CRM is away.');
          revoked.push(waiting);
        },
      },
    },
    ending.signal,
  );
  const outcomes = async () => {
    const lists = connections.map((each) =>
      connectionListWithHealth(pool, { ...each, failuresSince: '2026-01-01T00:00:00Z' }),
    );
    return (await Promise.all(lists)).flat().map(({ revocation }) => revocation);
  };
  try {
    await vi.waitFor(
      async () => expect(await outcomes()).toEqual(['revoked', 'pending', 'revoked']),
      waiting,
    );
    await sleep(100);
    expect(revoked.map(({ connectionId }) => connectionId)).toEqual(
      [connections[0], connections[2]].map((each) => each?.connectionId),
    );
    expect(revoked[0]).toMatchObject({ provider: 'reapit', credentials: sampleCredentials.reapit });
  } finally {
    ending.abort();
    await running;
  }
});

test('a revocation that the CRM does not answer holds up no worker that stops, and is tried again', async () => {
  const { organisationId } = await createTenant(pool);
  const { connectionId } = await credentialsConnect(pool, keys, {
    organisationId,
    provider: 'reapit',
    credentials: sampleCredentials.reapit,
  });
  key = { organisationId, connectionId };
  await connectionDisconnect(pool, { ...key, revokeWithinSeconds: 60 });
  const ending = new AbortController();
  const running = runWorker(
    {
      name: 'test',
      pool: worker,
      openCrm: async () => crmWith(async () => null).crm,
      revocation: {
        keys,
        revoke: () => {
          setTimeout(() => ending.abort(), 50);
          return new Promise(() => {});
        },
      },
    },
    ending.signal,
  );
  await running;
  const [health] = await connectionListWithHealth(pool, { ...key, failuresSince: '2026-01-01T00:00:00Z' });
  expect(health).toMatchObject({ revocation: 'pending' });
});
