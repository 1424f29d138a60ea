/**
 * Typed functions for NurtureHub's CRM integration schema: connections, contact mappings and sync.
 *
 * A function that runs a query has the query's name in `queries/`. Its first parameter is a `pg` client or pool,
 * so the caller owns the transaction.
 *
 * A broken rule throws {@link CrmSchemaError} with a stable `code`; any other database error passes through
 * unchanged. Beyond the codes that it documents, each may throw `not_permitted`, and
 * `organisation_not_set` if a member of `crm_app` calls it outside {@link withOrganisation}.
 *
 * @packageDocumentation
 */

export {
  type ConnectionSetAccountParams,
  connectionSetAccount,
  type SwitchedIds,
} from './connections/accounts.js';
export * from './connections/conflict-winner.js';
export * from './connections/connections.js';
export { type CredentialsOwner, credentialsAad } from './connections/encrypted-credentials.js';
export * from './connections/health.js';
export * from './connections/pauses.js';
export * from './connections/sync-schedule.js';
export type { ChangeAuthor } from './contacts/change-author.js';
export * from './contacts/contact-merges.js';
export * from './contacts/content-hash.js';
export * from './contacts/external-id-links.js';
export * from './contacts/external-id-lock.js';
export * from './contacts/external-id-lookup.js';
export * from './contacts/external-id-moves.js';
export * from './contacts/external-id-unlinks.js';
export * from './contacts/external-record-checks.js';
export * from './contacts/external-record-list.js';
export {
  type ContactExternalIdLinkParams,
  type ContactLink,
  type ExternalRecord,
  toExternalId,
} from './contacts/external-records.js';
export * from './contacts/identity-changes.js';
export * from './contacts/record-merges.js';
export * from './contacts/references.js';
export { CrmSchemaError, type CrmSchemaErrorCode, type CrmSchemaErrorCodes } from './errors.js';
export * from './export/contact-export.js';
export * from './export/document.js';
export type { ConnectionKey, RunKey, StreamKey } from './keys.js';
export {
  type Queryable,
  type QueryConfig,
  type QueryField,
  type QueryResult,
  withNamedStatements,
} from './statements/prepared-query.js';
export * from './sync/batches.js';
export * from './sync/conflicts.js';
export type { CursorMove } from './sync/cursor-moves.js';
export * from './sync/cursors.js';
export type { SyncEvent, SyncEventEnd, SyncEventFields } from './sync/events.js';
export * from './sync/failure-decisions.js';
export * from './sync/failures.js';
export * from './sync/log.js';
export * from './sync/log-counts.js';
export * from './sync/outbound-changes.js';
export * from './sync/outbound-fills.js';
export * from './sync/rate-limit-defaults.js';
export * from './sync/rate-limits.js';
export * from './sync/record-requests.js';
export type { RemoteFields } from './sync/remote-fields.js';
export * from './sync/run-history.js';
export * from './sync/runs.js';
export {
  type ClientOf,
  organisationSet,
  type TransactionClient,
  type TransactionPool,
  withOrganisation,
} from './tenancy/organisations.js';
export { canonicalTimestamp, optionalTimestamp, type TimestampOptions } from './timestamps.js';
export * from './types.js';
