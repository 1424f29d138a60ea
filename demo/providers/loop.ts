import { type SyncError, toExternalId } from '../../src/index.js';
import type { RemoteRecord } from './common.js';

/** A contact. Only its id is documented. */
export interface LoopContact {
  id: string | number;
}

/** Reads a contact. */
export function toRecord({ id }: LoopContact): RemoteRecord {
  return { entityType: 'contact', externalId: toExternalId(id), modifiedAt: null, email: null };
}

/** Reads the body of an HTTP 200 response, which can still report an error; null if it does not. */
export function toSyncError(body: { statusCode?: unknown }): SyncError | null {
  if (body.statusCode !== 'error') return null;
  return {
    kind: 'provider',
    retryable: true,
    message: 'Loop answered HTTP 200 with an error in the body.',
    code: 'error',
  };
}

export const gideon: LoopContact = { id: 'demo-loop-1' };
