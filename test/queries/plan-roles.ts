import type { QueryName } from './every-query.js';

/** As whom a query is run: the owner passes by row-level security, the others do not. */
export type Role = 'owner' | 'crm_app' | 'crm_worker';

/** All organisations', or with credentials to read: not for the application. */
const workersAlone = new Set<QueryName>([
  'connectionGetCredentials',
  'connectionListTotals',
  'connectionTotalWork',
  'credentialsCountByKey',
  'credentialsListByKey',
  'credentialsRewrap',
  'outboundChangeAnnounce',
  'syncRunClaim',
  'syncRunPurge',
  'syncRunSweep',
]);

/**
 * What the tenant policies slow down for the application: they bring a comparison of the organisation that an index
 * can serve, where the query sees to it that there is none.
 */
export const slowedByPolicies: ReadonlySet<QueryName> = new Set<QueryName>([
  'connectionListWithHealth',
  'contactExternalIdListByContacts',
  'syncLogCountErrorsByKind',
  'syncLogListFailures',
]);

/** Who runs a query: the application, for one organisation at a time, if it may; and the worker if it may. */
export function rolesOf(name: QueryName): Role[] {
  if (workersAlone.has(name) || slowedByPolicies.has(name)) return ['owner', 'crm_worker'];
  // A worker connects nothing.
  if (name === 'connectionConnect') return ['owner', 'crm_app'];
  return ['owner', 'crm_app', 'crm_worker'];
}
