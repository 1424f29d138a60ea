import { CrmSchemaError } from '../errors.js';
import { safeCause } from '../statements/database-errors.js';

/** Why a step was given up, and in what state that leaves the log. */
export interface StepFailure {
  reason: string;
  /** Whether other sessions are the reason. */
  isBlocked: boolean;
  /** Whether events of the time that was being detached are refused for now. */
  refusesEvents?: boolean;
  /** The server's error, if there was one. */
  error?: unknown;
}

/**
 * The error for a step that did not succeed in time.
 *
 * @param step in words: `detach crm_sync_log_2026_11`
 */
export function couldNot(
  step: string,
  seconds: number,
  { reason, isBlocked, refusesEvents = false, error }: StepFailure,
): CrmSchemaError {
  const outcome = refusesEvents
    ? 'Until it is run again, events past their retention period are refused'
    : 'Nothing is lost';
  const advice = isBlocked ? 'run it again when that transaction has ended' : 'run it again';
  return new CrmSchemaError(
    'partitions_blocked',
    `Could not ${step} within ${seconds} s: ${reason}. ${outcome}: ${advice}.`,
    error === undefined ? {} : { cause: safeCause(error) },
  );
}

/** The reason of a step that other sessions blocked. */
export function blockedBy(sessions: string): string {
  return `blocked by ${sessions}`;
}
