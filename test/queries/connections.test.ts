import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  type ConnectionKey,
  connectionAdvanceLastSyncedAt,
  connectionConnect,
  connectionDisconnect,
  connectionGet,
  connectionGetCredentials,
  connectionGetLive,
  connectionListWithHealth,
  connectionResetLastSyncedAt,
  connectionSetStatus,
  type Provider,
  providers,
  syncLogRecord,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

async function tenantId(): Promise<string> {
  return (await createTenant(pool)).organisationId;
}

async function lastSyncedAt(key: ConnectionKey): Promise<string | null | undefined> {
  return (await connectionGet(pool, key))?.lastSyncedAt;
}

describe('connectionConnect', () => {
  test.each(providers)('connects %s', async (provider) => {
    const key = await connect(pool, await tenantId(), provider);
    expect(await connectionGet(pool, key)).toMatchObject({
      ...key,
      provider,
      status: 'active',
      statusReason: null,
      lastSyncedAt: null,
      disconnectedAt: null,
    });
  });

  test('returns when the connection was made', async () => {
    const organisationId = await tenantId();
    const connectionId = randomUUID();
    const credentials = await encryptCredentials({ organisationId, connectionId, provider: 'alto' });
    const { connectedAt } = await connectionConnect(pool, {
      organisationId,
      connectionId,
      provider: 'alto',
      credentials,
    });
    expect((await connectionGet(pool, { organisationId, connectionId }))?.connectedAt).toBe(connectedAt);
  });

  test('stores when the access token expires', async () => {
    const organisationId = await tenantId();
    const connectionId = randomUUID();
    const credentials = await encryptCredentials({ organisationId, connectionId, provider: 'alto' });
    await connectionConnect(pool, {
      organisationId,
      connectionId,
      provider: 'alto',
      credentials,
      credentialsExpiresAt: '2026-11-23T10:00:00+01:00',
    });
    expect(await connectionGetCredentials(pool, { organisationId, connectionId })).toEqual({
      provider: 'alto',
      account: null,
      credentials,
      credentialsKeyId: 'test-key-1',
      credentialsVersion: 1,
      credentialsExpiresAt: '2026-11-23T09:00:00.000000Z',
    });
  });

  test('returns the token expiry without the credentials', async () => {
    const key = await connect(pool, await tenantId(), 'reapit');
    const { organisationId } = key;
    const expiry = { credentialsVersion: 1, credentialsExpiresAt: '2026-11-23T09:00:00.000000Z' };
    await pool.query('update crm_connections set credentials_expires_at = $2 where id = $1', [
      key.connectionId,
      expiry.credentialsExpiresAt,
    ]);
    const health = await connectionListWithHealth(pool, { organisationId, failuresSince: new Date() });
    const rows = [
      await connectionGet(pool, key),
      await connectionGetLive(pool, { organisationId, provider: 'reapit' }),
      ...health,
    ];
    expect(rows).toHaveLength(3);
    for (const row of rows) {
      expect(row).toMatchObject(expiry);
      expect(row).not.toHaveProperty('credentials');
    }
  });

  test('refuses a second live connection to the same CRM', async () => {
    const { organisationId } = await connect(pool, await tenantId(), 'loop');
    await expect(connect(pool, organisationId, 'loop')).rejects.toMatchObject({
      name: 'CrmSchemaError',
      code: 'live_connection_exists',
    });
    await connect(pool, organisationId, 'street');
  });

  test('lets exactly one of two concurrent calls connect', async () => {
    const organisationId = await tenantId();
    const attempts = await Promise.allSettled(
      Array.from({ length: 8 }, () => connect(pool, organisationId, 'loop')),
    );
    expect(attempts.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('refuses an id that is in use', async () => {
    const key = await connect(pool, await tenantId(), 'alto');
    const credentials = await encryptCredentials({ ...key, provider: 'loop' });
    await expect(connectionConnect(pool, { ...key, provider: 'loop', credentials })).rejects.toMatchObject({
      code: 'connection_exists',
    });
  });

  test('refuses an organisation that does not exist', async () => {
    await expect(connect(pool, randomUUID())).rejects.toMatchObject({ code: 'unknown_organisation' });
  });

  test('refuses an unknown provider, and names the known ones', async () => {
    const organisationId = await tenantId();
    const connectionId = randomUUID();
    const credentials = await encryptCredentials({ organisationId, connectionId, provider: 'loop' });
    await expect(
      connectionConnect(pool, { organisationId, connectionId, provider: 'Reapit' as Provider, credentials }),
    ).rejects.toMatchObject({
      code: 'unknown_provider',
      message: 'provider must be one of agentos, reapit, alto, street, loop, custom, not "Reapit".',
    });
  });

  test('refuses credentials of another connection', async () => {
    const organisationId = await tenantId();
    const credentials = await encryptCredentials({
      organisationId,
      connectionId: randomUUID(),
      provider: 'loop',
    });
    await expect(
      connectionConnect(pool, { organisationId, connectionId: randomUUID(), provider: 'loop', credentials }),
    ).rejects.toMatchObject({ code: 'credentials_bound_elsewhere' });
  });

  test.each([
    ['plaintext', { apiKey: 'secret-plaintext' }],
    ['a string', 'secret-plaintext'],
    ['null', null],
    ['an array', ['secret-plaintext']],
  ])('refuses %s as credentials, without repeating them', async (_, credentials) => {
    const error = await connectionConnect(pool, {
      organisationId: await tenantId(),
      connectionId: randomUUID(),
      provider: 'loop',
      credentials: credentials as never,
    }).catch((refusal) => refusal);
    expect(error).toMatchObject({ code: 'malformed_credentials' });
    expect(`${error} ${error.stack} ${JSON.stringify(error.cause)} ${error.cause}`).not.toContain(
      'secret-plaintext',
    );
  });
});

test('refused credentials never reach the server, whose log would contain them', async () => {
  const client = { query: () => expect.unreachable('something was sent') };
  const owner = { organisationId: randomUUID(), connectionId: randomUUID(), provider: 'loop' } as const;
  const jwe = await encryptCredentials(owner);
  const refused: [string, object][] = [
    ['malformed_credentials', { apiKey: 'secret-plaintext' }],
    ['malformed_credentials', { ...jwe, apiKey: 'secret-plaintext' }],
    ['malformed_credentials', { ...jwe, ciphertext: 'secret plaintext' }],
    ['malformed_credentials', { ...jwe, ciphertext: 'x'.repeat(16_385) }],
    ['malformed_credentials', { ...jwe, header: { kid: 'key-1', apiKey: 'secret-plaintext' } }],
    ['malformed_credentials', { ...jwe, tag: undefined }],
    // The length of base64url is never 4n + 1.
    ['malformed_credentials', { ...jwe, ciphertext: 'AAAAA' }],
    ['credentials_bound_elsewhere', await encryptCredentials({ ...owner, connectionId: randomUUID() })],
  ];
  for (const [code, credentials] of refused) {
    await expect(connectionConnect(client, { ...owner, credentials })).rejects.toMatchObject({
      code,
      message: expect.not.stringContaining('secret'),
    });
  }
});

describe('connectionGet', () => {
  test('does not find a connection of another organisation', async () => {
    const { connectionId } = await connect(pool, await tenantId());
    expect(await connectionGet(pool, { organisationId: await tenantId(), connectionId })).toBeNull();
  });

  test('refuses an invalid UUID before querying the database', async () => {
    await expect(
      connectionGet(pool, { organisationId: '1', connectionId: randomUUID() }),
    ).rejects.toMatchObject({
      code: 'invalid_input',
      message: 'organisationId must be a UUID, not "1".',
    });
  });
});

describe('connectionGetLive', () => {
  test('finds the live connection, not earlier ones', async () => {
    const organisationId = await tenantId();
    const first = await connect(pool, organisationId, 'alto');
    await connectionDisconnect(pool, first);
    expect(await connectionGetLive(pool, { organisationId, provider: 'alto' })).toBeNull();
    const second = await connect(pool, organisationId, 'alto');
    expect(await connectionGetLive(pool, { organisationId, provider: 'alto' })).toMatchObject(second);
  });

  test('finds a connection in error, which counts as live', async () => {
    const key = await connect(pool, await tenantId(), 'alto');
    await connectionSetStatus(pool, { ...key, status: 'error', reason: 'The API key was revoked.' });
    expect(await connectionGetLive(pool, { ...key, provider: 'alto' })).toMatchObject({ status: 'error' });
  });
});

describe('connectionGetCredentials', () => {
  test('returns exactly what was stored', async () => {
    const organisationId = await tenantId();
    const connectionId = randomUUID();
    const credentials = await encryptCredentials({ organisationId, connectionId, provider: 'street' });
    await connectionConnect(pool, { organisationId, connectionId, provider: 'street', credentials });
    expect(await connectionGetCredentials(pool, { organisationId, connectionId })).toMatchObject({
      credentials,
    });
  });

  test('returns none once disconnected', async () => {
    const key = await connect(pool, await tenantId());
    await connectionDisconnect(pool, key);
    expect(await connectionGetCredentials(pool, key)).toBeNull();
  });
});

describe('connectionSetStatus', () => {
  test('sets error with a reason, and active without one', async () => {
    const key = await connect(pool, await tenantId());
    await connectionSetStatus(pool, { ...key, status: 'error', reason: 'The API key was revoked.' });
    expect(await connectionGet(pool, key)).toMatchObject({
      status: 'error',
      statusReason: 'The API key was revoked.',
    });
    await connectionSetStatus(pool, { ...key, status: 'active' });
    expect(await connectionGet(pool, key)).toMatchObject({ status: 'active', statusReason: null });
  });

  test('keeps statusChangedAt if only the reason changes', async () => {
    const key = await connect(pool, await tenantId());
    const first = await connectionSetStatus(pool, { ...key, status: 'error', reason: 'No answer.' });
    const second = await connectionSetStatus(pool, { ...key, status: 'error', reason: 'Still no answer.' });
    expect(second).toEqual(first);
    const healed = await connectionSetStatus(pool, { ...key, status: 'active' });
    expect(healed.statusChangedAt > first.statusChangedAt).toBe(true);
  });

  test.each([
    ['an unknown status', { status: 'broken' }, 'status must be one of active, error, not "broken".'],
    ['disconnected', { status: 'disconnected' }, 'status must be one of active, error, not "disconnected".'],
    ['an error without a reason', { status: 'error' }, 'reason must be text, not undefined.'],
    ['a blank reason', { status: 'error', reason: ' ' }, 'reason is blank.'],
    [
      'a reason that is too long',
      { status: 'error', reason: 'x'.repeat(501) },
      'reason is longer than 500 characters.',
    ],
    [
      'an active connection with a reason',
      { status: 'active', reason: 'Fine.' },
      'reason must be null or omitted if status is active.',
    ],
  ])('refuses %s', async (_, change, message) => {
    const key = await connect(pool, await tenantId());
    await expect(connectionSetStatus(pool, { ...key, ...change } as never)).rejects.toMatchObject({
      code: 'invalid_input',
      message,
    });
    expect(await connectionGet(pool, key)).toMatchObject({ status: 'active' });
  });

  test('writes nothing if nothing changes', async () => {
    const key = await connect(pool, await tenantId());
    const place = async () => {
      const { rows } = await pool.query('select ctid::text from crm_connections where id = $1', [
        key.connectionId,
      ]);
      return rows[0].ctid;
    };
    const before = await place();
    await connectionSetStatus(pool, { ...key, status: 'active' });
    expect(await place()).toBe(before);
    await connectionSetStatus(pool, { ...key, status: 'error', reason: 'No answer.' });
    expect(await place()).not.toBe(before);
  });

  test('ignores an error that was found with older credentials', async () => {
    const key = await connect(pool, await tenantId());
    const refused = { ...key, status: 'error', reason: 'The token was refused.' } as const;
    await expect(connectionSetStatus(pool, { ...refused, credentialsVersion: 2 })).rejects.toMatchObject({
      code: 'credentials_superseded',
      message: 'The credentials are no longer version 2: read them again.',
    });
    expect(await connectionGet(pool, key)).toMatchObject({ status: 'active', credentialsVersion: 1 });
    await connectionSetStatus(pool, { ...refused, credentialsVersion: 1 });
    expect(await connectionGet(pool, key)).toMatchObject({ status: 'error' });
    for (const credentialsVersion of [0, 1.5, '1', 2 ** 31]) {
      await expect(
        connectionSetStatus(pool, { ...refused, credentialsVersion } as never),
      ).rejects.toMatchObject({ code: 'invalid_input' });
    }
  });

  test('refuses a disconnected connection and one of another organisation', async () => {
    const key = await connect(pool, await tenantId());
    const stranger = { ...key, organisationId: await tenantId() };
    await expect(connectionSetStatus(pool, { ...stranger, status: 'active' })).rejects.toMatchObject({
      code: 'connection_not_live',
    });
    await connectionDisconnect(pool, key);
    await expect(connectionSetStatus(pool, { ...key, status: 'active' })).rejects.toMatchObject({
      code: 'connection_not_live',
    });
  });
});

describe('connectionDisconnect', () => {
  test('wipes the credentials and keeps the row with its reason', async () => {
    const key = await connect(pool, await tenantId());
    await connectionSetStatus(pool, { ...key, status: 'error', reason: 'The API key was revoked.' });
    const { disconnectedAt } = await connectionDisconnect(pool, key);
    expect(await connectionGet(pool, key)).toMatchObject({
      status: 'disconnected',
      statusReason: 'The API key was revoked.',
      disconnectedAt,
      statusChangedAt: disconnectedAt,
    });
    const { rows } = await pool.query(
      'select credentials, credentials_key_id, credentials_expires_at, credentials_version from crm_connections where id = $1',
      [key.connectionId],
    );
    expect(rows).toEqual([
      { credentials: null, credentials_key_id: null, credentials_expires_at: null, credentials_version: 2 },
    ]);
  });

  test('stores a given reason', async () => {
    const key = await connect(pool, await tenantId());
    await connectionDisconnect(pool, { ...key, reason: 'The agency moved to another CRM.' });
    expect(await connectionGet(pool, key)).toMatchObject({
      statusReason: 'The agency moved to another CRM.',
    });
  });

  test('disconnects only once', async () => {
    const key = await connect(pool, await tenantId());
    await connectionDisconnect(pool, key);
    await expect(connectionDisconnect(pool, key)).rejects.toMatchObject({ code: 'connection_not_live' });
  });
});

describe('connectionAdvanceLastSyncedAt', () => {
  test('moves forwards by a microsecond and is returned unchanged', async () => {
    const key = await connect(pool, await tenantId());
    await connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: '2026-11-16T09:00:00.123456Z' });
    const { lastSyncedAt: moved } = await connectionAdvanceLastSyncedAt(pool, {
      ...key,
      lastSyncedAt: '2026-11-16T09:00:00.123457Z',
    });
    expect(moved).toBe('2026-11-16T09:00:00.123457Z');
    expect(await lastSyncedAt(key)).toBe('2026-11-16T09:00:00.123457Z');
  });

  test('never moves backwards, not even by a microsecond', async () => {
    const key = await connect(pool, await tenantId());
    await connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: '2026-11-16T09:00:00.123456Z' });
    await expect(
      connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: '2026-11-16T09:00:00.123455Z' }),
    ).rejects.toMatchObject({ code: 'cursor_moved_backwards' });
    expect(await lastSyncedAt(key)).toBe('2026-11-16T09:00:00.123456Z');
  });

  test('accepts the same value again', async () => {
    const key = await connect(pool, await tenantId());
    const cursor = { ...key, lastSyncedAt: '2026-11-16T09:00:00.123456Z' };
    await connectionAdvanceLastSyncedAt(pool, cursor);
    expect(await connectionAdvanceLastSyncedAt(pool, cursor)).toEqual({ lastSyncedAt: cursor.lastSyncedAt });
  });

  test("cuts off a CRM's seventh digit and never rounds up", async () => {
    const key = await connect(pool, await tenantId());
    await connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: '2026-11-16T09:00:00.1234569Z' });
    expect(await lastSyncedAt(key)).toBe('2026-11-16T09:00:00.123456Z');
  });

  test('refuses a time without a zone, and infinity', async () => {
    const key = await connect(pool, await tenantId());
    for (const bad of ['2026-11-16T09:00:00', 'infinity', '2026-02-30T09:00:00Z', new Date(Number.NaN)]) {
      await expect(connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: bad })).rejects.toMatchObject({
        code: 'invalid_input',
        message: expect.stringMatching(
          /^lastSyncedAt must be a Date, or ISO 8601 with a zone, in the years 1900 to 9998, not /,
        ),
      });
    }
    expect(await lastSyncedAt(key)).toBeNull();
  });

  test('ends at the latest of many concurrent advances', async () => {
    const key = await connect(pool, await tenantId());
    const times = Array.from(
      { length: 20 },
      (_, second) => `2026-11-16T09:00:${String(second).padStart(2, '0')}Z`,
    );
    const shuffled = times.toSorted(() => Math.random() - 0.5);
    const attempts = await Promise.allSettled(
      shuffled.map((time) => connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: time })),
    );
    expect(await lastSyncedAt(key)).toBe('2026-11-16T09:00:19.000000Z');
    for (const attempt of attempts) {
      if (attempt.status === 'rejected')
        expect(attempt.reason).toMatchObject({ code: 'cursor_moved_backwards' });
    }
  });

  test('waits for a concurrent advance, then refuses to undo it', async () => {
    const key = await connect(pool, await tenantId());
    const first = await pool.connect();
    try {
      await first.query('begin');
      await connectionAdvanceLastSyncedAt(first, { ...key, lastSyncedAt: '2026-11-18T00:00:00Z' });
      const second = connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: '2026-11-17T00:00:00Z' });
      const outcome = expect(second).rejects.toMatchObject({ code: 'cursor_moved_backwards' });
      await new Promise((resolve) => setTimeout(resolve, 100));
      await first.query('commit');
      await outcome;
    } finally {
      first.release();
    }
    expect(await lastSyncedAt(key)).toBe('2026-11-18T00:00:00.000000Z');
  });

  test('refuses a disconnected connection and one of another organisation', async () => {
    const key = await connect(pool, await tenantId());
    const cursor = { lastSyncedAt: '2026-11-16T09:00:00Z' };
    await expect(
      connectionAdvanceLastSyncedAt(pool, { ...key, organisationId: await tenantId(), ...cursor }),
    ).rejects.toMatchObject({ code: 'connection_not_live' });
    await connectionDisconnect(pool, key);
    await expect(connectionAdvanceLastSyncedAt(pool, { ...key, ...cursor })).rejects.toMatchObject({
      code: 'connection_not_live',
    });
  });
});

