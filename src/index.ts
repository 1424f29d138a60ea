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
export * from './connection-health.js';
export * from './connections.js';
export * from './contact-links.js';
export * from './contact-lookup.js';
export { type CredentialsOwner, credentialsAad } from './credentials/jwe.js';
export type { CursorMove } from './cursor-moves.js';
export { CrmSchemaError, type CrmSchemaErrorCode, type CrmSchemaErrorCodes } from './errors.js';
export { type ExternalRecord, toExternalId } from './external-records.js';
export {
  type ClientOf,
  organisationSet,
  type TransactionClient,
  type TransactionPool,
  withOrganisation,
} from './organisations.js';
export * from './outbound-changes.js';
export {
  type Queryable,
  type QueryConfig,
  type QueryField,
  type QueryResult,
  withNamedStatements,
} from './prepared-query.js';
export * from './sync-batches.js';
export * from './sync-cursors.js';
export type { SyncEvent, SyncEventEnd, SyncEventFields } from './sync-events.js';
export * from './sync-failures.js';
export * from './sync-log.js';
export * from './sync-runs.js';
export { canonicalTimestamp } from './timestamps.js';
export * from './types.js';
