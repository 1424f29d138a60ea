import { type QueryName, queryNames } from '../queries/every-query.js';
import type { GroupRole } from '../support/roles.js';

/** The queries for which a role that may write has no privilege. */
const deniedToWriters: Record<Exclude<GroupRole, 'crm_reader'>, QueryName[]> = {
  crm_app: [
    'connectionGetCredentials',
    'credentialsClaimRevocation',
    'credentialsCountByKey',
    'credentialsListByKey',
    'credentialsRewrap',
    'rateLimitBlock',
    'rateLimitPurge',
    'rateLimitTake',
    'syncRunClaim',
    'syncRunPurge',
  ],
  crm_worker: ['connectionConnect'],
};

/** The queries that only read, without locks and without credentials. */
export const readOnly: QueryName[] = [
  'connectionGet',
  'connectionGetLive',
  'connectionListLiveByAccount',
  'connectionListTotals',
  'connectionListWithHealth',
  'connectionTotalWork',
  'contactExportConflicts',
  'contactExportContacts',
  'contactExportEvents',
  'contactExportFailures',
  'contactExportIdentityChanges',
  'contactExportOutboundChanges',
  'contactExportRecordRequests',
  'contactExportRecords',
  'contactExportNamedRecords',
  'contactExportSpans',
  'contactExternalIdListByContacts',
  'contactExternalIdLock',
  'contactExternalIdResolve',
  'contactExternalIdResolveOne',
  'contactIdentityChangeList',
  'contactReferenceCheckMany',
  'externalRecordListByContacts',
  'organisationSet',
  'outboundChangeListWaiting',
  'syncConflictList',
  'syncCursorList',
  'syncFailureCountByKind',
  'syncFailureList',
  'syncLogCountByPeriod',
  'syncLogCountErrorsByKind',
  'syncLogListByConnection',
  'syncLogListByContact',
  'syncLogListFailures',
  'syncRunCheckHousekeeping',
  'syncRunListByConnection',
];

/** The queries that a role may not run. */
export const denied: Record<GroupRole, QueryName[]> = {
  ...deniedToWriters,
  crm_reader: queryNames.filter((name) => !readOnly.includes(name)),
};
