import { randomUUID } from 'node:crypto';
import type { Tenant } from '../../dev/busy-database/index.js';
import { type Provider, syncErrorKinds } from '../../src/index.js';
import { encryptCredentials } from '../support/credentials.js';
import { type QueryName, queries } from './every-query.js';

/** Midnight, `daysLater` days after the start of this month, when the events of a busy database begin. */
export function dayOfThisMonth(daysLater: number): string {
  const now = new Date();
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1 + daysLater)).toISOString();
}

/** Returns the values of a query's parameters, in order. */
export type Call = (name: QueryName) => unknown[];

/** A call of each query for a tenant, with pages of 50 and batches of all the tenant's given contacts. */
export async function callsOf(tenant: Tenant): Promise<Call> {
  const { organisationId, connectionId, contacts } = tenant;
  const provider = tenant.provider as Provider;
  const each = <Value>(value: Value) => contacts.map(() => value);
  const contactIds = contacts.map(({ contactId }) => contactId);
  const credentials = await encryptCredentials({ organisationId, connectionId, provider });
  const newId = randomUUID();
  const nobody = '00000000-0000-0000-0000-000000000000';
  const timeout = { kind: 'timeout', retryable: true, message: 'No answer.' };

  /** Values by parameter name. */
  const values: Record<string, unknown> = {
    organisationId,
    connectionId,
    provider,
    account: 'test-account',
    idsOfUnknownAccount: 'keep',
    runId: tenant.runId,
    contactId: contactIds[0],
    contactIds,
    fromContactIds: contactIds,
    toContactIds: contactIds,
    internalIds: contactIds,
    fromContactId: contactIds[0],
    intoContactId: contactIds[1],
    mergeId: newId,
    operationId: newId,
    changedBy: 'test',
    fromEntityTypes: each('contact'),
    intoEntityTypes: each('contact'),
    fromExternalIds: contacts.map(({ externalId }) => externalId),
    intoExternalIds: contacts.map(({ externalId }) => `${externalId} again`),
    externalId: contacts[0]?.externalId,
    externalIds: contacts.map(({ externalId }) => externalId),
    connectionIds: [connectionId],
    fromConnectionId: null,
    fromTimes: each(null),
    namedConnectionIds: [],
    namedEntityTypes: [],
    namedExternalIds: [],
    beforeTimes: each(null),
    status: 'error',
    reason: 'The API key was revoked.',
    direction: 'inbound',
    entityType: 'contact',
    lastSyncedAt: dayOfThisMonth(70),
    failuresSince: dayOfThisMonth(50),
    isLive: null,
    since: dayOfThisMonth(50),
    beforeOccurredAt: dayOfThisMonth(60),
    beforeId: '1000000',
    limit: 50,
    kinds: syncErrorKinds,
    // A day of the busy agency's failures, which happen every other minute.
    failedFrom: dayOfThisMonth(10),
    failedBefore: dayOfThisMonth(11),
    beforeLastFailedAt: dayOfThisMonth(20),
    beforeLastSeenAt: dayOfThisMonth(20),
    isAcknowledged: null,
    acknowledgedBy: 'test',
    conflictWinner: 'crm',
    isDismissed: null,
    ids: tenant.failureIds,
    dismissedBy: 'test',
    credentials,
    credentialsVersion: 1,
    credentialsVersions: [1],
    credentialsExpiresAt: null,
    keyId: 'test-key-1',
    afterOrganisationId: nobody,
    afterConnectionId: nobody,
    worker: 'test',
    leaseSeconds: 60,
    syncIntervalSeconds: 60,
    revokeWithinSeconds: 3600,
    isUrgent: false,
    isRepair: true,
    until: dayOfThisMonth(90),
    hasMore: false,
    outcome: 'success',
    error: null,
    retryAfterSeconds: null,
    endedBefore: dayOfThisMonth(-80),
    scope: 'test-account',
    counted: 'requests',
    requests: 5,
    seconds: 60,
    windowSeconds: [1, 86_400],
    windowRequests: [20, 250_000],
    // A batch in which every tenth record fails.
    providers: each(provider),
    entityTypes: each('contact'),
    directions: each('inbound'),
    occurredAts: each(dayOfThisMonth(60)),
    statuses: contacts.map((_, index) => (index % 10 === 9 ? 'error' : 'success')),
    errors: contacts.map((_, index) => (index % 10 === 9 ? timeout : null)),
    reasons: each(null),
    batchNumber: 1,
    retryAfters: each(null),
    areLinks: each(true),
    changeVersions: each(null),
    remoteVersions: contacts.map((_, index) => `"${index}"`),
    remoteModifiedAts: each(dayOfThisMonth(0)),
    remoteStates: each('active'),
    contentHashes: each(null),
    areCurrent: each(false),
    basedOnVersions: each(null),
    versions: contacts.map((_, index) => `"${index}"`),
    modifiedAts: each(dayOfThisMonth(0)),
    states: each('active'),
    toConnectionId: null,
    isRepeat: false,
    maxWaiting: 100_000,
    cursorDirections: ['inbound'],
    cursorEntityTypes: ['contact'],
    cursorVersions: [1],
    cursorKinds: ['timestamp'],
    cursorSyncedTos: [dayOfThisMonth(70)],
    cursorTokens: [null],
    cursorPages: [null],
    areCursorsStartingOver: [false],
    // Thirty days, with a border between two months.
    periodStarts: Array.from({ length: 30 }, (_, day) => dayOfThisMonth(20 + day)),
    periodEnds: Array.from({ length: 30 }, (_, day) => dayOfThisMonth(21 + day)),
  };
  const exported = { connectionIds: each(connectionId) };
  /** Values that replace those above for some queries. */
  const special: Partial<Record<QueryName, Record<string, unknown>>> = {
    contactExportEvents: exported,
    contactExportFailures: exported,
    contactExportRecordRequests: exported,
    syncConflictAcknowledge: { ids: contacts.map((_, index) => String(index + 1)) },
    connectionConnect: {
      connectionId: newId,
      provider: 'custom',
      credentials: await encryptCredentials({ organisationId, connectionId: newId, provider: 'custom' }),
    },
    credentialsClaimRevocation: { providers: null },
    syncRunClaim: { providers: null },
    // Later ones are refused.
    syncLogRecord: { occurredAts: each(dayOfThisMonth(0)) },
    credentialsRewrap: { organisationIds: [organisationId], credentials: [credentials] },
  };
  return (name) => {
    const given: Record<string, unknown> = { ...values, ...special[name] };
    return queries[name].parameterNames.map((parameter) => given[parameter]);
  };
}
