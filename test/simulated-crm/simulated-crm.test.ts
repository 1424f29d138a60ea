import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import {
  type Crm,
  CrmError,
  type CrmPosition,
  type CrmRecord,
  type CrmRecordKey,
} from '../../examples/crm.js';
import { chaoticHabits, type Habits } from '../../examples/simulated-crm/habits.js';
import { type SimulatedCrm, startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import type { SimulatedRecord } from '../../examples/simulated-crm/store.js';
import { checkCredentials } from '../../src/credentials.js';
import { type Provider, providers } from '../../src/index.js';
import { refreshAccessToken, simulatedCrmClient } from './client.js';

/** The time limit of a client whose requests are answered, however busy the machine is. */
const patientMilliseconds = 20_000;
/** The time limit of a client that gets no answer. */
const hastyMilliseconds = 600;

/** Longer than the longest delay of a change. */
const overlapMilliseconds = 150;

const started: SimulatedCrm[] = [];
afterAll(() => Promise.all(started.map((crm) => crm.stop())));

/** Starts a CRM for one test, with a signed-in client. */
async function start<P extends Provider>(provider: P, habits: Partial<Habits> = {}, seed = 1) {
  const crm = await startSimulatedCrm({ provider, seed, habits });
  started.push(crm);
  return { crm, client: await signedIn(crm, habits.silence ? hastyMilliseconds : patientMilliseconds) };
}

async function signedIn<P extends Provider>(
  crm: {
    provider: P;
    url: string;
    credentials: Parameters<typeof simulatedCrmClient<P>>[1]['credentials'];
  },
  timeoutMilliseconds = patientMilliseconds,
): Promise<Crm> {
  const { provider, url } = crm;
  let credentials: typeof crm.credentials = crm.credentials;
  if ('grant' in credentials) {
    const refreshed = await withRetries(() => refreshAccessToken(url, credentials as never));
    credentials = refreshed.credentials as typeof credentials;
  }
  return simulatedCrmClient(provider, { url, credentials, timeoutMilliseconds });
}

/** Retries while the error is retryable. */
async function withRetries<Result>(attempt: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof CrmError) || !error.retryable || tries > 50) throw error;
    }
  }
}

/** All records. */
const everything: CrmPosition = { changedSince: null };

/** Goes back by the overlap, as a caller does at the start of a pass. */
function withOverlap(position: CrmPosition): CrmPosition {
  if ('token' in position || position.changedSince === null) return position;
  const milliseconds = Date.parse(position.changedSince) - overlapMilliseconds;
  return { changedSince: new Date(milliseconds).toISOString() };
}

/** Reads all pages from a position into `known`. Returns where the next pass begins, and up to when this one has read. */
async function readPass(
  client: Crm,
  known: Map<string, CrmRecord>,
  from = everything,
  entityType = 'contact',
): Promise<{ next: CrmPosition; syncedTo: string | null | undefined }> {
  for (let position = from, pages = 1; ; pages += 1) {
    const page = await withRetries(() => client.readPage(entityType, position));
    for (const record of page.records) known.set(record.externalId, record);
    if (page.isLast) {
      const { next, syncedTo } = page;
      return { next: next === null ? { changedSince: syncedTo as string } : { token: next }, syncedTo };
    }
    if (pages > 500) throw new Error('The pass does not end.');
    position = { token: page.next };
  }
}

/** The same. Returns only where the next pass begins. */
async function readAll(...args: Parameters<typeof readPass>): Promise<CrmPosition> {
  return (await readPass(...args)).next;
}

function failure(attempt: Promise<unknown>): Promise<CrmError> {
  return attempt.then(
    () => Promise.reject(new Error('The attempt should have failed.')),
    (error) => (error instanceof CrmError ? error : Promise.reject(error)),
  );
}

const creators = providers.filter((provider) => provider !== 'street');

