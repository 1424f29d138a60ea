/**
 * The statements of `queries/` themselves, typed by pgtyped: for whoever runs one on its own, or reads its
 * text. The functions of the package's root check what they are given and give rows their precise types;
 * these pass it on as it is.
 *
 * ```ts
 * import { connectionGet } from '@nurturehub/crm-schema/queries';
 *
 * const [connection] = await connectionGet.run({ organisationId, connectionId }, client);
 * ```
 *
 * @packageDocumentation
 */
export * from './generated/contact_external_ids.js';
export * from './generated/credentials.js';
export * from './generated/crm_connections.js';
export * from './generated/crm_outbound_changes.js';
export * from './generated/crm_sync_cursors.js';
export * from './generated/crm_sync_failures.js';
export * from './generated/crm_sync_log.js';
export * from './generated/crm_sync_runs.js';
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
