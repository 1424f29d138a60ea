import type { SyncError, SyncErrorKind } from '../../src/index.js';

/** A CRM record in the form that the sync expects. Each provider's module builds it from a payload. */
export interface RemoteRecord {
  entityType: string;
  externalId: string;
  /** The CRM's time of the last change, in canonical form; null if the CRM gives none. */
  modifiedAt: string | null;
  /** The CRM's version of the record, such as an ETag; absent if the adapter does not read it. */
  version?: string;
  /** Identifies a person whose external id is new; null if there is none. */
  email: string | null;
}

/** What an HTTP status means for a sync: the error kind, whether it is retryable, and the message. */
const statuses: Record<number, readonly [SyncErrorKind, boolean, string]> = {
  401: ['auth', false, 'rejected the credentials'],
  403: ['permission', false, 'denied access'],
  404: ['not_found', false, 'has no such record'],
  409: ['conflict', false, 'already has such a record'],
  412: ['conflict', false, 'has changed the record since it was read'],
  422: ['validation', false, 'rejected the values'],
  429: ['rate_limited', true, 'asked us to slow down'],
};

/**
 * The sync error for an HTTP status.
 *
 * The message is ours: the CRM's own may quote the record, and the log must not hold personal data.
 *
 * @param code the provider's own error code; defaults to the status
 */
export function httpError(crm: string, status: number, code = String(status)): SyncError {
  const [kind, retryable, words] = statuses[status] ?? ['provider', status >= 500, 'failed'];
  return { kind, retryable, message: `${crm} ${words}.`, code };
}

/** The sync error for a request without an answer: Node's `ETIMEDOUT`, `ECONNRESET` and so on. */
export function transportError(crm: string, code: string): SyncError {
  return code === 'ETIMEDOUT'
    ? { kind: 'timeout', retryable: true, message: `${crm} did not answer in time.`, code }
    : { kind: 'network', retryable: true, message: `${crm} could not be reached.`, code };
}
