import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import * as contactExportQueries from '../../src/generated/contact_export.js';
import * as identityChangeQueries from '../../src/generated/contact_external_id_changes.js';
import * as contactExternalIdQueries from '../../src/generated/contact_external_ids.js';
import * as credentialsQueries from '../../src/generated/credentials.js';
import * as connectionQueries from '../../src/generated/crm_connections.js';
import * as outboundChangeQueries from '../../src/generated/crm_outbound_changes.js';
import * as rateLimitQueries from '../../src/generated/crm_rate_limits.js';
import * as recordRequestQueries from '../../src/generated/crm_record_requests.js';
import * as syncConflictQueries from '../../src/generated/crm_sync_conflicts.js';
import * as syncCursorQueries from '../../src/generated/crm_sync_cursors.js';
import * as syncFailureQueries from '../../src/generated/crm_sync_failures.js';
import * as syncLogQueries from '../../src/generated/crm_sync_log.js';
import * as syncRunQueries from '../../src/generated/crm_sync_runs.js';
import * as externalRecordCheckQueries from '../../src/generated/external_record_checks.js';
import * as organisationQueries from '../../src/generated/organisations.js';
import * as syncBatchQueries from '../../src/generated/sync_batches.js';
import {
  type ConnectionKey,
  connectionAdvanceLastSyncedAt,
  connectionDisconnect,
  connectionSetStatus,
  contactExternalIdLinkMany,
  contactExternalIdUnlink,
  contactMerge,
  contactMergeUndo,
  externalRecordMergeMany,
  outboundChangeRecord,
  type RunKey,
  rateLimits,
  rateLimitTake,
  recordRequestAdd,
  syncBatchRecord,
  syncConflictAcknowledge,
  syncConflictList,
  syncCursorReset,
  syncErrorKinds,
  syncFailureDismiss,
  syncFailureList,
  syncLogRecord,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import type { PreparedQuery } from '../../src/statements/prepared-query.js';
import { connect } from '../support/connection.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant } from '../support/database.js';

const generated = {
  ...connectionQueries,
  ...credentialsQueries,
  ...syncRunQueries,
  ...syncLogQueries,
  ...contactExternalIdQueries,
  ...identityChangeQueries,
  ...contactExportQueries,
  ...externalRecordCheckQueries,
  ...syncBatchQueries,
  ...syncConflictQueries,
  ...syncCursorQueries,
  ...syncFailureQueries,
  ...outboundChangeQueries,
  ...rateLimitQueries,
  ...recordRequestQueries,
  ...organisationQueries,
};

export type QueryName = keyof typeof generated;

type ParamsOf<Name extends QueryName> = Parameters<(typeof generated)[Name]['run']>[0];

/** Every generated query, by name. A query without samples does not compile, and then fails the suite. */
export const queries = generated as unknown as Record<
  QueryName,
  PreparedQuery<unknown, Record<string, unknown>>
>;
export const queryNames = Object.keys(generated).sort() as QueryName[];

/** Calls per query that together return every column with a value and, if it is nullable, without one. */
export type Samples = { [Name in QueryName]: readonly ParamsOf<Name>[] };

/** Creates a tenant with rows in every table, and sample calls of every query for it. */
export async function createSamples(pool: pg.Pool): Promise<Samples> {
  const { organisationId, contactIds } = await createTenant(pool, 8);
  const [bothId, takenId, otherId, moverId, goneId, freeId, mergedId, remainingId] = contactIds as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];

  const healthy = await connect(pool, organisationId, 'reapit');
  const failing = await connect(pool, organisationId, 'alto');
  const fresh = await connect(pool, organisationId, 'street');
  const toDisconnect = await connect(pool, organisationId, 'custom');
  const ended = await connect(pool, organisationId, 'agentos');
  await connectionDisconnect(pool, ended);
  const toRevoke = await connect(pool, organisationId, 'agentos');
  await pool.query("update crm_connections set account = 'test-account' where id = $1", [
    toRevoke.connectionId,
  ]);
  await connectionDisconnect(pool, { ...toRevoke, revokeWithinSeconds: 3600 });
  const toRevokeToo = await connect(pool, organisationId, 'agentos');
  await connectionDisconnect(pool, { ...toRevokeToo, revokeWithinSeconds: 3700 });
  const alsoToDisconnect = await connect(pool, organisationId, 'agentos');
  await connectionAdvanceLastSyncedAt(pool, { ...healthy, lastSyncedAt: '2026-11-16T09:00:00Z' });
  await connectionSetStatus(pool, { ...failing, status: 'error', reason: 'The client secret has expired.' });
  await pool.query('update crm_connections set credentials_expires_at = now() where id = $1', [
    healthy.connectionId,
  ]);

  await pool.query("update crm_connections set account = 'healthy-account' where id = $1", [
    healthy.connectionId,
  ]);
  await pool.query(
    "update crm_connections set account = 'failing-account', last_synced_at = null, credentials_expires_at = null where id = $1",
    [failing.connectionId],
  );

  const contact = { direction: 'inbound', entityType: 'contact' } as const;
  const error = { kind: 'auth', retryable: false, message: 'Token refused.' } as const;
  for (const key of [healthy, failing]) {
    await syncLogRecord(pool, {
      ...key,
      events: [
        { ...contact, externalId: 'OXF18000001', internalId: bothId, status: 'success' },
        { ...contact, internalId: bothId, status: 'error', error },
        { ...contact, externalId: 'OXF18000002', status: 'error', error },
        { ...contact, status: 'skipped', internalId: bothId, reason: 'echo' },
      ],
    });
  }
  const link = (contactId: string, externalId: string, provider: 'reapit' | 'alto' = 'reapit') => ({
    provider,
    entityType: 'contact',
    externalId,
    contactId,
  });
  await contactExternalIdLinkMany(pool, {
    organisationId,
    links: [
      link(bothId, '1'),
      link(bothId, '1', 'alto'),
      link(takenId, '2'),
      link(moverId, '3'),
      link(goneId, '4'),
    ],
  });

  await pool.query(
    `insert into contact_external_id_archive
       (organisation_id, connection_id, entity_type, external_id, contact_id, is_primary, first_seen_at, last_seen_at, remote_state)
     values
       ($1, $2, 'contact', '1', $3, true, now(), now(), 'active'),
       ($1, $4, 'contact', '1', $3, true, now(), now(), 'active')`,
    [organisationId, ended.connectionId, bothId, toRevoke.connectionId],
  );
  await contactExternalIdLinkMany(pool, {
    organisationId,
    links: [
      { ...link(bothId, '1'), entityType: 'landlord' },
      { ...link(bothId, '1'), entityType: 'applicant' },
    ],
    ifContactTaken: 'alias',
  });
  await pool.query(
    `update contact_external_id_aliases
     set remote_state = 'merged',
       merged_into_entity_type = 'contact',
       merged_into_external_id = '1',
       remote_version = '"7"',
       remote_modified_at = now()
     where organisation_id = $1 and entity_type = 'applicant'`,
    [organisationId],
  );

  // Of a contact that is not merged: that would forget the version.
  await pool.query(
    `update contact_external_ids
     set remote_version = '"7"',
       content_hash = sha256('now'),
       pushed_at = now(),
       replaced_hashes = array[sha256('before')],
       replaced_at = now()
     where organisation_id = $1 and contact_id = $2`,
    [organisationId, takenId],
  );

  await contactExternalIdLinkMany(pool, {
    organisationId,
    links: [link(mergedId, '11'), link(mergedId, '12', 'alto')],
  });
  await externalRecordMergeMany(pool, {
    organisationId,
    provider: 'reapit',
    merges: [
      {
        from: { entityType: 'contact', externalId: '13' },
        into: { entityType: 'contact', externalId: '11' },
      },
    ],
  });
  await contactExternalIdUnlink(pool, { organisationId, ...link(mergedId, '12', 'alto') });
  const merge = {
    organisationId,
    fromContactId: mergedId,
    intoContactId: remainingId,
    reason: 'Entered twice.',
  };
  const undone = await contactMerge(pool, merge);
  await contactMergeUndo(pool, { organisationId, operationId: undone.operationId });
  const merged = await contactMerge(pool, merge);

  const connectionId = randomUUID();
  const credentials = await encryptCredentials({ organisationId, connectionId, provider: 'loop' });
  const noAnswer = { kind: 'network', retryable: true, message: 'No answer.' } as const;
  const runs = new Map<string, { organisationId: string; connectionId: string; runId: string }>();
  /** Claims every due connection of the tenant. */
  const claim = async () => {
    for (const run of await syncRunClaim(pool, { worker: 'test', limit: 1000 }))
      runs.set(run.connectionId, run);
  };
  const runOf = ({ connectionId }: ConnectionKey) => {
    const { organisationId: organisation, runId = '' } = runs.get(connectionId) ?? {};
    return { organisationId: organisation as string, connectionId, runId };
  };
  // Of another tenant, so that no sample ends this run.
  const stray = await connect(pool, (await createTenant(pool)).organisationId);
  await claim();
  await syncRunFinish(pool, { ...runOf(healthy), outcome: 'failed', error: noAnswer });
  await pool.query('update crm_connections set next_sync_at = now() where id = $1', [healthy.connectionId]);
  await claim();
  const dismissedIds = await recordBatch(pool, runOf(healthy), otherId);
  await recordRequestAdd(pool, {
    ...healthy,
    records: ['5', '6'].map((externalId) => ({ entityType: 'contact', externalId })),
  });
  await pool.query(
    "update crm_record_requests set claimed_run_id = 1, attempts = 1 where connection_id = $1 and external_id = '6'",
    [healthy.connectionId],
  );
  await pool.query('update crm_connections set last_success_at = now() where id = $1', [
    healthy.connectionId,
  ]);
  await pool.query(
    `update crm_connections
     set paused_at = now(), pause_ends_at = now() + interval '1 week', pause_reason = 'The office moves.'
     where id = any($1)`,
    [[failing.connectionId, toDisconnect.connectionId]],
  );
  await outboundChangeRecord(pool, { organisationId, contactIds: [bothId, takenId] });
  await pool.query('delete from crm_outbound_changes where connection_id = $1', [fresh.connectionId]);
  await pool.query(
    "update crm_sync_runs set heartbeat_at = now() - interval '2 hours', expires_at = now() - interval '1 hour' where connection_id = $1",
    [stray.connectionId],
  );
  await pool.query(
    'update crm_connections set fill_started_at = now(), filled_contacts = 7, fill_finished_at = now() where id = $1',
    [failing.connectionId],
  );
  // Due connections, before and after their first sync.
  const { organisationId: otherTenant } = await createTenant(pool);
  await connect(pool, otherTenant, 'street');
  const advanced = await connect(pool, otherTenant, 'reapit');
  await connectionAdvanceLastSyncedAt(pool, { ...advanced, lastSyncedAt: '2026-11-16T09:00:00Z' });

  const rewrapped = await encryptCredentials({ ...healthy, provider: 'reapit' }, {}, 'test-key-2');
  const replacement = { ...(await encryptCredentials({ ...failing, provider: 'alto' })) };
  const nobody = '00000000-0000-0000-0000-000000000000';
  const rateLimit = {
    provider: 'reapit',
    scope: `account of ${organisationId}`,
    counted: 'requests',
  } as const;
  await rateLimitTake(pool, { ...rateLimit, ...rateLimits.reapit.reads });
  const since = '2026-01-01T00:00:00Z';
  const exported = { organisationId, contactIds };
  const exportedIds = ['OXF18000002', 'due', 'given-up', 'dismissed', 'seen', 'unseen', '5', '6'];
  const exportedRecords = {
    connectionIds: exportedIds.map(() => healthy.connectionId),
    entityTypes: exportedIds.map(() => 'contact'),
    externalIds: exportedIds,
  };
  const always = {
    fromTimes: exportedIds.map((_, index) => (index === 0 ? since : null)),
    beforeTimes: exportedIds.map(() => null),
  };
  const first = { limit: 10, beforeOccurredAt: null, beforeId: null };
  const record = (externalId: string) => ({
    organisationId,
    providers: ['reapit'],
    entityTypes: ['contact'],
    externalIds: [externalId],
  });

  return {
    connectionAdvanceLastSyncedAt: [healthy, ended].map((key) => ({
      ...key,
      lastSyncedAt: '2026-11-17T09:00:00Z',
    })),
    connectionCancelRun: [toDisconnect],
    connectionConnect: [{ organisationId, connectionId, provider: 'loop', credentials: { ...credentials } }],
    connectionDisconnect: [
      { ...toDisconnect, revokeWithinSeconds: null },
      { ...alsoToDisconnect, revokeWithinSeconds: 60 },
    ],
    connectionDropWork: [ended],
    connectionGet: [healthy, failing, ended],
    connectionGetCredentials: [healthy, fresh],
    connectionGetLive: ['reapit', 'alto', 'street'].map((provider) => ({ organisationId, provider })),
    connectionListLiveByAccount: ['healthy-account', 'failing-account'].map((account, index) => ({
      provider: index === 0 ? 'reapit' : 'alto',
      account,
      afterOrganisationId: nobody,
      afterConnectionId: nobody,
      limit: 10,
    })),
    connectionListTotals: [undefined],
    connectionListWithHealth: [
      { organisationId, failuresSince: since },
      { organisationId, failuresSince: since, isLive: false },
    ],
    connectionPause: [
      { ...fresh, until: '9000-01-01T00:00:00Z', reason: 'The office moves.' },
      { ...healthy, until: '2026-01-01T00:00:00Z' },
    ],
    connectionRequestSync: [{ organisationId, connectionIds: [fresh.connectionId], isUrgent: false }],
    connectionResetLastSyncedAt: [fresh],
    connectionResume: [fresh],
    connectionSetAccount: [{ ...fresh, account: 'test-account' }],
    connectionSetConflictWinner: [{ ...fresh, conflictWinner: 'crm' }],
    connectionSetStatus: [{ ...fresh, status: 'active' }],
    connectionSetSyncInterval: [{ ...fresh, syncIntervalSeconds: 3600 }],
    connectionTotalWork: [undefined],
    contactExportConflicts: [
      { ...exported, ...exportedRecords, ...always },
      { ...exported, connectionIds: [], entityTypes: [], externalIds: [], fromTimes: [], beforeTimes: [] },
    ],
    contactExportContacts: [{ organisationId, contactId: remainingId }],
    contactExportEvents: [
      { ...exported, ...exportedRecords, ...always, limit: 50, beforeOccurredAt: null, beforeId: null },
    ],
    contactExportFailures: [{ ...exported, ...exportedRecords }],
    contactExportIdentityChanges: [
      { organisationId, contactIds: [mergedId, remainingId], limit: 50, beforeId: null },
      { organisationId, contactIds: [mergedId], limit: 50, beforeId: null },
    ],
    contactExportOutboundChanges: [exported],
    contactExportRecordRequests: [{ ...exported, ...exportedRecords }],
    contactExportRecords: [exported],
    contactExportNamedRecords: [{ organisationId, contactIds: [bothId] }],
    contactExportSpans: [
      {
        organisationId,
        contactIds: [takenId, mergedId, remainingId],
        namedConnectionIds: [],
        namedEntityTypes: [],
        namedExternalIds: [],
      },
    ],
    contactExternalIdLink: [
      { ...record('1'), contactIds: [bothId] },
      { ...record('1'), contactIds: [takenId] },
      { ...record('unknown'), contactIds: [bothId] },
      { ...record('5'), contactIds: [freeId] },
    ],
    contactExternalIdLinkAlias: [{ ...record('6'), contactIds: [bothId] }],
    contactExternalIdListByContacts: [{ organisationId, contactIds }],
    contactExternalIdLock: [{ organisationId, providers: ['reapit', 'alto'] }],
    contactExternalIdRepoint: [{ ...record('3'), fromContactIds: [moverId], toContactIds: [otherId] }],
    contactExternalIdResolve: [
      { organisationId, provider: 'reapit', entityType: 'contact', externalIds: ['1', '2', 'unknown'] },
    ],
    contactExternalIdResolveOne: ['1', 'unknown'].map((externalId) => ({
      organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalId,
    })),
    contactExternalIdUnlink: [{ ...record('4'), contactIds: [goneId] }],
    contactIdentityChangeList: [{ organisationId, contactId: mergedId, limit: 50 }],
    contactMerge: [bothId, nobody].map((fromContactId) => ({
      organisationId,
      fromContactId,
      intoContactId: otherId,
      operationId: randomUUID(),
    })),
    contactMergeUndo: [
      { organisationId, mergeId: merged.operationId, operationId: randomUUID(), changedBy: 'test' },
    ],
    contactReferenceCheckMany: [
      {
        organisationId,
        provider: 'reapit',
        entityTypes: ['contact', 'contact'],
        externalIds: ['1', 'unknown'],
        contactIds: [bothId, nobody],
      },
    ],
    externalRecordListByContacts: [{ organisationId, contactIds }],
    externalRecordMergeMany: [
      {
        organisationId,
        provider: 'reapit',
        fromEntityTypes: ['contact', 'contact'],
        fromExternalIds: ['1', 'unknown'],
        intoEntityTypes: ['contact', 'contact'],
        intoExternalIds: ['2', 'unknown, too'],
        operationId: randomUUID(),
      },
    ],
    credentialsClaimRevocation: [{ providers: ['loop'] }, {}, {}],
    credentialsCountByKey: [undefined],
    credentialsListByKey: [
      { keyId: 'test-key-1', afterOrganisationId: nobody, afterConnectionId: nobody, limit: 5 },
    ],
    credentialsReplace: [1, 99].map((credentialsVersion) => ({
      ...failing,
      provider: 'alto',
      credentialsVersion,
      credentials: replacement,
      isRepair: true,
    })),
    credentialsRewrap: [
      {
        keyId: 'test-key-1',
        organisationIds: [organisationId],
        connectionIds: [healthy.connectionId],
        credentialsVersions: [1],
        credentials: [{ ...rewrapped }],
      },
    ],
    credentialsRevoked: [toRevoke],
    externalRecordCheck: ['1', 'unknown'].map((externalId) => ({
      organisationId,
      provider: 'reapit',
      entityTypes: ['contact'],
      externalIds: [externalId],
      versions: [null],
      modifiedAts: [null],
      states: ['active'],
      contentHashes: [null],
      areCurrent: [false],
    })),
    organisationSet: [{ organisationId }],
    outboundChangeAnnounce: [{ limit: 1000 }],
    outboundChangeClaim: [healthy, fresh].map((key) => ({ ...runOf(key), limit: 10 })),
    outboundChangeListWaiting: [{ ...healthy, contactIds }],
    outboundChangeRecord: [
      { organisationId, contactIds: [otherId], fromConnectionId: null, toConnectionId: null },
    ],
    outboundFillContinue: [{ ...healthy, limit: 10, maxWaiting: 1000 }],
    outboundFillStart: [
      { ...healthy, isRepeat: false },
      { ...failing, isRepeat: false },
    ],
    rateLimitBlock: [{ ...rateLimit, seconds: 1 }],
    rateLimitPurge: [{ limit: 10 }],
    rateLimitTake: [{ ...rateLimit, requests: 5, windowSeconds: [1, 86_400], windowRequests: [20, 250_000] }],
    recordRequestAdd: [{ ...healthy, entityTypes: ['contact'], externalIds: ['1'] }],
    recordRequestClaim: [healthy, fresh].map((key) => ({ ...runOf(key), limit: 10 })),
    recordRequestClear: [{ ...runOf(healthy), entityTypes: ['contact'], externalIds: ['1'] }],
    syncBatchRecord: [batchOfOne(runOf(fresh)), batchOfOne(runOf(fresh))],
    syncConflictAcknowledge: [{ ...healthy, ids: ['1'], acknowledgedBy: 'support' }],
    syncConflictList: [
      { ...healthy, isAcknowledged: null, beforeLastSeenAt: null, beforeId: null, limit: 10 },
    ],
    syncCursorForget: [{ ...healthy, ...contact, entityType: 'landlord' }],
    syncCursorList: [healthy],
    syncCursorReset: [{ ...healthy, ...contact }],
    syncFailureClaim: [healthy, fresh].map((key) => ({ ...runOf(key), limit: 10 })),
    syncFailureCountByKind: [{ ...healthy, kinds: [...syncErrorKinds] }],
    syncFailureDismiss: [
      { ...healthy, ids: dismissedIds, reason: 'Gone at the CRM.', dismissedBy: 'support' },
    ],
    syncFailureList: [
      {
        ...healthy,
        kinds: [...syncErrorKinds],
        isDismissed: null,
        beforeLastFailedAt: null,
        beforeId: null,
        limit: 10,
      },
    ],
    syncFailureReplay: [
      {
        ...healthy,
        kinds: [...syncErrorKinds],
        failedFrom: since,
        failedBefore: '2100-01-01T00:00:00Z',
        limit: 10,
      },
    ],
    syncFailureReplayByIds: [{ ...healthy, ids: dismissedIds }],
    syncLogCountByPeriod: [
      { ...healthy, periodStarts: [since], periodEnds: ['9000-01-01T00:00:00Z'], limit: 10 },
    ],
    syncLogCountErrorsByKind: [{ ...healthy, since }],
    syncLogListByConnection: [{ ...healthy, ...first }],
    syncLogListByContact: [{ organisationId, contactId: bothId, ...first }],
    syncLogListFailures: [{ ...failing, ...first }],
    syncLogRecord: [recordOne(healthy), { ...recordOne(healthy), occurredAts: ['2062-01-01T00:00:00Z'] }],
    syncRunCheckHousekeeping: [undefined],
    syncRunClaim: [
      { worker: 'test', limit: 1000, leaseSeconds: 60, providers: ['loop'] },
      { worker: 'test', limit: 1000, leaseSeconds: 60 },
    ],
    syncRunFinish: [{ ...runOf(failing), outcome: 'success', hasMore: false }],
    syncRunHeartbeat: [{ ...runOf(fresh), leaseSeconds: 60 }],
    syncRunListByConnection: [{ ...healthy, limit: 10 }],
    syncRunPurge: [
      { endedBefore: '2026-01-01T00:00:00Z', limit: 10 },
      { endedBefore: null, limit: 10 },
    ],
    syncRunSweep: [{ limit: 1000 }],
  };
}

