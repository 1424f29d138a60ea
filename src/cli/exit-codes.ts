import { CrmSchemaError, type CrmSchemaErrorCode } from '../errors.js';

/** The exit codes of the command. `unmet`: nothing failed, but something is missing, pending or different. */
export const exitCodes = { done: 0, failed: 1, usage: 2, unmet: 3 } as const;

/** Something that the command was asked about does not exist or is not as it should be: exit code `unmet`. */
export class UnmetCondition extends Error {}

/** The codes of the library's errors that mean the same. */
const unmetCodes: ReadonlySet<CrmSchemaErrorCode> = new Set([
  'catch_all_missing',
  'retention_period_missing',
]);

/** The exit code for an error. */
export function exitCodeOf(error: unknown): number {
  const isUnmet =
    error instanceof UnmetCondition || (error instanceof CrmSchemaError && unmetCodes.has(error.code));
  return isUnmet ? exitCodes.unmet : exitCodes.failed;
}
