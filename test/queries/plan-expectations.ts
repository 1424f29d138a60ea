import type { Size } from '../../dev/busy-database/index.js';
import type { QueryName } from './every-query.js';

/** The limits for a plan. */
export interface Expectation {
  /** The indexes that the plan may use. */
  indexes: string[];
  /** The maximum number of pages touched. A plan with the wrong index exceeds it. */
  buffers: number | ((size: Size) => number);
  /** Tables that may be scanned sequentially, because the query needs all their rows, or any. */
  scanned?: string[];
}

const liveConnection = {
  // An organisation has at most six live connections, so either key is fine.
  indexes: ['crm_connections_pkey', 'crm_connections_organisation_id_provider_live_key'],
  buffers: 60,
};
/** Either key finds an open run. */
const runs = ['crm_sync_runs_pkey', 'crm_sync_runs_connection_id_open_key'];
/** The indexes that find and lock a connection and its open run. */
const heldRun = [...liveConnection.indexes, ...runs];
const failures = [
  'crm_sync_failures_pkey',
  'crm_sync_failures_kind_idx',
  'crm_sync_failures_next_attempt_at_idx',
  'crm_sync_failures_gave_up_at_idx',
  'crm_sync_failures_dismissed_at_idx',
  'crm_sync_failures_id_key',
];
const changes = ['crm_outbound_changes_pkey', 'crm_outbound_changes_next_attempt_at_idx'];
const mappings = [
  'contact_external_ids_pkey',
  'contact_external_ids_contact_id_provider_key',
  'contacts_organisation_id_id_key',
  'contacts_pkey',
];
const identityChanges = [
  'contact_external_id_changes_pkey',
  'contact_external_id_changes_from_contact_id_idx',
  'contact_external_id_changes_to_contact_id_idx',
];
const aliases = ['contact_external_id_aliases_pkey', 'contact_external_id_aliases_contact_id_provider_idx'];

