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

/** Who runs a query: the application, for one organisation at a time, if it may; and the worker if it may. */
export function rolesOf(name: QueryName): Role[] {
  if (workersAlone.has(name)) return ['owner', 'crm_worker'];
  // A worker connects nothing.
  if (name === 'connectionConnect') return ['owner', 'crm_app'];
  return ['owner', 'crm_app', 'crm_worker'];
}
