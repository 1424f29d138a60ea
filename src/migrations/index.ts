/**
 * Migrating from a program: what `crm-schema migrate` is made of.
 *
 * @packageDocumentation
 */

export type { OwnConnection, OwnConnectionResult } from '../own-connection.js';
export {
  type Difference,
  type DifferenceKind,
  type Verification,
  type VerifyOptions,
  verify,
} from '../verify/index.js';
export { type MigrationRelease, migrationsDirectory } from './files.js';
export {
  type MigrationDirection,
  type MigrationPlan,
  type MigrationTarget,
  migrationPlan,
  type PlannedMigration,
} from './plan.js';
export {
  type FinishedMigration,
  type MigrateDownOptions,
  type MigrateOptions,
  type MigrationProgress,
  type MigrationResult,
  migrateDown,
  migrateUp,
} from './run.js';
export {
  type MigrationState,
  type MigrationStatus,
  type MigrationsTable,
  migrationStatus,
} from './status.js';