describe.concurrent('reading', () => {
  test.for(providers)('%s: no change is missed during edits on a bad day', async (provider) => {
    const { crm, client } = await start(provider, { ...chaoticHabits, lateCommitMilliseconds: 100 }, 7);
    const ids = Array.from({ length: 45 }, (_, n) => crm.create(`Test Person ${n}`).externalId);
    // Long enough ago that only the first pass reads them, whose position is its start truncated to seconds.
    await pause(overlapMilliseconds + 1_050);
    const known = new Map<string, CrmRecord>();
    let isOver = false;
    const edits = (async () => {
      // Half of the records are never edited, so no later pass finds those that the first one skips.
      for (let n = 0; n < 150; n += 1) {
        crm.edit(ids[((n * 7) % 22) * 2] as string, `Test Person ${(n * 7919) % 1000} edited`);
        if (n % 10 === 0) crm.create(`Test Person new ${n}`);
        await pause(5);
      }
      crm.delete(ids.pop() as string);
      isOver = true;
    })();
    let position: CrmPosition = everything;
    while (!isOver) position = await readAll(client, known, withOverlap(position));
    await edits;
    crm.calm();
    await pause(120); // until late changes appear
    const { syncedTo } = await readPass(client, known, withOverlap(position));

    const active = crm.records().filter(({ state }) => state === 'active');
    expect(active).toHaveLength(59);
    expect(active.map(({ externalId }) => known.get(externalId)?.name)).toEqual(
      active.map(({ name }) => name),
    );
    expect(syncedTo).toMatch(/^\d{4}-.*Z$/);
  });

  test.for(['reapit', 'alto', 'street'] as const)(
    '%s: the overlap finds a change that appears late',
    async (provider) => {
      const { crm, client } = await start(provider, { lateCommit: 1, lateCommitMilliseconds: 4_000 }, 3);
      const late = crm.create('Test Person late');
      crm.setHabits({ lateCommit: 0 });
      const prompt = crm.create('Test Person prompt');
      const known = new Map<string, CrmRecord>();
      const position = await readAll(client, known);
      expect([...known.keys()], 'late enough with this seed').toEqual([prompt.externalId]);

      await pause(4_000);
      await readAll(client, known, position);
      expect([...known.keys()]).toEqual([prompt.externalId]);
      await readAll(client, known, withOverlap(position));
      expect([...known.keys()]).toContain(late.externalId);
    },
  );

  test.for(['reapit', 'alto', 'street'] as const)(
    '%s: positions are times of the CRM’s own clock',
    async (provider) => {
      const { crm, client } = await start(provider, { skewMilliseconds: -3_600_000 });
      const { next: empty, syncedTo } = await readPass(client, new Map());
      expect(Math.abs(agoInSeconds(syncedTo) - 3600)).toBeLessThan(600);
      crm.create('Test Person 1');
      const { modifiedAt, externalId } = crm.create('Test Person 2');
      const position = await readAll(client, new Map(), empty);
      expect(position).toEqual({ changedSince: modifiedAt });
      const again = new Map<string, CrmRecord>();
      expect(await readAll(client, again, position)).toEqual(position);
      expect([...again.keys()], 'inclusive').toEqual([externalId]);
    },
  );

  test.for(providers)('%s: another process continues in the middle of a pass', async (provider) => {
    const { crm, client } = await start(provider, { pageSize: 4 });
    for (let n = 0; n < 10; n += 1) crm.create(`Test Person ${n}`);
    const first = await client.readPage('contact', everything);
    expect(first).toMatchObject({ isLast: false });
    const known = new Map(first.records.map((record) => [record.externalId, record]));
    const other = await signedIn({ ...crm, credentials: crm.signIn() });
    await readAll(other, known, { token: first.next as string });
    expect(known.size).toBe(10);
  });

  test.for(['reapit', 'street'] as const)('%s: landlords are a stream of their own', async (provider) => {
    const { crm, client } = await start(provider);
    crm.create('Test Person 1');
    const { externalId } = crm.create('Test Person 2', null, 'landlord');
    const known = new Map<string, CrmRecord>();
    await readAll(client, known, everything, 'landlord');
    const landlord = { entityType: 'landlord', externalId, name: 'Test Person 2' };
    expect([...known.values()]).toMatchObject([landlord]);
    expect(await client.read('landlord', externalId)).toMatchObject(landlord);
    expect(await client.read('contact', externalId)).toBeNull();
  });

  test.for(providers)('%s: deletions and merges appear as the CRM reports them', async (provider) => {
    const { crm, client } = await start(provider);
    const [deleted, merged, kept] = ['a', 'b', 'c'].map((name) => crm.create(`Test Person ${name}`)) as [
      SimulatedRecord,
      SimulatedRecord,
      SimulatedRecord,
    ];
    const position = await readAll(client, new Map());
    crm.delete(deleted.externalId);
    crm.merge(merged.externalId, kept.externalId);
    expect(crm.records().map(({ state }) => state)).toEqual(['deleted', 'merged', 'active']);

    const known = new Map<string, CrmRecord>();
    await readAll(client, known, position);
    const states = (record: CrmRecord | null | undefined) => record && [record.state, record.mergedInto];
    const listed = [deleted, merged].map(({ externalId }) => states(known.get(externalId)));
    const read = await Promise.all(
      [deleted, merged].map(async ({ externalId }) => states(await client.read('contact', externalId))),
    );
    if (provider === 'custom') {
      expect(listed).toEqual([
        ['deleted', null],
        ['merged', kept.externalId],
      ]);
      expect(read).toEqual(listed);
    } else if (provider === 'street') {
      // Street does not report merges.
      expect(listed).toEqual([
        ['deleted', null],
        ['deleted', null],
      ]);
      expect(read).toEqual(listed);
    } else {
      expect(listed).toEqual([undefined, undefined]);
      expect(read).toEqual([null, null]);
    }
    for (const { externalId } of [deleted, merged]) {
      const contact = { contactId: 'test-contact', name: 'Test Person new' };
      expect(await client.write(contact, { entityType: 'contact', externalId })).toBeNull();
    }
    expect(crm.writes).toEqual([]);
    expect(states(await client.read('contact', kept.externalId))).toEqual(['active', null]);
  });
});

