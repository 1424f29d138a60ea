import type { ServerError } from '../statements/database-errors.js';
import { sqlStates } from '../statements/sqlstates.js';

/** Whether an error may pass by itself: a lock timeout, a deadlock or a statement timeout, but not a cancel. */
export function isTransient({ code, message }: Pick<Partial<ServerError>, 'code'> & Error): boolean {
  if (code === sqlStates.queryCanceled) return !message.endsWith('user request');
  return code === sqlStates.lockNotAvailable || code === sqlStates.deadlockDetected;
}

/**
 * The pause after a failed attempt, in milliseconds: about a second at first, doubling each time, up to half a minute.
 * Randomised, so that migrators that wait for the same lock do not all return at once.
 *
 * @param attempt the number of the failed attempt, from 1
 */
export function pauseAfter(attempt: number): number {
  return 1000 * Math.min(30, 2 ** (attempt - 1)) * (0.5 + Math.random());
}
