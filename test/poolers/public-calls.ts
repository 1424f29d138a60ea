import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import * as credentials from '../../src/credentials.js';
import * as crm from '../../src/index.js';
import * as migrations from '../../src/migrations.js';
import { connect } from '../support/connection.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant } from '../support/database.js';

/** The names of the functions that refuse poolers. */
export const refusePoolers: ReadonlySet<string> = new Set([
  'migrateDown',
  'migrateUp',
  'partitionsDrop',
  'partitionsEnsure',
]);

/** The names of all public functions that run statements, by their first parameter. */
export const publicNames = [crm, credentials, migrations]
  .flatMap((entryPoint) => Object.entries<unknown>({ ...entryPoint }))
  .filter(([, value]) => typeof value === 'function')
  .filter(([, value]) => /^(async )?function \w+\((client|pool)\b/.test(String(value)))
  .map(([name]) => name)
  // Runs nothing.
  .filter((name) => name !== 'withNamedStatements');

/** A call of each public function on a new tenant, by name. A pool for `withOrganisation`, a client for the others. */
export async function publicCalls(
  pool: pg.Pool,
): Promise<Record<string, (client: pg.Client, clients: pg.Pool) => Promise<unknown>>> {
  const { organisationId, contactIds } = await createTenant(pool, 2);
  const [contactId, otherId] = contactIds as [string, string];
  const key = await connect(pool, organisationId);
  const claimable = await connect(pool, organisationId, 'alto');
  const [claimed] = await crm
    .syncRunClaim(pool, { worker: 'test', limit: 1000 })
    .then((runs) => runs.filter(({ connectionId }) => connectionId === key.connectionId));
  if (claimed === undefined) throw new Error('The connection was not claimed.');
  const run = { ...key, runId: claimed.runId };
  const keys = await testKeyRing('next');
  const provider = 'reapit';
  const contact = { direction: 'inbound', entityType: 'contact' } as const;
  const externalRecord = { entityType: 'contact', externalId: '1' } as const;
  const record = { organisationId, provider, ...externalRecord } as const;
  const event = { ...contact, externalId: '1', internalId: contactId, status: 'success' } as const;
  const since = '2026-01-01T00:00:00Z';
  const owner = { ...key, provider } as const;
  const limit = { provider, scope: 'AAA', counted: 'requests' } as const;
  const stored = { credentials: sampleCredentials.reapit };
  const table = { migrationsTable: 'pgmigrations' };
  const erasureKey = migrations.ErasureKey.parse('0'.repeat(43));
  return {
    connectionAdvanceLastSyncedAt: (client) =>
      crm.connectionAdvanceLastSyncedAt(client, { ...key, lastSyncedAt: since }),
    connectionConnect: (client) => connect(client, organisationId, 'loop'),
    connectionGet: (client) => crm.connectionGet(client, key),
    connectionGetCredentials: (client) => crm.connectionGetCredentials(client, key),
    connectionGetLive: (client) => crm.connectionGetLive(client, { organisationId, provider }),
    connectionListLiveByAccount: (client) =>
      crm.connectionListLiveByAccount(client, { provider, account: 'AAA' }),
    connectionListTotals: (client) => crm.connectionListTotals(client),
    connectionListWithHealth: (client) =>
      crm.connectionListWithHealth(client, { organisationId, failuresSince: since }),
    connectionRequestSync: (client) =>
      crm.connectionRequestSync(client, { organisationId, connectionIds: [key.connectionId] }),
    connectionResetLastSyncedAt: (client) => crm.connectionResetLastSyncedAt(client, key),
    connectionSetAccount: (client) => crm.connectionSetAccount(client, { ...key, account: 'AAA' }),
    connectionSetStatus: (client) => crm.connectionSetStatus(client, { ...key, status: 'active' }),
    connectionSetConflictWinner: (client) =>
      crm.connectionSetConflictWinner(client, { ...key, conflictWinner: 'crm' }),
    connectionSetSyncInterval: (client) =>
      crm.connectionSetSyncInterval(client, { ...key, syncIntervalSeconds: 3600 }),
    connectionTotalWork: (client) => crm.connectionTotalWork(client),
    contactExport: (client) => piecesOf(crm.contactExport(client, { organisationId, contactId })),
    contactExternalIdLink: (client) => crm.contactExternalIdLink(client, { ...record, contactId }),
    contactExternalIdLinkMany: (client) =>
      crm.contactExternalIdLinkMany(client, { organisationId, links: [{ ...record, contactId }] }),
    contactExternalIdListByContact: (client) =>
      crm.contactExternalIdListByContact(client, { organisationId, contactId }),
    contactExternalIdListByContacts: (client) =>
      crm.contactExternalIdListByContacts(client, { organisationId, contactIds }),
    contactExternalIdLock: (client) =>
      crm.contactExternalIdLock(client, { organisationId, providers: [provider] }),
    contactExternalIdMatchMany: (client) =>
      crm.contactExternalIdMatchMany(client, { ...record, externalIds: ['1'] }),
    contactExternalIdRepoint: (client) =>
      crm.contactExternalIdRepoint(client, { ...record, fromContactId: contactId, toContactId: otherId }),
    contactExternalIdRepointMany: (client) =>
      crm.contactExternalIdRepointMany(client, {
        organisationId,
        moves: [{ ...record, fromContactId: otherId, toContactId: contactId }],
      }),
    contactExternalIdResolve: (client) => crm.contactExternalIdResolve(client, record),
    contactExternalIdResolveMany: (client) =>
      crm.contactExternalIdResolveMany(client, { ...record, externalIds: ['1'] }),
    contactExternalIdUnlink: (client) => crm.contactExternalIdUnlink(client, { ...record, contactId }),
    contactExternalIdUnlinkMany: (client) =>
      crm.contactExternalIdUnlinkMany(client, { organisationId, links: [{ ...record, contactId }] }),
    contactIdentityChangeList: (client) =>
      crm.contactIdentityChangeList(client, { organisationId, contactId }),
    contactMerge: (client) =>
      crm.contactMerge(client, { organisationId, fromContactId: otherId, intoContactId: contactId }),
    contactMergeUndo: (client) =>
      crm
        .contactMerge(client, { organisationId, fromContactId: otherId, intoContactId: contactId })
        .then(({ operationId }) => crm.contactMergeUndo(client, { organisationId, operationId })),
    contactReferenceCheckMany: (client) =>
      crm.contactReferenceCheckMany(client, {
        organisationId,
        provider,
        references: [{ entityType: 'contact', externalId: '1', contactId }],
      }),
    externalRecordCheck: (client) => crm.externalRecordCheck(client, record),
    externalRecordCheckMany: (client) =>
      crm.externalRecordCheckMany(client, {
        organisationId,
        provider,
        records: [externalRecord],
      }),
    externalRecordMergeMany: (client) =>
      crm.externalRecordMergeMany(client, {
        organisationId,
        provider,
        merges: [{ from: { ...externalRecord, externalId: 'gone' }, into: externalRecord }],
      }),
    externalRecordListByContacts: (client) =>
      crm.externalRecordListByContacts(client, { organisationId, contactIds }),
    credentialsClaimRevocation: (client) => credentials.credentialsClaimRevocation(client, keys),
    credentialsRevoked: (client) => credentials.credentialsRevoked(client, key),
    credentialsCountByKey: (client) => credentials.credentialsCountByKey(client, keys),
    credentialsCheckKeys: (client) => credentials.credentialsCheckKeys(client, keys),
    credentialsConnect: (client) =>
      credentials.credentialsConnect(client, keys, {
        organisationId,
        connectionId: randomUUID(),
        provider: 'street',
        credentials: sampleCredentials.street,
      }),
    credentialsGet: (client) => credentials.credentialsGet(client, keys, owner),
    credentialsRefresh: (client) =>
      credentials.credentialsRefresh(client, keys, {
        ...owner,
        credentialsVersion: 1,
        refresh: async () => stored,
        patience: 100,
      }),
    credentialsReplace: (client) =>
      credentials.credentialsReplace(client, keys, { ...owner, ...stored, credentialsVersion: 2 }),
    credentialsRotate: (client) => credentials.credentialsRotate(client, keys, {}),
    migrationPlan: (client) => migrations.migrationPlan(client, table),
    migrationStatus: (client) => migrations.migrationStatus(client, table),
    migrateDown: (client) => migrations.migrateDown(client, { ...table, to: 11 }),
    migrateUp: (client) => migrations.migrateUp(client, table),
    organisationSet: (client) => crm.organisationSet(client, { organisationId }),
    outboundChangeAnnounce: (client) => crm.outboundChangeAnnounce(client),
    outboundChangeClaim: (client) => crm.outboundChangeClaim(client, { ...run, limit: 10 }),
    outboundChangeListWaiting: (client) => crm.outboundChangeListWaiting(client, { ...key, contactIds }),
    outboundChangeRecord: (client) => crm.outboundChangeRecord(client, { organisationId, contactIds }),
    outboundFillContinue: (client) => crm.outboundFillContinue(client, key),
    outboundFillStart: (client) => crm.outboundFillStart(client, key),
    partitionsDrop: (client) => migrations.partitionsDrop(client),
    partitionsEnsure: (client) => migrations.partitionsEnsure(client),
    partitionsList: (client) => migrations.partitionsList(client),
    rateLimitBlock: (client) => crm.rateLimitBlock(client, { ...limit, seconds: 1 }),
    rateLimitPurge: (client) => crm.rateLimitPurge(client),
    rateLimitTake: (client) => crm.rateLimitTake(client, { ...limit, ...crm.rateLimits[provider].reads }),
    recordRequestAdd: (client) => crm.recordRequestAdd(client, { ...key, records: [record] }),
    recordRequestClaim: (client) => crm.recordRequestClaim(client, run),
    recordRequestClear: (client) => crm.recordRequestClear(client, { ...run, records: [record] }),
    syncBatchRecord: (client) => crm.syncBatchRecord(client, { ...run, batchNumber: 1, events: [event] }),
    syncCursorForget: (client) => crm.syncCursorForget(client, { ...key, ...contact }),
    syncCursorList: (client) => crm.syncCursorList(client, key),
    syncCursorReset: (client) => crm.syncCursorReset(client, { ...key, ...contact }),
    syncFailureClaim: (client) => crm.syncFailureClaim(client, { ...run, limit: 10 }),
    syncFailureCountByKind: (client) => crm.syncFailureCountByKind(client, key),
    syncConflictAcknowledge: (client) =>
      crm.syncConflictAcknowledge(client, { ...key, ids: [], acknowledgedBy: 'support' }),
    syncConflictList: (client) => crm.syncConflictList(client, key),
    syncFailureDismiss: (client) =>
      crm.syncFailureDismiss(client, { ...key, ids: [], reason: 'Gone.', dismissedBy: 'support' }),
    syncFailureList: (client) => crm.syncFailureList(client, key),
    syncFailureReplay: (client) =>
      crm.syncFailureReplay(client, { ...key, failedFrom: since, failedBefore: '2100-01-01T00:00:00Z' }),
    syncFailureReplayByIds: (client) => crm.syncFailureReplayByIds(client, { ...key, ids: [] }),
    syncLogCountByPeriod: (client) =>
      crm.syncLogCountByPeriod(client, { ...key, times: [since, '9000-01-01T00:00:00Z'] }),
    syncLogCountErrorsByKind: (client) => crm.syncLogCountErrorsByKind(client, { ...key, since }),
    syncLogListByConnection: (client) => crm.syncLogListByConnection(client, key),
    syncLogListByContact: (client) => crm.syncLogListByContact(client, { organisationId, contactId }),
    syncLogListFailures: (client) => crm.syncLogListFailures(client, key),
    syncLogRecord: (client) => crm.syncLogRecord(client, { ...key, events: [event] }),
    syncRunClaim: (client) => crm.syncRunClaim(client, { worker: 'test' }),
    syncRunHeartbeat: (client) => crm.syncRunHeartbeat(client, run),
    syncRunListByConnection: (client) => crm.syncRunListByConnection(client, key),
    syncRunPurge: (client) => crm.syncRunPurge(client),
    syncRunSweep: (client) => crm.syncRunSweep(client),
    syncRunFinish: (client) => crm.syncRunFinish(client, { ...run, outcome: 'success' }),
    organisationErase: async (client) => {
      const leaving = await createTenant(pool);
      return migrations.organisationErase(client, erasureKey, { organisationId: leaving.organisationId });
    },
    verify: (client) => migrations.verify(client),
    withOrganisation: (_, clients) =>
      crm.withOrganisation(clients, organisationId, (client) => crm.connectionListTotals(client)),
    connectionPause: (client) => crm.connectionPause(client, claimable),
    connectionResume: (client) => crm.connectionResume(client, claimable),
    connectionDisconnect: (client) => crm.connectionDisconnect(client, claimable),
    contactErase: async (client) => {
      const leaving = await createTenant(pool, 1);
      const [person = ''] = leaving.contactIds;
      return migrations.contactErase(client, erasureKey, {
        organisationId: leaving.organisationId,
        contactId: person,
      });
    },
    erasureList: (client) => migrations.erasureList(client),
    contactEraseAgain: async (client) =>
      migrations.contactEraseAgain(client, erasureKey, await migrations.erasureList(client)),
  };
}

async function piecesOf(pieces: AsyncIterable<string>): Promise<string[]> {
  const read: string[] = [];
  for await (const piece of pieces) read.push(piece);
  return read;
}
