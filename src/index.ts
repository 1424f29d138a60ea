/**
 * The typed face of NurtureHub's CRM integration schema.
 *
 * Every function takes a `pg` client or pool first, so that the caller owns the transaction, and is
 * named after the query in `queries/` that it runs. Broken rules throw `CrmSchemaError` with a stable
 * `code`; whatever else the database throws passes through. Each may throw `organisation_not_set` where a
 * member of `crm_app` calls it outside `withOrganisation`, and `not_permitted`.
 *
 * @packageDocumentation
 */

export * from './connections/connections.js';
export { type CredentialsOwner, credentialsAad } from './connections/encrypted-credentials.js';
export * from './connections/health.js';
export * from './connections/sync-schedule.js';
export * from './contacts/external-id-links.js';
export * from './contacts/external-id-lookup.js';
export * from './contacts/external-id-moves.js';
export { type ExternalRecord, toExternalId } from './contacts/external-records.js';
export { CrmSchemaError, type CrmSchemaErrorCode, type CrmSchemaErrorCodes } from './errors.js';
export type { ConnectionKey, RunKey, StreamKey } from './keys.js';
export {
  type Queryable,
  type QueryConfig,
  type QueryField,
  type QueryResult,
  withNamedStatements,
} from './statements/prepared-query.js';
export * from './sync/batches.js';
export type { CursorMove } from './sync/cursor-moves.js';
export * from './sync/cursors.js';
export type { SyncEvent, SyncEventEnd, SyncEventFields } from './sync/events.js';
export * from './sync/failures.js';
export * from './sync/log.js';
export * from './sync/outbound-changes.js';
export * from './sync/runs.js';
export {
  type ClientOf,
  organisationSet,
  type TransactionClient,
  type TransactionPool,
  withOrganisation,
} from './tenancy/organisations.js';
export { canonicalTimestamp } from './timestamps.js';
export * from './types.js';
