/**
 * Operating the schema from a program, as the command `crm-schema` does: migrating, maintaining the log's partitions,
 * comparing a database with what this version expects, and erasing people and organisations.
 *
 * Every function takes a dedicated connection and begins its own transactions, except `contactErase`, which leaves the
 * transaction to the caller.
 *
 * @packageDocumentation
 */

export { type ContactErasure, type ContactKey, contactErase } from './erasure/contact-erasure.js';
export { contactEraseAgain, type RepeatOptions } from './erasure/erase-again.js';
export { ErasureKey } from './erasure/erasure-key.js';
export {
  type OrganisationErasure,
  type OrganisationErasureParams,
  organisationErase,
} from './erasure/organisation-erasure.js';
export { type ErasedRecord, type ErasureProof, erasureList } from './erasure/proofs.js';
export type { RepeatedErasure } from './erasure/repetition.js';
export { type MigrationRelease, migrationsDirectory } from './migrations/files.js';
export {
  type MigrationDirection,
  type MigrationPlan,
  type MigrationTarget,
  migrationPlan,
  type PlannedMigration,
} from './migrations/plan.js';
export {
  type FinishedMigration,
  type MigrateDownOptions,
  type MigrateOptions,
  type MigrationProgress,
  type MigrationResult,
  migrateDown,
  migrateUp,
} from './migrations/run.js';
export {
  type MigrationState,
  type MigrationStatus,
  type MigrationsTable,
  migrationStatus,
} from './migrations/status.js';
export {
  type DroppedPartition,
  type DroppedPartitions,
  type PartitionsDropOptions,
  partitionsDrop,
} from './partitions/drop.js';
export {
  type EnsuredPartitions,
  type PartitionsEnsureOptions,
  partitionsEnsure,
} from './partitions/ensure.js';
export {
  type ListedEnd,
  type ListedMonth,
  type ListedPartition,
  type PartitionList,
  type PartitionSize,
  partitionsList,
} from './partitions/list.js';
export type { PartitionRange } from './partitions/ranges.js';
export type { WaitingEvents } from './partitions/waiting-events.js';
export type {
  DedicatedConnection,
  DedicatedConnectionResult,
  OwnConnection,
  OwnConnectionResult,
} from './statements/dedicated-connection.js';
export {
  type Difference,
  type DifferenceKind,
  type Verification,
  type VerifyOptions,
  verify,
} from './verify/verify.js';
