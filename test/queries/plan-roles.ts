import type { QueryName } from './every-query.js';

/** The role that runs a query. Only the owner bypasses row-level security. */
export type Role = 'owner' | 'crm_app' | 'crm_worker';

/** Queries that the application may not run, because they cover all organisations or read credentials. */
const workersAlone = new Set<QueryName>([
  'connectionGetCredentials',
  'connectionListTotals',
  'connectionTotalWork',
  'credentialsClaimRevocation',
  'credentialsCountByKey',
  'credentialsListByKey',
  'credentialsRewrap',
  'outboundChangeAnnounce',
  'rateLimitBlock',
  'rateLimitPurge',
  'rateLimitTake',
  'syncRunCheckHousekeeping',
  'syncRunClaim',
  'syncRunPurge',
  'syncRunSweep',
]);

/**
 * The roles that run a query: the application for one organisation at a time, and the worker, where
 * permitted.
 */
export function rolesOf(name: QueryName): Role[] {
  if (workersAlone.has(name)) return ['owner', 'crm_worker'];
  // A worker never connects a CRM.
  if (name === 'connectionConnect') return ['owner', 'crm_app'];
  return ['owner', 'crm_app', 'crm_worker'];
}