/** The expectations for each query: what its comment says about indexes, checked against the planner. */
export const expectations: Record<QueryName, Expectation> = {
  connectionAdvanceLastSyncedAt: { indexes: ['crm_connections_pkey'], buffers: 60 },
  connectionCancelRun: { indexes: heldRun, buffers: 60 },
  connectionConnect: { indexes: ['crm_connections_pkey'], buffers: 120 },
  connectionDisconnect: { indexes: heldRun, buffers: 60 },
  // Deletes 20,000 failures, and counts as many changes.
  connectionDropWork: {
    indexes: ['crm_connections_pkey', 'crm_record_requests_pkey', ...failures, ...changes],
    buffers: 250_000,
  },
  connectionGet: { indexes: ['crm_connections_pkey'], buffers: 10 },
  connectionGetCredentials: liveConnection,
  connectionGetLive: { indexes: ['crm_connections_organisation_id_provider_live_key'], buffers: 10 },
  connectionListLiveByAccount: { indexes: ['crm_connections_account_idx'], buffers: 60 },
  connectionListTotals: { indexes: [], buffers: (size) => size.agencies / 5, scanned: ['crm_connections'] },
  connectionListWithHealth: {
    indexes: [
      'crm_connections_pkey',
      'crm_sync_log_pkey',
      'crm_sync_log_status_connection_id_idx',
      ...runs,
      ...failures,
      ...changes,
      'crm_record_requests_pkey',
      'crm_sync_conflicts_open_idx',
    ],
    // Counts up to a thousand each of failures, given-up records and changes.
    buffers: 2500,
  },
  connectionPause: liveConnection,
  connectionRequestSync: { indexes: heldRun, buffers: 60 },
  connectionResetLastSyncedAt: { indexes: [...liveConnection.indexes, 'crm_sync_cursors_pkey'], buffers: 60 },
  connectionResume: liveConnection,
  // Of a connection whose account is known, so that nothing is switched.
  connectionSetAccount: liveConnection,
  connectionSetConflictWinner: liveConnection,
  connectionSetStatus: liveConnection,
  connectionSetSyncInterval: liveConnection,
  connectionTotalWork: {
    indexes: ['crm_sync_runs_expires_at_idx', ...failures, ...changes],
    buffers: 3000,
    scanned: ['crm_sync_failures', 'crm_outbound_changes'],
  },
  credentialsClaimRevocation: {
    indexes: ['crm_connections_revoke_before_at_idx', 'crm_connections_pkey'],
    buffers: 60,
  },
  credentialsCountByKey: {
    indexes: ['crm_connections_credentials_key_id_idx'],
    buffers: (size) => 60 + size.agencies / 50,
  },
  credentialsListByKey: {
    indexes: ['crm_connections_pkey', 'crm_connections_credentials_key_id_idx'],
    buffers: 60,
  },
  credentialsReplace: { ...liveConnection, buffers: 80 },
  credentialsRewrap: liveConnection,
  credentialsRevoked: liveConnection,
  contactExternalIdLink: { indexes: [...mappings, ...aliases], buffers: 2500 },
  contactExternalIdLinkAlias: { indexes: [...mappings, ...aliases], buffers: 2500 },
  contactExternalIdLock: { indexes: [], buffers: 20 },
  contactExternalIdListByContacts: {
    indexes: ['contact_external_ids_contact_id_provider_key'],
    buffers: 600,
  },
  contactExternalIdRepoint: { indexes: [...mappings, ...aliases, ...liveConnection.indexes], buffers: 5500 },
  contactExternalIdResolve: {
    indexes: ['contact_external_ids_pkey', 'contact_external_id_aliases_pkey'],
    buffers: 700,
  },
  contactExternalIdResolveOne: {
    indexes: ['contact_external_ids_pkey', 'contact_external_id_aliases_pkey'],
    buffers: 15,
  },
  contactExternalIdUnlink: { indexes: [...mappings, ...aliases, ...liveConnection.indexes], buffers: 3000 },
  contactExportConflicts: {
    indexes: ['crm_sync_conflicts_contact_id_idx', 'crm_connections_pkey'],
    buffers: 2500,
  },
  contactExportContacts: { indexes: identityChanges, buffers: 60 },
  contactExportEvents: {
    indexes: ['crm_sync_log_internal_id_idx', 'crm_sync_log_external_id_idx', 'crm_connections_pkey'],
    buffers: 20_000,
  },
  contactExportFailures: { indexes: ['crm_connections_pkey', 'crm_sync_failures_pkey'], buffers: 10_000 },
  contactExportIdentityChanges: { indexes: identityChanges, buffers: 4000 },
  contactExportOutboundChanges: {
    indexes: ['crm_outbound_changes_pkey', 'crm_connections_pkey'],
    buffers: 2500,
  },
  contactExportRecordRequests: {
    indexes: ['crm_record_requests_pkey', 'crm_connections_pkey'],
    buffers: 2500,
  },
  contactExportRecords: {
    indexes: [...mappings, ...aliases, 'contact_external_id_archive_contact_id_idx', 'crm_connections_pkey'],
    buffers: 2500,
  },
  // Of a hundred people: each of their events.
  contactExportNamedRecords: { indexes: ['crm_sync_log_internal_id_idx'], buffers: 20_000 },
  // Of a hundred people: each of their events, and what else was logged of their records.
  contactExportSpans: { indexes: [], buffers: 150_000 },
  contactIdentityChangeList: { indexes: [...identityChanges], buffers: 60 },
  contactReferenceCheckMany: {
    indexes: [
      'contact_external_id_changes_from_contact_id_idx',
      'contact_external_id_changes_external_id_idx',
      'crm_sync_log_internal_id_idx',
    ],
    buffers: 1500,
  },
  contactMerge: { indexes: [], buffers: 1000 },
  contactMergeUndo: { indexes: [], buffers: 200 },
  externalRecordMergeMany: { indexes: [], buffers: 18_000 },
  externalRecordCheck: {
    indexes: [
      'contact_external_ids_pkey',
      'contact_external_id_aliases_pkey',
      'contact_external_id_changes_external_id_idx',
    ],
    buffers: 1000,
  },
  externalRecordListByContacts: {
    indexes: [
      'contact_external_ids_contact_id_provider_key',
      'contact_external_id_aliases_contact_id_provider_idx',
    ],
    buffers: 1000,
  },
  organisationSet: { indexes: [], buffers: 20 },
  outboundChangeAnnounce: {
    indexes: [
      'crm_outbound_changes_connection_id_new_idx',
      'crm_connections_changes_expire_at_idx',
      'crm_sync_runs_expires_at_idx',
      ...changes,
      ...heldRun,
    ],
    // Announces a hundred changes of the busy agency one by one.
    buffers: 5000,
  },
  outboundChangeClaim: { indexes: [...changes, ...heldRun], buffers: 1500 },
  outboundChangeListWaiting: {
    indexes: [
      ...changes,
      'crm_sync_failures_unpushed_idx',
      'crm_sync_failures_dismissed_at_idx',
      ...liveConnection.indexes,
      'contact_external_ids_contact_id_provider_key',
      'contact_external_id_aliases_contact_id_provider_idx',
    ],
    buffers: 2500,
  },
  // The reads are in crm_continue_fill.
  outboundFillContinue: { indexes: [], buffers: 3000 },
  outboundFillStart: liveConnection,
  outboundChangeRecord: { indexes: liveConnection.indexes, buffers: 3000 },
  rateLimitBlock: { indexes: [], buffers: 200 },
  rateLimitPurge: { indexes: ['crm_rate_limits_pkey'], buffers: 2000, scanned: ['crm_rate_limits'] },
  rateLimitTake: { indexes: [], buffers: 400 },
  recordRequestAdd: { indexes: [...liveConnection.indexes, 'crm_record_requests_pkey'], buffers: 1500 },
  // Reads up to a thousand, in order of their attempts.
  recordRequestClaim: { indexes: [...heldRun, 'crm_record_requests_pkey'], buffers: 1500 },
  recordRequestClear: { indexes: [...heldRun, 'crm_record_requests_pkey'], buffers: 1500 },
  syncBatchRecord: {
    indexes: [
      ...heldRun,
      ...mappings,
      'contact_external_id_aliases_pkey',
      ...failures,
      ...changes,
      'crm_record_requests_pkey',
      'crm_sync_conflicts_pkey',
      'crm_sync_cursors_pkey',
    ],
    buffers: 2000,
  },
  syncConflictAcknowledge: { indexes: ['crm_sync_conflicts_id_key'], buffers: 4000 },
  syncConflictList: { indexes: ['crm_sync_conflicts_last_seen_at_idx'], buffers: 300 },
  syncCursorForget: { indexes: [...liveConnection.indexes, 'crm_sync_cursors_pkey'], buffers: 20 },
  syncCursorList: { indexes: ['crm_sync_cursors_pkey'], buffers: 20 },
  syncCursorReset: { indexes: [...liveConnection.indexes, 'crm_sync_cursors_pkey'], buffers: 60 },
  syncFailureClaim: { indexes: [...failures, ...heldRun], buffers: 1500 },
  // Counts up to 1,000 of each of ten kinds.
  syncFailureCountByKind: { indexes: ['crm_sync_failures_kind_idx'], buffers: 5000 },
  syncFailureDismiss: { indexes: [...failures, ...heldRun, ...mappings, ...aliases], buffers: 5000 },
  syncFailureList: { indexes: ['crm_sync_failures_kind_idx'], buffers: 700 },
  syncFailureReplay: { indexes: [...failures, ...heldRun], buffers: 2000 },
  syncFailureReplayByIds: { indexes: [...failures, ...heldRun], buffers: 3500 },
  // Thirty days, of each at most a page of events and one of failures.
  syncLogCountByPeriod: {
    indexes: ['crm_sync_log_pkey', 'crm_sync_log_status_connection_id_idx'],
    buffers: 4000,
  },
  syncLogCountErrorsByKind: {
    indexes: ['crm_sync_log_status_connection_id_idx'],
    buffers: (size) => 300 + size.events / 400,
  },
  syncLogListByConnection: { indexes: ['crm_sync_log_pkey'], buffers: 200 },
  syncLogListByContact: {
    indexes: ['crm_sync_log_internal_id_idx', 'crm_connections_pkey'],
    // Two months of a contact that has three in a thousand events of the whole log.
    buffers: (size) => 300 + size.events / 400,
  },
  syncLogListFailures: { indexes: ['crm_sync_log_status_connection_id_idx'], buffers: 80 },
  // For the CRM of the connection.
  syncLogRecord: { indexes: ['crm_connections_pkey'], buffers: 1500 },
  syncRunCheckHousekeeping: {
    indexes: [
      'crm_sync_runs_expires_at_idx',
      'crm_connections_revoke_before_at_idx',
      'crm_connections_changes_expire_at_idx',
      'crm_outbound_changes_connection_id_new_idx',
    ],
    buffers: 30,
  },
  syncRunClaim: {
    indexes: ['crm_connections_next_sync_at_idx', 'crm_connections_pkey', ...runs],
    buffers: 1500,
  },
  syncRunFinish: { indexes: [...heldRun, 'crm_sync_cursors_pkey'], buffers: 200 },
  syncRunHeartbeat: { indexes: heldRun, buffers: 60 },
  // A page of 50 runs, which are on as many pages of the table.
  syncRunListByConnection: { indexes: ['crm_sync_runs_pkey'], buffers: 80 },
  syncRunPurge: { indexes: ['crm_sync_runs_ended_at_idx', 'crm_sync_runs_pkey'], buffers: 700 },
  syncRunSweep: {
    indexes: [
      'crm_sync_runs_expires_at_idx',
      'crm_connections_revoke_before_at_idx',
      'crm_connections_pkey',
      ...runs,
    ],
    buffers: 1500,
  },
};
