import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type Credentials,
  credentialAccount,
  credentialsConnect,
  credentialsGet,
  credentialsRefresh,
  credentialsReplace,
  type KeyRing,
  type ProviderCredentials,
} from '../../src/credentials.js';
import {
  connectionDisconnect,
  connectionGet,
  contactExternalIdLink,
  contactExternalIdListByContact,
  type Provider,
} from '../../src/index.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});

const agencyRef = '0000000A-0000-4000-8000-00000000000B';

function reapit(customer: string): Credentials<'reapit'> {
  return { grant: 'client_credentials', customer };
}

/** A signed-in user's grant, which names no customer. */
const anonymous: Credentials<'reapit'> = { grant: 'authorization_code', refreshToken: 'test-refresh-1' };

/** Connects Reapit, and returns the key of the connection. */
async function connectReapit(credentials: Credentials<'reapit'>, account?: string | null) {
  const { organisationId, contactIds } = await createTenant(pool, 1);
  const { connectionId } = await credentialsConnect(pool, keys, {
    organisationId,
    provider: 'reapit',
    credentials,
    account,
  });
  return {
    key: { organisationId, connectionId, provider: 'reapit' },
    contactId: contactIds[0] as string,
  } as const;
}

describe('credentialAccount', () => {
  test.each<[Provider, object, string | null]>([
    ['agentos', sampleCredentials.agentos, 'test-agency'],
    ['reapit', reapit('SBOX'), 'SBOX'],
    ['reapit', { ...anonymous, customer: 'OXF' }, 'OXF'],
    ['reapit', anonymous, null],
    ['alto', { agencyRef }, agencyRef.toLowerCase()],
    ['street', sampleCredentials.street, null],
    ['loop', { ...sampleCredentials.loop, customer: 'OXF' }, null],
    ['custom', sampleCredentials.custom, null],
  ])(
    'of %s returns the name of the account in the credentials, if there is one',
    (provider, credentials, account) => {
      expect(credentialAccount(provider, credentials as Credentials)).toBe(account);
    },
  );

  test('refuses credentials that are not the provider’s', () => {
    expect(() => credentialAccount('street', reapit('SBOX') as never)).toThrow(
      expect.objectContaining({ code: 'invalid_credentials' }),
    );
    expect(() => credentialAccount('rightmove' as 'street', sampleCredentials.street)).toThrow(
      expect.objectContaining({ code: 'unknown_provider' }),
    );
  });
});

describe('credentialsConnect', () => {
  test.each<[string, ProviderCredentials & { account?: string | null }, string | null]>([
    ['the credentials name it', { provider: 'alto', credentials: { agencyRef } }, agencyRef.toLowerCase()],
    [
      'the caller names it',
      { provider: 'street', credentials: sampleCredentials.street, account: 'sandbox' },
      'sandbox',
    ],
    [
      'both do, and the caller decides',
      { provider: 'reapit', credentials: reapit('OXF'), account: 'group' },
      'group',
    ],
    [
      'the caller says that it is unknown',
      { provider: 'reapit', credentials: reapit('OXF'), account: null },
      null,
    ],
    ['nobody names it', { provider: 'reapit', credentials: anonymous }, null],
  ])('stores the account: %s', async (_, params, account) => {
    const { organisationId } = await createTenant(pool);
    const { connectionId } = await credentialsConnect(pool, keys, { organisationId, ...params });
    expect(await connectionGet(pool, { organisationId, connectionId })).toMatchObject({ account });
  });

  test('to another account archives the ids of the first, and back restores them', async () => {
    const { key, contactId } = await connectReapit(reapit('AAA'));
    const { organisationId } = key;
    const record = { provider: 'reapit', entityType: 'contact', externalId: 'OXF1' } as const;
    await contactExternalIdLink(pool, { organisationId, contactId, ...record });
    await connectionDisconnect(pool, key);
    const params = { organisationId, provider: 'reapit' } as const;
    const other = await credentialsConnect(pool, keys, { ...params, credentials: reapit('BBB') });
    expect(other).toEqual({
      connectionId: expect.any(String),
      connectedAt: expect.any(String),
      archivedIds: 1,
      restoredIds: 0,
      waitingChanges: 0,
      droppedChanges: 0,
    });
    expect(await contactExternalIdListByContact(pool, { organisationId, contactId })).toEqual([]);
    await connectionDisconnect(pool, { organisationId, ...other });
    expect(await credentialsConnect(pool, keys, { ...params, credentials: reapit('AAA') })).toMatchObject({
      archivedIds: 0,
      restoredIds: 1,
    });
    expect(await contactExternalIdListByContact(pool, { organisationId, contactId })).toMatchObject([record]);
  });

  test('asks what becomes of ids whose account is unknown', async () => {
    const { key, contactId } = await connectReapit(anonymous);
    const { organisationId } = key;
    await contactExternalIdLink(pool, {
      organisationId,
      contactId,
      provider: 'reapit',
      entityType: 'contact',
      externalId: 'OXF1',
    });
    await connectionDisconnect(pool, key);
    const params = { organisationId, provider: 'reapit', credentials: reapit('AAA') } as const;
    await expect(credentialsConnect(pool, keys, params)).rejects.toMatchObject({ code: 'account_unknown' });
    expect(await credentialsConnect(pool, keys, { ...params, idsOfUnknownAccount: 'archive' })).toMatchObject(
      { archivedIds: 1 },
    );
  });
});