describe.concurrent('writing', () => {
  const contact = { contactId: 'test-contact', name: 'Test Person 1' };

  test.for(creators)('%s: a create whose answer is lost is done once', async (provider) => {
    const { crm, client } = await start(provider, { lostAnswer: 1, lateCommit: 1 });
    const lost = await failure(client.write(contact, null));
    expect(lost).toMatchObject({ kind: 'network', retryable: true });
    crm.setHabits({ lostAnswer: 0 });

    const { externalId } = crm.records()[0] as CrmRecord;
    const changed = { ...contact, name: 'Test Person 2' };
    const existing = { entityType: 'contact', externalId };
    for (const repeated of [contact, contact, changed]) {
      expect(await client.write(repeated, null)).toEqual({ existing });
    }
    expect(crm.records()).toMatchObject([{ name: 'Test Person 1', reference: 'test-contact' }]);
    await client.write(changed, existing);
    expect(crm.records()).toMatchObject([{ name: 'Test Person 2', reference: 'test-contact' }]);
    expect(crm.writes.filter(({ kind }) => kind === 'create')).toHaveLength(1);
    expect(crm.writes[0]).toMatchObject({ externalId, reference: 'test-contact', name: 'Test Person 1' });
  });

  test('street: refuses to create records', async () => {
    const { crm, client } = await start('street');
    const refused = await failure(client.write(contact, null));
    expect(refused).toMatchObject({ kind: 'validation', retryable: false, code: '405' });
    expect(crm.writes).toEqual([]);
  });

  test.for(providers)('%s: updates a record, and refuses a blank name', async (provider) => {
    const { crm, client } = await start(provider);
    const { externalId } = crm.create('Test Person 0');
    const key: CrmRecordKey = { entityType: 'contact', externalId };
    expect(await client.write(contact, key)).toMatchObject({
      ...key,
      name: 'Test Person 1',
      state: 'active',
    });
    expect(await client.read('contact', externalId)).toMatchObject({ ...key, name: 'Test Person 1' });
    expect(crm.writes).toMatchObject([{ kind: 'update', reference: 'test-contact', externalId }]);
    expect(await failure(client.write({ ...contact, name: ' ' }, key))).toMatchObject({
      kind: 'validation',
      retryable: false,
    });
  });

  test('reapit: updates a record despite concurrent edits, with a quoted ETag', async () => {
    const { crm, client } = await start('reapit');
    const { externalId } = crm.create('Test Person 0');
    const edits = setInterval(() => crm.edit(externalId, 'Test Person edited'), 15);
    const key: CrmRecordKey = { entityType: 'contact', externalId };
    for (let n = 0; n < 10; n += 1)
      expect(await withRetries(() => client.write(contact, key))).toMatchObject(key);
    clearInterval(edits);

    expect(crm.records()[0]?.version).toMatch(/^"\w+"$/);
    const { credentials } = await refreshAccessToken(crm.url, crm.signIn());
    const headers = {
      authorization: `Bearer ${credentials.accessToken}`,
      'api-version': '2020-01-31',
      'reapit-customer': 'SBOX',
      'if-match': String(crm.records()[0]?.version).slice(1, -1),
    };
    const url = `${crm.url}/contacts/${externalId}`;
    const unquoted = await fetch(url, { method: 'PATCH', headers, body: '{"surname":"Test"}' });
    expect(unquoted.status).toBe(412);
  });
});

