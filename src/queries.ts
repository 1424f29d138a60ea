/**
 * The statements of `queries/`, typed by pgtyped: to run one directly, or to read its text.
 *
 * The functions of the package's root check their input and return rows with precise types. These queries do
 * neither: parameters are sent as given, and rows have the types that PostgreSQL reports.
 *
 * ```ts
 * import { connectionGet } from '@nurturehub/crm-schema/queries';
 *
 * const [connection] = await connectionGet.run({ organisationId, connectionId }, client);
 * ```
 *
 * @packageDocumentation
 */
export * from './generated/contact_export.js';
export * from './generated/contact_external_id_changes.js';
export * from './generated/contact_external_ids.js';
export * from './generated/credentials.js';
export * from './generated/crm_connections.js';
export * from './generated/crm_outbound_changes.js';
export * from './generated/crm_rate_limits.js';
export * from './generated/crm_record_requests.js';
export * from './generated/crm_sync_conflicts.js';
export * from './generated/crm_sync_cursors.js';
export * from './generated/crm_sync_failures.js';
export * from './generated/crm_sync_log.js';
export * from './generated/crm_sync_runs.js';
export * from './generated/external_record_checks.js';
export * from './generated/organisations.js';
export * from './generated/sync_batches.js';
export {
  type PreparedQuery,
  type Queryable,
  type QueryConfig,
  type QueryField,
  type QueryResult,
  withNamedStatements,
} from './statements/prepared-query.js';
export type { Json, Timestamp, TimestampInput } from './types.js';
