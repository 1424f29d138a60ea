/** Which user runs a query: the application, which works for one tenant, or the sync worker. */
export type Runner = 'application' | 'worker';

/** Calls of a query on the data of `releases/…/data.sql`. */
export interface Samples {
  runner: Runner;
  calls: readonly Record<string, unknown>[];
}

/** The time of the calls, by the schema's own clock. */
export const calledAt = '2026-11-16T09:00:00Z';

/** The tenant of the calls. */
export const organisationId = '00000001-0000-4000-8000-000000000000';

const [reapit, alto, street, agentos, formerReapit, custom] = [1, 2, 3, 4, 5, 6].map((number) => ({
  organisationId,
  connectionId: `00000001-0000-4000-8000-0000000d000${number}`,
}));
const people = [1, 2, 3, 4, 5, 6, 7].map((number) => `00000001-0000-4000-8000-0000000c000${number}`);
const [one, two, three, four, five] = people;
const stranger = '00000002-0000-4000-8000-0000000c0001';
const mergeId = '00000001-0000-4000-8000-0000000f0001';
const newOperationId = '00000001-0000-4000-8000-0000000f0009';
const changed = { changedBy: 'test', reason: 'A mistake.' };
const nobody = '00000000-0000-0000-0000-000000000000';

const openRun = { ...reapit, runId: '3' };
const newRun = { ...street, runId: '5' };
const lostRun = { ...alto, runId: '4' };

const error = { kind: 'validation', retryable: true, message: 'No name.' };
const kinds = ['auth', 'validation', 'timeout', 'rate_limited', 'conflict'];
const firstPage = { limit: 3, beforeOccurredAt: null, beforeId: null };
const since = '2025-01-01T00:00:00Z';
const requested = { entityTypes: ['contact', 'contact'], externalIds: ['OXF3', 'new'] };
const rateLimit = { provider: 'reapit', scope: 'SBOX', counted: 'requests' };
const stream = { ...reapit, direction: 'inbound', entityType: 'contact' };

function record(externalId: string, provider = 'reapit') {
  return { organisationId, providers: [provider], entityTypes: ['contact'], externalIds: [externalId] };
}

/** A value with the shape of a JWE, bound to a connection. */
function credentials(connectionId: string | undefined, provider: string, kid = 'key-3') {
  const aad = Buffer.from(`nurturehub-crm:${organisationId}:${connectionId}:${provider}`);
  return {
    protected: 'eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0',
    header: { kid },
    encrypted_key: 'n'.repeat(54),
    iv: 'n'.repeat(16),
    ciphertext: 'n'.repeat(80),
    tag: 'n'.repeat(22),
    aad: aad.toString('base64url'),
  };
}

const events = {
  occurredAts: ['2026-11-16T08:59:30Z', null, null],
  directions: ['inbound', 'inbound', 'outbound'],
  entityTypes: ['contact', 'contact', 'contact'],
  externalIds: ['due', 'OXF7', null],
  internalIds: [null, people[6], one],
  statuses: ['error', 'success', 'success'],
  errors: [error, null, null],
  reasons: [null, null, null],
};

function batch(run: typeof openRun, batchNumber: number) {
  return {
    ...run,
    ...events,
    batchNumber,
    leaseSeconds: 300,
    retryAfters: [60, null, null],
    areLinks: [false, true, false],
    changeVersions: [null, null, '1'],
    remoteVersions: [null, null, null],
    remoteModifiedAts: [null, null, null],
    remoteStates: [null, null, null],
    contentHashes: [null, null, null],
    basedOnVersions: [null, null, null],
    cursorDirections: ['inbound'],
    cursorEntityTypes: ['contact'],
    cursorVersions: [run === openRun ? 3 : 0],
    cursorKinds: ['timestamp'],
    cursorSyncedTos: ['2026-11-16T08:59:00.654321Z'],
    cursorTokens: [null],
    cursorPages: [null],
    areCursorsStartingOver: [false],
  };
}

function finish(run: typeof openRun, outcome: string, failure: object | null) {
  const rest = { credentialsVersion: null, retryAfterSeconds: null, hasMore: false, reason: null };
  return { ...rest, ...run, outcome, error: failure };
}

