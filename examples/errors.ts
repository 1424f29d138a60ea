// What the worker does with errors.
import { CrmSchemaError } from '@nurturehub/crm-schema';
import { CrmError } from './crm.js';

/** Logs an error's name, code and stack, without its message: that may contain values. */
export function report(error: unknown): void {
  const { name, code, stack } = error as { name?: string; code?: string; stack?: string };
  const places = stack?.split('\n').filter((line) => /^ +at /.test(line)) ?? [];
  console.error([`${name ?? 'Error'} ${code ?? ''}`, ...places].join('\n'));
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
