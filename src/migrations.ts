/**
 * Migrating from a program: what `crm-schema migrate` is made of.
 *
 * @packageDocumentation
 */

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