const application = (...calls: Samples['calls']): Samples => ({ runner: 'application', calls });
const worker = (...calls: Samples['calls']): Samples => ({ runner: 'worker', calls });

const newId = '00000001-0000-4000-8000-0000000d0009';

/**
 * Calls of each query of each release. If a parameter was added or removed between releases, the calls have it,
 * and each release uses the parameters that it knows.
 */
export const samples: Readonly<Record<string, Samples>> = {
  connectionAdvanceLastSyncedAt: application(
    { ...reapit, lastSyncedAt: '2026-11-16T08:59:59.999999Z' },
    { ...reapit, lastSyncedAt: '2025-01-01T00:00:00Z' },
    { ...agentos, lastSyncedAt: '2026-11-16T09:00:00Z' },
  ),
  connectionCancelRun: application(alto ?? {}, reapit ?? {}),
  connectionConnect: application(
    {
      organisationId,
      connectionId: newId,
      provider: 'loop',
      credentials: credentials(newId, 'loop'),
      credentialsExpiresAt: '2026-11-16T10:00:00Z',
      account: null,
      idsOfUnknownAccount: null,
    },
    {
      organisationId,
      connectionId: newId,
      provider: 'reapit',
      credentials: credentials(newId, 'reapit'),
      credentialsExpiresAt: null,
      account: 'OTHER',
      idsOfUnknownAccount: null,
    },
  ),
  connectionDisconnect: application(
    { ...reapit, reason: 'Moved to Street.', revokeWithinSeconds: null },
    { ...street, reason: null, revokeWithinSeconds: 60 },
    { ...agentos, reason: null, revokeWithinSeconds: null },
  ),
  connectionDropWork: application(agentos ?? {}, reapit ?? {}),
  connectionGet: application(reapit ?? {}, alto ?? {}, agentos ?? {}),
  connectionGetCredentials: worker(reapit ?? {}, street ?? {}, agentos ?? {}),
  connectionGetLive: application(
    { organisationId, provider: 'reapit' },
    { organisationId, provider: 'agentos' },
  ),
  connectionListLiveByAccount: worker({
    provider: 'reapit',
    account: 'SBOX',
    afterOrganisationId: nobody,
    afterConnectionId: nobody,
    limit: 10,
  }),
  connectionListTotals: worker({}),
  connectionListWithHealth: application(
    { organisationId, failuresSince: since, isLive: null },
    { organisationId, failuresSince: since, isLive: true },
  ),
  connectionPause: application(
    { ...street, until: '2026-11-23T09:00:00Z', reason: 'The office moves.' },
    { ...reapit, until: '2026-11-15T09:00:00Z', reason: null },
  ),
  connectionRequestSync: application({
    organisationId,
    connectionIds: [alto?.connectionId, custom?.connectionId],
    isUrgent: true,
  }),
  connectionResetLastSyncedAt: application(reapit ?? {}, agentos ?? {}),
  connectionResume: application(alto ?? {}, street ?? {}),
  connectionSetAccount: application(
    { ...reapit, account: 'SBOX' },
    { ...reapit, account: 'OTHER' },
    { ...alto, account: 'test-agency' },
  ),
  connectionSetConflictWinner: application({ ...street, conflictWinner: 'crm' }),
  connectionSetStatus: application(
    { ...reapit, status: 'error', reason: 'Access was withdrawn.', credentialsVersion: 7 },
    { ...alto, status: 'active', reason: null, credentialsVersion: null },
    { ...agentos, status: 'active', reason: null, credentialsVersion: null },
  ),
  connectionSetSyncInterval: application({ ...street, syncIntervalSeconds: 600 }),
  connectionTotalWork: worker({}),
  contactExternalIdLink: application(
    { ...record('OXF5'), contactIds: [five] },
    { ...record('OXF1'), contactIds: [one] },
    { ...record('OXF3'), contactIds: [five] },
    { ...record('OXF6'), contactIds: [one] },
    { ...record('OXF6'), contactIds: [stranger] },
  ),
  contactExternalIdLinkAlias: application(
    { ...record('OXF5', 'street'), contactIds: [five] },
    { ...record('OXF6'), contactIds: [one] },
    { ...record('OXF3'), contactIds: [five] },
  ),
  contactExternalIdListByContacts: application({ organisationId, contactIds: people }),
  contactExternalIdLock: application({ organisationId, providers: ['reapit', 'alto'] }),
  contactExternalIdRepoint: application({
    ...record('OXF3'),
    ...changed,
    fromContactIds: [three],
    toContactIds: [five],
  }),
  contactExternalIdResolve: application({
    organisationId,
    provider: 'reapit',
    entityType: 'contact',
    externalIds: ['OXF1', 'oxf1', 'unknown'],
  }),
  contactExternalIdResolveOne: application(
    ...['OXF1', 'oxf1', 'unknown'].map((externalId) => ({
      organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalId,
    })),
  ),
  contactExternalIdUnlink: application({ ...record('Ω 1', 'agentos'), ...changed, contactIds: [four] }),
  contactIdentityChangeList: application(
    { organisationId, contactId: four, beforeId: null, limit: 10 },
    { organisationId, contactId: one, beforeId: '4', limit: 1 },
  ),
  contactMerge: application(
    {
      organisationId,
      ...changed,
      fromContactId: three,
      intoContactId: one,
      operationId: newOperationId,
    },
    {
      organisationId,
      ...changed,
      fromContactId: stranger,
      intoContactId: one,
      operationId: newOperationId,
    },
  ),
  contactMergeUndo: application(
    { organisationId, ...changed, mergeId, operationId: newOperationId },
    { organisationId, ...changed, mergeId: nobody, operationId: newOperationId },
  ),
  contactReferenceCheckMany: application({
    organisationId,
    provider: 'reapit',
    entityTypes: ['contact', 'contact'],
    externalIds: ['OXF1', 'new'],
    contactIds: [one, stranger],
  }),
  credentialsClaimRevocation: worker({ providers: null }),
  credentialsCountByKey: worker({}),
  credentialsListByKey: worker({
    keyId: 'key-1',
    afterOrganisationId: nobody,
    afterConnectionId: nobody,
    limit: 10,
  }),
  credentialsReplace: worker(
    {
      ...reapit,
      provider: 'reapit',
      account: 'SBOX',
      isRepair: true,
      credentialsVersion: 7,
      credentials: credentials(reapit?.connectionId, 'reapit', 'key-2'),
      credentialsExpiresAt: '2026-11-16T11:00:00Z',
    },
    {
      ...alto,
      provider: 'alto',
      account: null,
      isRepair: false,
      credentialsVersion: 99,
      credentials: credentials(alto?.connectionId, 'alto'),
      credentialsExpiresAt: null,
    },
  ),
  credentialsRevoked: worker(formerReapit ?? {}, agentos ?? {}),
  credentialsRewrap: worker({
    keyId: 'key-1',
    organisationIds: [organisationId],
    connectionIds: [reapit?.connectionId],
    credentialsVersions: [7],
    credentials: [credentials(reapit?.connectionId, 'reapit', 'key-4')],
  }),
  externalRecordCheck: application({
    organisationId,
    provider: 'reapit',
    entityTypes: ['contact', 'contact', 'applicant', 'contact', 'contact', 'landlord', 'contact', 'contact'],
    externalIds: ['OXF1', 'OXF3', 'oxf1', 'OXF8', 'unknown', 'OXF1-L', 'OXF1', 'OXF3'],
    versions: ['"1"', null, null, null, null, null, null, null],
    modifiedAts: [null, '2026-11-15T08:00:00Z', null, null, null, null, '2026-11-16T07:00:00Z', null],
    states: ['active', 'archived', 'active', 'active', 'active', 'hidden', 'active', 'archived'],
    contentHashes: [null, '0b'.repeat(32), null, null, null, null, null, '0c'.repeat(32)],
    areCurrent: [null, null, null, null, null, null, true, null],
  }),
  externalRecordListByContacts: application({ organisationId, contactIds: people }),
  externalRecordMergeMany: application({
    organisationId,
    ...changed,
    provider: 'reapit',
    fromEntityTypes: ['landlord', 'contact', 'contact'],
    fromExternalIds: ['OXF1-L', 'OXF3', 'unknown'],
    intoEntityTypes: ['contact', 'contact', 'contact'],
    intoExternalIds: ['OXF1', 'OXF1', 'unknown, too'],
    operationId: newOperationId,
  }),
  organisationSet: application({ organisationId }),
  outboundChangeAnnounce: worker({ limit: 10 }),
  outboundChangeClaim: worker({ ...openRun, limit: 10 }, { ...lostRun, limit: 10 }),
  outboundChangeListWaiting: application({ ...reapit, contactIds: people }),
  outboundChangeRecord: application(
    { organisationId, contactIds: [two, one], fromConnectionId: null, toConnectionId: null },
    { organisationId, contactIds: [stranger], fromConnectionId: reapit?.connectionId, toConnectionId: null },
    { organisationId, contactIds: [three], fromConnectionId: null, toConnectionId: agentos?.connectionId },
  ),
  outboundFillContinue: worker(
    { ...street, limit: 2, maxWaiting: 10 },
    { ...reapit, limit: 2, maxWaiting: 10 },
  ),
  outboundFillStart: application({ ...reapit, isRepeat: false }, { ...street, isRepeat: true }),
  rateLimitBlock: worker({ ...rateLimit, seconds: 60 }, { ...rateLimit, scope: 'new', seconds: 60 }),
  rateLimitPurge: worker({ limit: 10 }),
  rateLimitTake: worker(
    { ...rateLimit, requests: 5, windowSeconds: [1, 86_400], windowRequests: [20, 250_000] },
    { ...rateLimit, scope: 'new', requests: 5, windowSeconds: [60], windowRequests: [600] },
  ),
  recordRequestAdd: application({ ...reapit, ...requested }, { ...agentos, ...requested }),
  recordRequestClaim: worker({ ...newRun, limit: 10 }, { ...lostRun, limit: 10 }),
  recordRequestClear: worker({ ...openRun, ...requested }, { ...lostRun, ...requested }),
  syncBatchRecord: worker(batch(openRun, 2), batch(openRun, 1), batch(newRun, 1), batch(lostRun, 1)),
  syncConflictAcknowledge: application({ ...reapit, ids: ['1', '2'], acknowledgedBy: 'support' }),
  syncConflictList: application({
    ...reapit,
    isAcknowledged: null,
    beforeLastSeenAt: null,
    beforeId: null,
    limit: 10,
  }),
  syncCursorForget: application({ ...stream, entityType: 'landlord' }),
  syncCursorList: application(reapit ?? {}),
  syncCursorReset: application(stream),
  syncFailureClaim: worker({ ...openRun, limit: 10 }, { ...lostRun, limit: 10 }),
  syncFailureCountByKind: application({ ...reapit, kinds }),
  syncFailureDismiss: application({ ...reapit, ids: ['3', '7'], dismissedBy: 'support', reason: 'Gone.' }),
  syncFailureList: application({
    ...reapit,
    kinds,
    isDismissed: null,
    beforeLastFailedAt: null,
    beforeId: null,
    limit: 10,
  }),
  syncFailureReplay: application({
    ...reapit,
    kinds,
    failedFrom: since,
    failedBefore: '2100-01-01T00:00:00Z',
    limit: 10,
  }),
  syncFailureReplayByIds: application({ ...reapit, ids: ['3', '6', '7'] }),
  syncLogCountErrorsByKind: application({ ...reapit, since }),
  syncLogListByConnection: application({ ...reapit, ...firstPage }),
  syncLogListByContact: application({ organisationId, contactId: one, ...firstPage }),
  syncLogListFailures: application({ ...alto, ...firstPage }),
  syncLogRecord: application({ ...reapit, ...events }),
  syncRunCheckHousekeeping: worker({}),
  syncRunClaim: worker({ worker: 'test:5', limit: 10, leaseSeconds: 300, providers: null }),
  syncRunFinish: worker(
    finish(openRun, 'success', null),
    finish(openRun, 'failed', { ...error, kind: 'auth' }),
    finish(newRun, 'cancelled', null),
    finish(lostRun, 'success', null),
  ),
  syncRunHeartbeat: worker({ ...openRun, leaseSeconds: 600 }, { ...lostRun, leaseSeconds: 600 }),
  syncRunListByConnection: application({ ...reapit, beforeId: null, limit: 2 }),
  syncRunPurge: worker({ endedBefore: '2026-01-01T00:00:00Z', limit: 10 }),
  syncRunSweep: worker({ limit: 10 }),
};
