import { expect, test } from 'vitest';
import * as credentials from '../../src/credentials.js';
import * as root from '../../src/index.js';
import * as migrations from '../../src/migrations.js';
import { testKeyRing } from '../support/credentials.js';

/** What a caller without a compiler may pass. */
type AnyFunction = (...args: unknown[]) => unknown;

const unusedClient = { query: () => expect.unreachable() };
const keys = await testKeyRing();
const someKey = {
  organisationId: '00000000-0000-4000-8000-000000000001',
  connectionId: '00000000-0000-4000-8000-000000000002',
};

/** Those that take no parameters besides a client. */
const withoutParameters = ['connectionListTotals', 'connectionTotalWork'];

const functions = Object.entries(root as Record<string, unknown>).filter(
  (entry): entry is [string, AnyFunction] =>
    typeof entry[1] === 'function' &&
    /^(connection|contact|organisationSet|outbound|rateLimit|recordRequest|sync(Batch|Conflict|Cursor|Failure|Log|Run))/.test(
      entry[0],
    ) &&
    !withoutParameters.includes(entry[0]),
);

const credentialFunctions: [string, unknown][] = [
  ['credentialsConnect', credentials.credentialsConnect],
  ['credentialsGet', credentials.credentialsGet],
  ['credentialsRefresh', credentials.credentialsRefresh],
  ['credentialsReplace', credentials.credentialsReplace],
  ['credentialsRotate', credentials.credentialsRotate],
];

test('the list contains the functions of the package', () => {
  expect(functions.length).toBeGreaterThan(45);
});

test.each(functions)('%s refuses parameters that are not an object', async (_, call) => {
  for (const wrong of [null, 'x', 5]) {
    await expect((async () => call(unusedClient, wrong))()).rejects.toMatchObject({
      code: 'invalid_input',
      message: expect.stringMatching(/^(params|key) must be an object, not (null|a string|a number)\.$/),
    });
  }
});

test.each(functions.filter(([, { length }]) => length === 2))(
  '%s refuses a call without parameters',
  async (_, call) => {
    await expect((async () => call(unusedClient))()).rejects.toMatchObject({
      code: 'invalid_input',
      message: expect.stringMatching(/^(params|key) must be an object, not undefined\.$/),
    });
  },
);

test.each([
  ['isUrgent', () => root.connectionRequestSync, { connectionIds: [] }],
  ['isDismissed', () => root.syncFailureList, {}],
  ['isAcknowledged', () => root.syncConflictList, {}],
  ['isRepeat', () => root.outboundFillStart, {}],
])('%s is refused if it is not true or false', async (flag, call, params) => {
  // PostgreSQL would take the first two.
  for (const wrong of ['yes', 'no', 'please', 1]) {
    await expect(
      (async () => (call() as AnyFunction)(unusedClient, { ...someKey, ...params, [flag]: wrong }))(),
    ).rejects.toMatchObject({
      code: 'invalid_input',
      message: `${flag} must be true or false, not ${JSON.stringify(wrong)}.`,
    });
  }
});

test.each(credentialFunctions)('%s refuses parameters that are not an object', async (_, call) => {
  await expect((async () => (call as AnyFunction)(unusedClient, keys, null))()).rejects.toMatchObject({
    code: 'invalid_input',
    message: expect.stringMatching(/^(params|options) must be an object, not null\.$/),
  });
});

test.each([
  ['credentialsAad', () => (credentials.credentialsAad as AnyFunction)()],
  ['encryptCredentials', () => (credentials.encryptCredentials as AnyFunction)(keys, undefined, {})],
  ['decryptCredentials', () => (credentials.decryptCredentials as AnyFunction)(keys, undefined, {})],
])('%s refuses an owner that is not an object', async (_, call) => {
  await expect((async () => call())()).rejects.toMatchObject({
    code: 'invalid_input',
    message: 'owner must be an object, not undefined.',
  });
});

const time = '2026-11-23T09:30:00.000000Z';
const expiring = { credentialsExpiresAt: time };
/** No function gets as far as to use it. */
const connection = { query: () => expect.unreachable() };

