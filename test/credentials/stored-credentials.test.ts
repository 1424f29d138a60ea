import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import { beforeAll, describe, expect, expectTypeOf, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type Credentials,
  credentialAccount,
  credentialsCheckKeys,
  credentialsConnect,
  credentialsCountByKey,
  credentialsGet,
  credentialsRefresh,
  credentialsReplace,
  credentialsRotate,
  decryptCredentials,
  encryptCredentials,
  type KeyRing,
  type ProviderCredentials,
  type StoredCredentials,
} from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionGet,
  type Provider,
  providers,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool, url } = useDatabase();

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});

async function tenantId(): Promise<string> {
  return (await createTenant(pool)).organisationId;
}

/** A new Reapit connection whose refresh token is single use. */
async function reapit() {
  const key = await connect(pool, await tenantId(), 'reapit');
  return { ...key, provider: 'reapit' } as const;
}

const fresh: Credentials<'reapit'> = { grant: 'authorization_code', refreshToken: 'test-refresh-2' };

describe('credentialsConnect', () => {
  test.each(providers)('connects %s with credentials that can be read back', async (provider) => {
    const organisationId = await tenantId();
    const credentials = sampleCredentials[provider];
    const { connectionId, connectedAt } = await credentialsConnect(pool, keys, {
      organisationId,
      ...({ provider, credentials } as ProviderCredentials),
      credentialsExpiresAt: '2026-11-23T10:00:00+01:00',
    });
    expect(await credentialsGet(pool, keys, { organisationId, connectionId })).toEqual({
      provider,
      account: credentialAccount(provider, credentials),
      credentials,
      credentialsVersion: 1,
      credentialsKeyId: 'test-key-1',
      credentialsExpiresAt: '2026-11-23T09:00:00.000000Z',
    });
    expect(await connectionGet(pool, { organisationId, connectionId })).toMatchObject({ connectedAt });
  });

  test('uses a connectionId from the caller', async () => {
    const connectionId = randomUUID();
    const made = await credentialsConnect(pool, keys, {
      organisationId: await tenantId(),
      connectionId,
      provider: 'street',
      credentials: sampleCredentials.street,
    });
    expect(made.connectionId).toBe(connectionId);
  });

  test('refuses invalid credentials before sending anything', async () => {
    const client = { query: () => expect.unreachable('something was sent') };
    await expect(
      credentialsConnect(client, keys, {
        organisationId: randomUUID(),
        provider: 'street',
        credentials: { token: ' pasted-secret' },
      }),
    ).rejects.toMatchObject({
      code: 'invalid_credentials',
      message: 'credentials.token must be printable ASCII without white space around it (street).',
    });
  });

  test('refuses a second live connection', async () => {
    const { organisationId } = await reapit();
    await expect(
      credentialsConnect(pool, keys, {
        organisationId,
        provider: 'reapit',
        credentials: sampleCredentials.reapit,
      }),
    ).rejects.toMatchObject({ code: 'live_connection_exists' });
  });

  test('does not repeat a token passed as its expiry by mistake', async () => {
    const error = await credentialsConnect(pool, keys, {
      organisationId: randomUUID(),
      provider: 'street',
      credentials: sampleCredentials.street,
      credentialsExpiresAt: 'slipped-secret',
    }).catch((refusal) => refusal);
    expect(error).toMatchObject({ code: 'invalid_input' });
    expect(inspect(error)).not.toContain('slipped-secret');
  });

  test('requires the credentials type of the given provider', () => {
    type Params<P extends Provider> = Parameters<typeof credentialsConnect<P>>[2];
    expectTypeOf<Params<'street'>['credentials']>().toEqualTypeOf<Credentials<'street'>>();
    // @ts-expect-error a token is Street's, not agentOS's
    const _wrong: Params<'agentos'>['credentials'] = { token: 't' };
    const either = 'street' as 'street' | 'agentos';
    type Either = Params<'street' | 'agentos'>;
    // @ts-expect-error wrong for one of the two
    const _mixed: Either = { organisationId: '', provider: either, credentials: { token: 't' } };
  });
});