/**
 * Records a batch that leaves cursors of every kind and failures in every state, one of them due, one of a push, and conflicts.
 *
 * @returns the id of the failure that is dismissed
 */
async function recordBatch(pool: pg.Pool, run: RunKey, unpushedId: string): Promise<string[]> {
  const failure = (externalId: string, retryable: boolean) =>
    ({
      direction: 'inbound',
      entityType: 'contact',
      externalId,
      status: 'error',
      error: { kind: 'validation', retryable, message: 'No name.' },
    }) as const;
  const conflict = (externalId: string) =>
    ({
      direction: 'inbound',
      entityType: 'contact',
      externalId,
      internalId: unpushedId,
      status: 'skipped',
      reason: 'conflict',
    }) as const;
  const stream = (entityType: string) => ({ direction: 'inbound', entityType, version: 0 }) as const;
  const syncedTo = '2026-11-16T09:00:00Z';
  await syncBatchRecord(pool, {
    ...run,
    batchNumber: 1,
    events: [
      failure('due', true),
      failure('waiting', true),
      failure('given-up', false),
      failure('dismissed', false),
      { ...failure('5', false), direction: 'outbound', internalId: unpushedId },
      conflict('seen'),
      conflict('unseen'),
    ],
    cursors: [
      { ...stream('contact'), position: { kind: 'timestamp', syncedTo } },
      { ...stream('applicant'), position: { kind: 'token', token: 'next', syncedTo } },
      { ...stream('vendor'), position: { kind: 'page', page: 7 } },
      { ...stream('landlord'), position: { kind: 'timestamp', syncedTo } },
      { ...stream('tenant'), position: { kind: 'timestamp', syncedTo } },
    ],
  });
  await syncCursorReset(pool, { ...run, direction: 'inbound', entityType: 'tenant' });
  await pool.query(
    "update crm_sync_failures set next_attempt_at = now() where connection_id = $1 and record_id = 'due'",
    [run.connectionId],
  );
  const conflicts = await syncConflictList(pool, run);
  const seen = conflicts.filter(({ externalId }) => externalId === 'seen').map(({ id }) => id);
  await syncConflictAcknowledge(pool, { ...run, ids: seen, acknowledgedBy: 'support' });
  const failures = await syncFailureList(pool, run);
  const ids = failures.filter(({ recordId }) => recordId === 'dismissed').map(({ id }) => id);
  await syncFailureDismiss(pool, { ...run, ids, reason: 'Gone at the CRM.', dismissedBy: 'support' });
  return ids;
}

function batchOfOne(run: RunKey): ParamsOf<'syncBatchRecord'> {
  return {
    ...recordOne(run),
    runId: run.runId,
    batchNumber: 1,
    leaseSeconds: 60,
    retryAfters: [60],
    areLinks: [false],
    changeVersions: [null],
    remoteVersions: [null],
    remoteModifiedAts: [null],
    remoteStates: [null],
    contentHashes: [null],
    basedOnVersions: [null],
    cursorDirections: ['inbound'],
    cursorEntityTypes: ['contact'],
    cursorVersions: [0],
    cursorKinds: ['timestamp'],
    cursorSyncedTos: ['2026-11-16T09:00:00Z'],
    cursorTokens: [null],
    cursorPages: [null],
    areCursorsStartingOver: [false],
  };
}

function recordOne(key: ConnectionKey): ParamsOf<'syncLogRecord'> {
  return {
    ...key,
    occurredAts: ['2026-11-16T09:00:00Z'],
    directions: ['inbound'],
    entityTypes: ['contact'],
    externalIds: ['OXF18000001'],
    internalIds: [randomUUID()],
    statuses: ['error'],
    errors: [{ kind: 'auth', retryable: false, message: 'Token refused.' }],
    reasons: [null],
  };
}
