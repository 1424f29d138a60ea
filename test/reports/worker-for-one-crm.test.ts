/**
 * Symptom: a team writes the adapter of one CRM, and wants workers for that CRM alone: another team has the others, or
 * the CRM's limits need a machine of its own. A claim takes what has been due for longest, whatever CRM it is to. So the
 * worker gets connections that it cannot sync; it fails their runs, and puts other people's connections in error, or
 * cancels them, and claims the same ones again and again while its own wait.
 *
 * Source: issue 17.
 *
 * Input: connections to several CRMs are due; a worker names the CRMs that it has adapters for. Right: it claims those,
 * longest due first, and leaves the others as they are; a worker that names none claims all; an empty list is a mistake.
 * So it is with the tokens of disconnected connections, which only an adapter of their CRM can revoke.
 */
import type pg from 'pg';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Crm } from '../../examples/crm.js';
import { revokeNext } from '../../examples/revoke-tokens.js';
import { syncNext } from '../../examples/sync-worker.js';
import { credentialsClaimRevocation, credentialsConnect, type KeyRing } from '../../src/credentials.js';
import { connectionDisconnect, type Provider, providers, syncRunClaim } from '../../src/index.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const { atNine, connectDue } = syncSetup(database);

beforeEach(async () => {
  for (const table of ['crm_sync_cursors', 'crm_sync_runs', 'crm_connections'])
    await pool.query(`delete from ${table}`);
});

/** The CRMs of the claimed connections, in the order of the claim. */
async function claimed(client: pg.ClientBase, only?: Provider[], limit?: number): Promise<Provider[]> {
  const runs = await syncRunClaim(client, { worker: 'test', providers: only, limit });
  return runs.map(({ provider }) => provider);
}

describe('a claim', () => {
  test('that names CRMs takes the connections to these, longest due first, and leaves the others due', async () => {
    await connectDue('reapit', { dueAt: '2026-11-16T08:57:00Z' });
    const alto = await connectDue('alto', { dueAt: '2026-11-16T08:56:00Z' });
    await connectDue('street', { dueAt: '2026-11-16T08:58:00Z' });
    await atNine(async (client) => {
      expect(await claimed(client, ['street', 'loop', 'reapit'])).toEqual(['reapit', 'street']);
      expect(await claimed(client, ['street', 'loop', 'reapit'])).toEqual([]);
      const { rows } = await client.query(
        'select status, failure_count, next_sync_at from crm_connections where id = $1',
        [alto.connectionId],
      );
      expect(rows).toEqual([
        { status: 'active', failure_count: 0, next_sync_at: new Date('2026-11-16T08:56:00Z') },
      ]);
      expect(await claimed(client, ['alto'])).toEqual(['alto']);
    });
  });

  test('that names CRMs gets as many as its limit, although others have been due for longer', async () => {
    for (let count = 0; count < 5; count += 1) await connectDue('alto', { dueAt: '2026-11-16T08:00:00Z' });
    for (let count = 0; count < 3; count += 1) await connectDue('reapit');
    await atNine(async (client) => {
      expect(await claimed(client, ['reapit'], 2)).toEqual(['reapit', 'reapit']);
      expect(await claimed(client, ['reapit'], 2)).toEqual(['reapit']);
    });
  });

  test('that names the same CRM twice takes each of its connections once', async () => {
    await connectDue('reapit');
    await atNine(async (client) => {
      expect(await claimed(client, ['reapit', 'reapit'])).toEqual(['reapit']);
    });
  });

  test('that names no CRM takes the connections to all', async () => {
    const { organisationId } = await createTenant(pool);
    for (const provider of providers) await connectDue(provider, { organisationId });
    await atNine(async (client) => {
      expect((await claimed(client)).toSorted()).toEqual(providers.toSorted());
    });
  });

  test.each<[string, unknown, object]>([
    [
      'an empty list',
      [],
      {
        code: 'invalid_input',
        message: 'providers must name a CRM; omit it for all.',
      },
    ],
    ['no list', 'reapit', { code: 'invalid_input', message: 'providers must be an array, not "reapit".' }],
    ['null', null, { code: 'invalid_input', message: 'providers must be an array, not null.' }],
    [
      'an unknown CRM',
      ['reapit', 'acme'],
      {
        code: 'unknown_provider',
        rowIndex: 1,
        message: expect.stringMatching(/^row 1: providers must be one of/),
      },
    ],
  ])('that names %s is refused, and claims nothing', async (_, only, error) => {
    await connectDue('reapit');
    await atNine(async (client) => {
      await expect(claimed(client, only as Provider[])).rejects.toMatchObject(error);
      expect(await claimed(client)).toEqual(['reapit']);
    });
  });
});