describe('connectionResetLastSyncedAt', () => {
  test('clears the cursor, which can then move anywhere', async () => {
    const key = await connect(pool, await tenantId());
    await connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: '2026-11-16T09:00:00Z' });
    await connectionResetLastSyncedAt(pool, key);
    expect(await lastSyncedAt(key)).toBeNull();
    await connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: '2020-01-01T00:00:00Z' });
    expect(await lastSyncedAt(key)).toBe('2020-01-01T00:00:00.000000Z');
  });

  test('refuses a connection that is not live', async () => {
    const key = await connect(pool, await tenantId());
    await connectionDisconnect(pool, key);
    await expect(connectionResetLastSyncedAt(pool, key)).rejects.toMatchObject({
      code: 'connection_not_live',
    });
  });
});

describe('connectionListWithHealth', () => {
  const failuresSince = '2026-11-17T00:00:00Z';

  test('lists live connections first, then history, and only of this organisation', async () => {
    const organisationId = await tenantId();
    await connect(pool, await tenantId(), 'agentos');
    const old = await connect(pool, organisationId, 'alto');
    await connectionDisconnect(pool, old);
    const street = await connect(pool, organisationId, 'street');
    const alto = await connect(pool, organisationId, 'alto');
    const rows = await connectionListWithHealth(pool, { organisationId, failuresSince });
    expect(rows.map(({ connectionId }) => connectionId)).toEqual(
      [alto, street, old].map(({ connectionId }) => connectionId),
    );
  });

  test('returns nulls for a connection without events', async () => {
    const key = await connect(pool, await tenantId());
    expect(await connectionListWithHealth(pool, { ...key, failuresSince })).toMatchObject([
      { lastEventAt: null, lastEventStatus: null, lastFailureAt: null, lastError: null, failureCount: 0 },
    ]);
  });

  test('returns the last event, the last failure and the failures since a time', async () => {
    const key = await connect(pool, await tenantId());
    const event = { direction: 'inbound', entityType: 'contact' } as const;
    const failure = (message: string) =>
      ({ ...event, status: 'error', error: { kind: 'timeout', retryable: true, message } }) as const;
    await syncLogRecord(pool, {
      ...key,
      events: [
        { ...failure('old'), occurredAt: '2026-11-16T23:59:59.999999Z' },
        { ...failure('at the boundary'), occurredAt: '2026-11-17T00:00:00Z' },
        { ...failure('latest'), occurredAt: '2026-11-18T00:00:00Z' },
        { ...event, status: 'success', occurredAt: '2026-11-19T00:00:00Z' },
      ],
    });
    expect(await connectionListWithHealth(pool, { ...key, failuresSince })).toMatchObject([
      {
        lastEventAt: '2026-11-19T00:00:00.000000Z',
        lastEventStatus: 'success',
        lastFailureAt: '2026-11-18T00:00:00.000000Z',
        lastError: { kind: 'timeout', retryable: true, message: 'latest' },
        failureCount: 2,
      },
    ]);
  });

  test('counts at most 1,000 failures', async () => {
    const key = await connect(pool, await tenantId());
    const error = { kind: 'network', retryable: true, message: 'No route.' } as const;
    const events = Array.from(
      { length: 1001 },
      () => ({ direction: 'inbound', entityType: 'contact', status: 'error', error }) as const,
    );
    await syncLogRecord(pool, { ...key, events });
    expect(await connectionListWithHealth(pool, { ...key, failuresSince })).toMatchObject([
      { failureCount: 1000 },
    ]);
  });
});
