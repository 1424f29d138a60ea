// What the worker does with errors.
import { CrmSchemaError } from '@nurturehub/crm-schema';
import { CrmError } from './crm.js';

/** Logs an error, for whoever looks after the worker. */
export function report(error: unknown): void {
  console.error(described(error));
}

/**
 * An error as text: its name, code, message and stack, and those of its causes. The message is left out where it may
 * contain values, such as a person's name: see `mayContainValues`.
 */
export function described(error: unknown, depth = 0): string {
  if (!(error instanceof Error))
    return `Thrown, though not an error: ${typeof error === 'string' ? error : typeof error}`;
  const { name, message, stack = '', cause } = error;
  const code = (error as { code?: unknown }).code ?? '';
  const title = [name, code].filter(Boolean).join(' ');
  // The stack begins with the message.
  const places = stack.slice(Math.max(stack.indexOf(message), 0) + message.length).split('\n');
  return [
    message === '' || mayContainValues(error) ? title : `${title}: ${message}`,
    ...places.filter((line) => /^ +at /.test(line)),
    ...(cause === undefined || depth === 5 ? [] : [`Caused by: ${described(cause, depth + 1)}`]),
  ].join('\n');
}

/**
 * Whether an error's message may quote what is in the database or in an answer: one of the database itself, one of a
 * library that names the query and its parameters, one of this package, which says what it refuses, and one of
 * `JSON.parse`. Others are of our own code, or name a file or a host.
 */
function mayContainValues(error: Error): boolean {
  const isOfQuery = 'severity' in error || 'query' in error;
  return isOfQuery || error instanceof CrmSchemaError || error instanceof SyntaxError;
}

/**
 * Returns an error of this record, to be recorded. Rethrows one of the account or network, to end the run. A record may
 * be forbidden while the others are not; if all are, the run counts as a failed one.
 */
export function unlessFatal(error: unknown): CrmError {
  const isOfRecord = error instanceof CrmError && !['auth', 'rate_limited', 'network'].includes(error.kind);
  if (isOfRecord) return error;
  throw error;
}

/** The fields of an error event. */
export function failure(error: CrmError) {
  const { retryAfterSeconds } = error;
  return { status: 'error', error: error.toSyncError(), retryAfterSeconds } as const;
}

/** Whether the record caused the error. A deadlock or a missing privilege did not come from the record. */
export function isDataError(error: unknown): boolean {
  if (isCode(error, 'not_permitted')) return false;
  return error instanceof CrmSchemaError || /^(22|23|54)/.test((error as { code?: string }).code ?? '');
}

/** Whether the schema refused something with this code. */
export function isCode(error: unknown, code: CrmSchemaError['code']): boolean {
  return error instanceof CrmSchemaError && error.code === code;
}

/** An error that says something of the connection; undefined for any other. */
export function crmErrorOf(error: unknown): CrmError | undefined {
  if (error instanceof CrmError) return error;
  const isRefused = isCode(error, 'credentials_refused');
  if (!isRefused && !isCode(error, 'account_changed')) return undefined;
  const changed = 'The CRM signed in to another account than the one that the connection is to.';
  return new CrmError('auth', isRefused ? (error as Error).message : changed, { retryable: false });
}