test.each<[string, string, () => unknown]>([
  ['canonicalTimestamp', 'options', () => (root.canonicalTimestamp as AnyFunction)(time, null)],
  ['optionalTimestamp', 'options', () => (root.optionalTimestamp as AnyFunction)(time, null)],
  ['optionalTimestamp of no time', 'options', () => (root.optionalTimestamp as AnyFunction)(null, null)],
  ['askFrom', 'options', () => (root.askFrom as AnyFunction)(time, null)],
  ['contentHash', 'fields', () => (root.contentHash as AnyFunction)(null)],
  ['tokenHasExpired', 'credentials', () => (credentials.tokenHasExpired as AnyFunction)(null)],
  ['tokenHasExpired', 'options', () => (credentials.tokenHasExpired as AnyFunction)(expiring, null)],
  [
    'credentialsClaimRevocation',
    'options',
    () => (credentials.credentialsClaimRevocation as AnyFunction)(connection, keys, null),
  ],
  ['publicHalf', 'key', () => (credentials.publicHalf as AnyFunction)(null)],
  ['KeyRing.load', 'environment', () => credentials.KeyRing.load(null as never)],
  ['migrateUp', 'options', () => (migrations.migrateUp as AnyFunction)(connection, null)],
  ['migrateDown', 'options', () => (migrations.migrateDown as AnyFunction)(connection, null)],
  ['migrationPlan', 'options', () => (migrations.migrationPlan as AnyFunction)(connection, null)],
  ['migrationStatus', 'options', () => (migrations.migrationStatus as AnyFunction)(connection, null)],
  ['partitionsDrop', 'options', () => (migrations.partitionsDrop as AnyFunction)(connection, null)],
  ['partitionsEnsure', 'options', () => (migrations.partitionsEnsure as AnyFunction)(connection, null)],
  ['verify', 'options', () => (migrations.verify as AnyFunction)(connection, null)],
])('%s refuses null as its %s', async (_, parameter, call) => {
  await expect((async () => call())()).rejects.toMatchObject({
    code: 'invalid_input',
    message: `${parameter} must be an object, not null.`,
  });
});

test.each<[string, string, (date: unknown) => unknown]>([
  ['tokenExpiresAt', 'issuedAt', (date) => (credentials.tokenExpiresAt as AnyFunction)('reapit', 3600, date)],
  ['tokenHasExpired', 'now', (date) => (credentials.tokenHasExpired as AnyFunction)(expiring, { now: date })],
])('%s refuses a value of %s that is not a Date', async (_, field, call) => {
  for (const [wrong, described] of [
    [null, 'null'],
    [time, JSON.stringify(time)],
  ]) {
    await expect((async () => call(wrong))()).rejects.toMatchObject({
      code: 'invalid_input',
      message: `${field} must be a Date, not ${described}.`,
    });
  }
});

test('functions of one value can be given to map and filter, which pass an index too', () => {
  expect([time].map(root.canonicalTimestamp as (text: string) => string)).toEqual([time]);
  expect([time].map(root.askFrom as (text: string) => string | null)).toEqual([
    '2026-11-23T09:25:00.000000Z',
  ]);
  const past = { credentialsExpiresAt: '2026-01-01T00:00:00Z' };
  expect([past].filter(credentials.tokenHasExpired as (each: typeof past) => boolean)).toEqual([past]);
});

test.each([undefined, null, 'postgres://host/database', {}])(
  'a client that is %j is refused',
  async (client) => {
    for (const call of [
      () => (root.connectionGet as AnyFunction)(client, someKey),
      () => (root.connectionListTotals as AnyFunction)(client),
      () => (root.syncRunClaim as AnyFunction)(client, { worker: 'test' }),
      () => (credentials.credentialsGet as AnyFunction)(client, keys, someKey),
    ]) {
      await expect((async () => call())()).rejects.toMatchObject({
        code: 'invalid_input',
        message: expect.stringMatching(
          /^client must be a pg client or pool, not (undefined|null|a string|an object)\.$/,
        ),
      });
    }
  },
);

test('withOrganisation refuses a call without work before it checks out a client', async () => {
  const pool = { connect: () => expect.unreachable() };
  for (const work of [undefined, {}, Promise.resolve()]) {
    await expect(
      (root.withOrganisation as AnyFunction)(pool, someKey.organisationId, work),
    ).rejects.toMatchObject({
      code: 'invalid_input',
      message: expect.stringMatching(/^work must be a function, not (undefined|an object)\.$/),
    });
  }
});
