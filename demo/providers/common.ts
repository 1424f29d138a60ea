import type { SyncError, SyncErrorKind } from '../../src/index.js';

/** A record of a CRM, as the sync takes it: what each provider's module makes of a payload. */
export interface RemoteRecord {
  entityType: string;
  externalId: string;
  /** When the CRM says that it last changed, in canonical form; null where it does not say. */
  modifiedAt: string | null;
  /** By which NurtureHub recognises a person it has no id for yet; null where there is none. */
  email: string | null;
}

/** What an HTTP status means for a sync: the kind, whether to try the same again, and what to say. */
const statuses: Record<number, readonly [SyncErrorKind, boolean, string]> = {
  401: ['auth', false, 'does not accept the credentials'],
  403: ['permission', false, 'does not allow this'],
  404: ['not_found', false, 'has no such record'],
  409: ['conflict', false, 'has such a record already'],
  412: ['conflict', false, 'has changed the record since it was read'],
  422: ['validation', false, 'does not accept the values'],
  429: ['rate_limited', true, 'asks to slow down'],
};

/**
 * The sync error for an HTTP status.
 *
 * The words are ours: what a CRM writes may quote the record, and the log holds no personal data.
 *
 * @param code the provider's own, if the answer has one
 */
export function httpError(crm: string, status: number, code = String(status)): SyncError {
  const [kind, retryable, words] = statuses[status] ?? ['provider', status >= 500, 'failed'];
  return { kind, retryable, message: `${crm} ${words}.`, code };
}

/** The sync error for a call that got no answer: Node's `ETIMEDOUT`, `ECONNRESET` and the like. */
export function transportError(crm: string, code: string): SyncError {
  return code === 'ETIMEDOUT'
    ? { kind: 'timeout', retryable: true, message: `${crm} did not answer in time.`, code }
    : { kind: 'network', retryable: true, message: `${crm} could not be reached.`, code };
}