describe('credentialsReplace', () => {
  test.each([
    ['production in place of the sandbox', reapit('SBOX'), reapit('OXF')],
    [
      'another customer of a signed-in user',
      { ...anonymous, customer: 'OXF' },
      { ...anonymous, customer: 'NEP' },
    ],
  ])('refuses credentials of another account, and writes nothing: %s', async (_, from, to) => {
    const { key } = await connectReapit(from as Credentials<'reapit'>);
    const before = [await connectionGet(pool, key), await credentialsGet(pool, keys, key)];
    await expect(
      credentialsReplace(pool, keys, {
        ...key,
        credentialsVersion: 1,
        credentials: to as Credentials<'reapit'>,
      }),
    ).rejects.toMatchObject({ code: 'account_changed', message: expect.stringContaining('disconnect') });
    expect([await connectionGet(pool, key), await credentialsGet(pool, keys, key)]).toEqual(before);
  });

  test('accepts another spelling of the same GUID', async () => {
    const { organisationId } = await createTenant(pool);
    const alto = { organisationId, provider: 'alto' } as const;
    const { connectionId } = await credentialsConnect(pool, keys, { ...alto, credentials: { agencyRef } });
    const credentials = { agencyRef: agencyRef.toLowerCase() };
    expect(
      await credentialsReplace(pool, keys, { ...alto, connectionId, credentialsVersion: 1, credentials }),
    ).toMatchObject({ outcome: 'replaced' });
  });

  test('sets an account that is unknown', async () => {
    const { key } = await connectReapit(anonymous);
    expect(
      await credentialsReplace(pool, keys, { ...key, credentialsVersion: 1, credentials: reapit('OXF') }),
    ).toEqual({
      outcome: 'replaced',
      credentialsVersion: 2,
      archivedIds: 0,
      restoredIds: 0,
      droppedChanges: 0,
    });
    expect(await connectionGet(pool, key)).toMatchObject({ account: 'OXF' });
  });

  test('does not set the account if the version is superseded', async () => {
    const { key } = await connectReapit(anonymous);
    expect(
      await credentialsReplace(pool, keys, { ...key, credentialsVersion: 9, credentials: reapit('OXF') }),
    ).toMatchObject({ outcome: 'superseded' });
    expect(await connectionGet(pool, key)).toMatchObject({ account: null });
  });

  test.each([
    ['the connection’s own name of the account', 'group'],
    ['null, which is not compared', null],
  ])('accepts %s beside credentials that name it otherwise', async (_, account) => {
    const { key } = await connectReapit(reapit('OXF'), 'group');
    const change = { ...key, credentialsVersion: 1, credentials: reapit('NEP') };
    await expect(credentialsReplace(pool, keys, change)).rejects.toMatchObject({ code: 'account_changed' });
    expect(await credentialsReplace(pool, keys, { ...change, account })).toMatchObject({
      outcome: 'replaced',
    });
    expect(await connectionGet(pool, key)).toMatchObject({ account: 'group' });
  });

  test('archives ids of another account when it sets the account', async () => {
    const { key, contactId } = await connectReapit(reapit('AAA'));
    const { organisationId } = key;
    await contactExternalIdLink(pool, {
      organisationId,
      contactId,
      provider: 'reapit',
      entityType: 'contact',
      externalId: 'OXF1',
    });
    await connectionDisconnect(pool, key);
    const { connectionId } = await credentialsConnect(pool, keys, {
      organisationId,
      connectionId: randomUUID(),
      provider: 'reapit',
      credentials: anonymous,
    });
    expect(
      await credentialsReplace(pool, keys, {
        ...key,
        connectionId,
        credentialsVersion: 1,
        credentials: reapit('BBB'),
      }),
    ).toEqual({
      outcome: 'replaced',
      credentialsVersion: 2,
      archivedIds: 1,
      restoredIds: 0,
      droppedChanges: 0,
    });
  });
});

describe('credentialsRefresh', () => {
  const refresh = (
    key: Awaited<ReturnType<typeof connectReapit>>['key'],
    credentials: Credentials<'reapit'>,
  ) =>
    credentialsRefresh(pool, keys, {
      ...key,
      credentialsVersion: 1,
      patience: 0,
      refresh: async () => ({ credentials }),
    });

  test('refuses credentials of another account, and stores nothing', async () => {
    const { key } = await connectReapit({ ...anonymous, customer: 'SBOX' });
    const before = await credentialsGet(pool, keys, key);
    await expect(
      refresh(key, { grant: 'authorization_code', refreshToken: 'test-refresh-2', customer: 'OXF' }),
    ).rejects.toMatchObject({ code: 'account_changed' });
    expect(await credentialsGet(pool, keys, key)).toEqual(before);
  });

  test('keeps the caller’s name of an account whose credentials name it otherwise, and the same as before', async () => {
    const { key } = await connectReapit({ ...anonymous, customer: 'OXF' }, 'group');
    const refreshed = await refresh(key, {
      grant: 'authorization_code',
      refreshToken: 'test-refresh-2',
      customer: 'OXF',
    });
    expect(refreshed).toMatchObject({ account: 'group', credentialsVersion: 2 });
  });

  test('sets an account that is unknown, as after an upgrade', async () => {
    const { key } = await connectReapit({ ...anonymous, customer: 'OXF' }, null);
    const refreshed = await refresh(key, {
      grant: 'authorization_code',
      refreshToken: 'test-refresh-2',
      customer: 'OXF',
    });
    expect(refreshed).toMatchObject({ account: 'OXF' });
  });
});
