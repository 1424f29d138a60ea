import { type SyncError, toExternalId } from '../../src/index.js';
import type { RemoteRecord } from './common.js';

/** A contact. Nothing but that it has an id is known of it. */
export interface LoopContact {
  id: string | number;
}

/** Reads a contact. */
export function toRecord({ id }: LoopContact): RemoteRecord {
  return { entityType: 'contact', externalId: toExternalId(id), modifiedAt: null, email: null };
}

/** Reads the body of an answer with HTTP 200, which can be a failure all the same; null if it is none. */
export function toSyncError(body: { statusCode?: unknown }): SyncError | null {
  if (body.statusCode !== 'error') return null;
  return {
    kind: 'provider',
    retryable: true,
    message: 'Loop answered HTTP 200, and an error in the body.',
    code: 'error',
  };
}

export const gideon: LoopContact = { id: 'demo-loop-1' };