describe('credentialsGet', () => {
  test('returns the provider’s own type, or a union discriminated by provider', async () => {
    const connection = await reapit();
    const stored = await credentialsGet(pool, keys, connection);
    expectTypeOf(stored).toEqualTypeOf<StoredCredentials<'reapit'> | null>();
    expect(stored?.credentials).toEqual(sampleCredentials.reapit);
    const any = await credentialsGet(pool, keys, {
      organisationId: connection.organisationId,
      connectionId: connection.connectionId,
    });
    // @ts-expect-error without a provider, the type is a union
    const _wrong: StoredCredentials<'agentos'> | null = any;
    if (any?.provider !== 'reapit') return expect.unreachable('another provider');
    expectTypeOf(any.credentials).toEqualTypeOf<Credentials<'reapit'>>();
    expect(any.credentials.grant).toBe('authorization_code');
  });

  test('returns null for another organisation’s, an unknown and a disconnected connection', async () => {
    const connection = await reapit();
    const { connectionId, organisationId } = connection;
    expect(await credentialsGet(pool, keys, { connectionId, organisationId: await tenantId() })).toBeNull();
    expect(await credentialsGet(pool, keys, { organisationId, connectionId: randomUUID() })).toBeNull();
    await connectionDisconnect(pool, connection);
    expect(await credentialsGet(pool, keys, connection)).toBeNull();
  });

  test('refuses an unknown provider', async () => {
    await expect(
      credentialsGet(pool, keys, { ...(await reapit()), provider: 'rightmove' as Provider }),
    ).rejects.toMatchObject({ code: 'unknown_provider' });
  });

  test('refuses a provider other than the connection’s', async () => {
    await expect(credentialsGet(pool, keys, { ...(await reapit()), provider: 'alto' })).rejects.toMatchObject(
      { code: 'credentials_bound_elsewhere' },
    );
  });

  test('refuses a ciphertext copied to another row, even without the database’s check', async () => {
    const [from, to] = [await reapit(), await reapit()];
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query(
        'alter table crm_connections drop constraint crm_connections_credentials_bound_to_row_check',
      );
      await client.query(
        'update crm_connections set credentials = (select credentials from crm_connections where id = $1) where id = $2',
        [from.connectionId, to.connectionId],
      );
      await expect(credentialsGet(client, keys, to)).rejects.toMatchObject({
        code: 'credentials_bound_elsewhere',
      });
      // Now also with the aad changed to match the row.
      await client.query(
        `update crm_connections
         set credentials = credentials || jsonb_build_object('aad', crm_credentials_aad(organisation_id, id, provider))
         where id = $1`,
        [to.connectionId],
      );
      await expect(credentialsGet(client, keys, to)).rejects.toMatchObject({
        code: 'credentials_not_authentic',
      });
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});

describe('credentialsReplace', () => {
  test('replaces the credentials and their expiry, and nothing else', async () => {
    const connection = await reapit();
    const before = await connectionGet(pool, connection);
    expect(
      await credentialsReplace(pool, keys, {
        ...connection,
        credentialsVersion: 1,
        credentials: fresh,
        credentialsExpiresAt: '2026-11-23T10:00:00Z',
      }),
    ).toEqual({
      outcome: 'replaced',
      credentialsVersion: 2,
      archivedIds: 0,
      restoredIds: 0,
      droppedChanges: 0,
    });
    expect(await credentialsGet(pool, keys, connection)).toMatchObject({ credentials: fresh });
    expect(await connectionGet(pool, connection)).toEqual({
      ...before,
      credentialsVersion: 2,
      credentialsExpiresAt: '2026-11-23T10:00:00.000000Z',
    });
    // The expiry belonged to the replaced credentials.
    await credentialsReplace(pool, keys, { ...connection, credentialsVersion: 2, credentials: fresh });
    expect(await connectionGet(pool, connection)).toMatchObject({ credentialsExpiresAt: null });
  });

  test('changes nothing for an old version, and returns the current one', async () => {
    const connection = await reapit();
    await credentialsReplace(pool, keys, { ...connection, credentialsVersion: 1, credentials: fresh });
    const late = { grant: 'authorization_code', refreshToken: 'too-late' } as const;
    for (const credentialsVersion of [1, 3]) {
      expect(
        await credentialsReplace(pool, keys, { ...connection, credentialsVersion, credentials: late }),
      ).toEqual({
        outcome: 'superseded',
        credentialsVersion: 2,
        archivedIds: 0,
        restoredIds: 0,
        droppedChanges: 0,
      });
    }
    expect(await credentialsGet(pool, keys, connection)).toMatchObject({ credentials: fresh });
  });

  test('lets exactly one of twenty concurrent replacements of a version win', async () => {
    const connection = await reapit();
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, worker) =>
        credentialsReplace(pool, keys, {
          ...connection,
          credentialsVersion: 1,
          credentials: { grant: 'authorization_code', refreshToken: `worker-${worker}` },
        }),
      ),
    );
    const winners = outcomes.flatMap(({ outcome }, worker) => (outcome === 'replaced' ? [worker] : []));
    expect(winners).toHaveLength(1);
    expect(outcomes).toEqual(
      outcomes.map((_, worker) => ({
        outcome: worker === winners[0] ? 'replaced' : 'superseded',
        credentialsVersion: 2,
        archivedIds: 0,
        restoredIds: 0,
        droppedChanges: 0,
      })),
    );
    expect(await credentialsGet(pool, keys, connection)).toMatchObject({
      credentials: { refreshToken: `worker-${winners[0]}` },
    });
  });

  test('waits for an open replacement of the same version, then loses', async () => {
    const connection = await reapit();
    const first = await pool.connect();
    try {
      await first.query('begin');
      await credentialsReplace(first, keys, { ...connection, credentialsVersion: 1, credentials: fresh });
      const second = credentialsReplace(pool, keys, {
        ...connection,
        credentialsVersion: 1,
        credentials: sampleCredentials.reapit as Credentials<'reapit'>,
      });
      await first.query('commit');
      expect(await second).toEqual({
        outcome: 'superseded',
        credentialsVersion: 2,
        archivedIds: 0,
        restoredIds: 0,
        droppedChanges: 0,
      });
    } finally {
      first.release();
    }
  });

  test('refuses a connection that is not live, or is another organisation’s, or is to another CRM', async () => {
    const connection = await reapit();
    const change = { credentialsVersion: 1, credentials: fresh } as const;
    await expect(
      credentialsReplace(pool, keys, { ...connection, ...change, organisationId: await tenantId() }),
    ).rejects.toMatchObject({ code: 'connection_not_live' });
    await expect(
      credentialsReplace(pool, keys, {
        ...connection,
        provider: 'street',
        credentialsVersion: 1,
        credentials: sampleCredentials.street,
      }),
    ).rejects.toMatchObject({
      code: 'credentials_bound_elsewhere',
      message: 'The connection is to another CRM, not street.',
    });
    // Detected without violating a constraint, which would have aborted a transaction.
    await withClient(url, async (client) => {
      await client.query('begin');
      const wrong = { ...connection, provider: 'street', credentials: sampleCredentials.street } as const;
      await expect(credentialsReplace(client, keys, { ...wrong, credentialsVersion: 1 })).rejects.toThrow();
      await client.query('select 1');
    });
    await connectionDisconnect(pool, connection);
    await expect(credentialsReplace(pool, keys, { ...connection, ...change })).rejects.toMatchObject({
      code: 'connection_not_live',
    });
  });

  test.each([0, -1, 1.5, Number.NaN, '1', null, undefined])('refuses the version %j', async (version) => {
    await expect(
      credentialsReplace(pool, keys, {
        ...(await reapit()),
        credentialsVersion: version as number,
        credentials: fresh,
      }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

test.each<[string, (keys: KeyRing, connection: Awaited<ReturnType<typeof reapit>>) => Promise<unknown>]>([
  [
    'credentialsConnect',
    (wrong, { organisationId }) =>
      credentialsConnect(pool, wrong, { organisationId, provider: 'reapit', credentials: fresh }),
  ],
  ['credentialsGet', (wrong, connection) => credentialsGet(pool, wrong, connection)],
  [
    'credentialsReplace',
    (wrong, connection) =>
      credentialsReplace(pool, wrong, { ...connection, credentialsVersion: 1, credentials: fresh }),
  ],
  [
    'credentialsRefresh',
    (wrong, connection) =>
      credentialsRefresh(pool, wrong, {
        ...connection,
        credentialsVersion: 1,
        refresh: () => expect.unreachable(),
      }),
  ],
  ['credentialsRotate', (wrong) => credentialsRotate(pool, wrong)],
  ['credentialsCountByKey', (wrong) => credentialsCountByKey(pool, wrong)],
  ['credentialsCheckKeys', (wrong) => credentialsCheckKeys(pool, wrong)],
  ['encryptCredentials', (wrong, connection) => encryptCredentials(wrong, connection, fresh)],
  ['decryptCredentials', (wrong, connection) => decryptCredentials(wrong, connection, {})],
])('%s refuses a value that is not a key ring, such as a promise of one', async (_, call) => {
  const connection = await reapit();
  for (const wrong of [undefined, null, testKeyRing(), { keys: [] }, '{"keys": []}']) {
    await expect(call(wrong as never, connection)).rejects.toMatchObject({
      code: 'invalid_input',
      message: 'keys must be a KeyRing: use await KeyRing.load() or KeyRing.parse(…).',
    });
  }
});

test('code that is generic in the provider gets matching credential types', async () => {
  async function read<P extends Provider>(
    key: ConnectionKey,
    provider: P,
  ): Promise<Credentials<P> | undefined> {
    return (await credentialsGet(pool, keys, { ...key, provider }))?.credentials;
  }
  const credentials = await read(await reapit(), 'reapit');
  expectTypeOf(credentials).toEqualTypeOf<Credentials<'reapit'> | undefined>();
  expect(credentials).toEqual(sampleCredentials.reapit);
  async function store<P extends Provider>(given: ProviderCredentials<P>): Promise<string> {
    const { organisationId } = await createTenant(pool);
    return (await credentialsConnect(pool, keys, { organisationId, ...given })).connectionId;
  }
  await store({ provider: 'street', credentials: sampleCredentials.street });
});

test('no column of a row contains its credentials in clear text', async () => {
  const { organisationId } = await reapit();
  await withClient(url, async (client) => {
    const { rows } = await client.query(
      'select row::text from crm_connections as row where organisation_id = $1',
      [organisationId],
    );
    expect(rows).toHaveLength(1);
    expect(rows[0].row).not.toContain('test-refresh-1');
  });
});