test('two example workers for one CRM each sync its connections alone', async () => {
  await connectDue('alto', { dueAt: '2026-01-01T00:00:00Z' });
  await connectDue('reapit', { dueAt: '2026-01-02T00:00:00Z' });
  await connectDue('reapit', { dueAt: '2026-01-03T00:00:00Z' });
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
  const opened: string[] = [];
  const workerFor = (provider: Provider) => ({
    name: provider,
    pool: worker,
    providers: [provider],
    async openCrm(run: { provider: Provider }): Promise<Crm> {
      opened.push(`${run.provider} by ${provider}`);
      return {
        entityTypes: ['contact'],
        readPage: async () => ({ records: [], isLast: true, next: null, syncedTo: '2026-11-16T09:00:00Z' }),
        read: async () => null,
        write: async () => null,
      };
    },
  });
  for (let count = 0; count < 2; count += 1) expect(await syncNext(workerFor('reapit'))).toBe(true);
  expect(await syncNext(workerFor('reapit'))).toBe(false);
  expect(await syncNext(workerFor('alto'))).toBe(true);
  expect(await syncNext(workerFor('alto'))).toBe(false);
  expect(opened).toEqual(['reapit by reapit', 'reapit by reapit', 'alto by alto']);
});

describe('a claim of credentials to revoke', () => {
  let keys: KeyRing;
  beforeAll(async () => {
    keys = await testKeyRing();
  });
  beforeEach(async () => {
    // Alto's would come first.
    for (const [provider, revokeWithinSeconds] of [
      ['alto', 3600],
      ['reapit', 7200],
    ] as const) {
      const { organisationId } = await createTenant(pool);
      const credentials = sampleCredentials[provider];
      const { connectionId } = await credentialsConnect(pool, keys, {
        organisationId,
        ...({ provider, credentials } as { provider: 'alto'; credentials: typeof sampleCredentials.alto }),
      });
      await connectionDisconnect(pool, { organisationId, connectionId, revokeWithinSeconds });
    }
  });

  test('that names CRMs leaves those of the others to a worker that can revoke them', async () => {
    expect(await credentialsClaimRevocation(worker, keys, { providers: ['street', 'reapit'] })).toMatchObject(
      {
        provider: 'reapit',
      },
    );
    expect(await credentialsClaimRevocation(worker, keys, { providers: ['street', 'reapit'] })).toBeNull();
    expect(await credentialsClaimRevocation(worker, keys)).toMatchObject({ provider: 'alto' });
  });

  test('is made by the example worker for its CRMs alone', async () => {
    const revoked: Provider[] = [];
    const revocation = {
      keys,
      providers: ['reapit'] as const,
      revoke: async ({ provider }: { provider: Provider }) => void revoked.push(provider),
    };
    const signal = new AbortController().signal;
    expect(await revokeNext(worker, revocation, signal)).toBe(true);
    expect(await revokeNext(worker, revocation, signal)).toBe(false);
    expect(revoked).toEqual(['reapit']);
  });

  test('that names no CRM in an empty list is refused', async () => {
    await expect(credentialsClaimRevocation(worker, keys, { providers: [] })).rejects.toMatchObject({
      code: 'invalid_input',
      message: 'providers must name a CRM; omit it for all.',
    });
  });
});