describe.concurrent('errors', () => {
  test.for(providers)('%s: each kind of failure becomes its kind of error', async (provider) => {
    const { crm, client } = await start(provider);
    crm.create('Test Person 1');
    await client.readPage('contact', everything);
    const hasty = await signedIn({ ...crm, credentials: crm.signIn() }, hastyMilliseconds);
    crm.setHabits({ silence: 1 });
    expect(await failure(hasty.readPage('contact', everything))).toMatchObject({
      kind: 'timeout',
      retryable: true,
    });
    crm.calm();
    const cases: [Partial<Habits>, object][] = [
      [{ cut: 1 }, { kind: 'network', retryable: true }],
      [
        { rateLimited: 1, retryAfterSeconds: 3 },
        { kind: 'rate_limited', retryable: true, retryAfterSeconds: 3 },
      ],
      [{ serverError: 1 }, { kind: 'provider', retryable: true }],
      [{ requestLimit: 0 }, { kind: 'rate_limited', retryable: true }],
    ];
    for (const [habits, expected] of cases) {
      crm.setHabits(habits);
      expect(await failure(client.readPage('contact', everything))).toMatchObject(expected);
      crm.calm();
    }
    await client.readPage('contact', everything);
    expect(await client.read('contact', 'no-such-record')).toBeNull();

    crm.revokeTokens();
    const refused = await failure(client.readPage('contact', everything));
    expect(refused).toMatchObject({ kind: 'auth', retryable: false });
    expect(refused.toSyncError().message).not.toMatch(/key-|access-|refresh-/);
    const again = await signedIn({ ...crm, credentials: crm.signIn() });
    expect((await again.readPage('contact', everything)).records).toHaveLength(1);
  });

  test('loop: answers 200 to a refused request', async () => {
    const { crm } = await start('loop');
    const response = await fetch(`${crm.url}/contacts`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ statusCode: 'error', errorCode: 401 });
  });

  test('reapit: a refresh token is single use', async () => {
    const life = 2_000;
    const { crm } = await start('reapit', { accessTokenMilliseconds: life });
    const signIn = crm.signIn();
    const { credentials, credentialsExpiresAt } = await refreshAccessToken(crm.url, signIn);
    expect(credentialsExpiresAt.getTime() - Date.now()).toBeLessThanOrEqual(life);
    expect(await failure(refreshAccessToken(crm.url, signIn))).toMatchObject({
      kind: 'auth',
      retryable: false,
    });
    const client = simulatedCrmClient('reapit', {
      url: crm.url,
      credentials,
      timeoutMilliseconds: patientMilliseconds,
    });
    await client.readPage('contact', everything);
    crm.expireAccessTokens();
    expect(await failure(client.readPage('contact', everything))).toMatchObject({ kind: 'auth' });
    const next = await refreshAccessToken(crm.url, credentials);
    const { accessToken } = next.credentials;
    await simulatedCrmClient('reapit', {
      url: crm.url,
      credentials,
      accessToken,
      timeoutMilliseconds: patientMilliseconds,
    }).readPage('contact', everything);

    crm.setHabits({ lostToken: 1 });
    expect(await failure(refreshAccessToken(crm.url, next.credentials))).toMatchObject({ kind: 'network' });
    crm.calm();
    expect(await failure(refreshAccessToken(crm.url, next.credentials))).toMatchObject({ kind: 'auth' });
  });

  test('alto: an expired token is renewed', async () => {
    const { crm, client } = await start('alto');
    for (let n = 0; n < 3; n += 1) {
      await client.readPage('contact', everything);
      crm.expireAccessTokens();
    }
  });

  test('alto: a token is refused after its lifetime', async () => {
    const { client } = await start('alto', { accessTokenMilliseconds: 0 });
    expect(await failure(client.readPage('contact', everything))).toMatchObject({ kind: 'auth' });
  });

  test('agentos: a request limit ends after its window', async () => {
    const { crm, client } = await start('agentos', { requestLimit: 2, requestWindowMilliseconds: 3_600_000 });
    await client.readPage('contact', everything);
    await client.readPage('contact', everything);
    expect(await failure(client.readPage('contact', everything))).toMatchObject({ kind: 'rate_limited' });
    crm.setHabits({ requestWindowMilliseconds: 1 });
    await pause(2);
    await client.readPage('contact', everything);
  });

  test.for(providers)('%s: the same seed gives the same outcomes', async (provider) => {
    const [first, second, other] = await Promise.all(
      [42, 42, 43].map(async (seed) => {
        const { crm, client } = await start(provider, {}, seed);
        crm.setHabits({ ...chaoticHabits, silence: 0, slow: 0 });
        const outcomes: string[] = [crm.create('Test Person 1').externalId];
        for (let n = 0; n < 60; n += 1) {
          const { externalId } = crm.records()[0] as CrmRecord;
          const contact = { contactId: 'test-contact', name: `Test Person ${n}` };
          outcomes.push(
            await client.write(contact, { entityType: 'contact', externalId }).then(
              () => 'done',
              ({ kind, code }: CrmError) => `${kind} ${code}`,
            ),
          );
        }
        return outcomes;
      }),
    );
    expect(first).toEqual(second);
    expect(first?.slice(1)).not.toEqual(other?.slice(1));
    expect(new Set(first).size).toBeGreaterThan(4);
  });

  test('the credentials of each CRM can be stored', async () => {
    for (const provider of providers) {
      const { crm } = await start(provider);
      expect(checkCredentials(provider, crm.credentials)).toEqual(crm.credentials);
    }
  });
});

function agoInSeconds(time: string | null | undefined): number {
  return (Date.now() - Date.parse(time ?? '')) / 1000;
}
