import { type SyncError, toExternalId } from '../../src/index.js';
import { httpError, type RemoteRecord } from './common.js';

/** A landlord: only what is published about agentOS's objects. */
export interface AgentosLandlord {
  /** Opaque. */
  OID: string;
  GlobalReference: string;
  ETag: string;
}

/**
 * Reads a landlord. How agentOS says when it changed is not published, so it has no time, and the
 * connection has no cursor: each sync is a full one.
 */
export function toRecord({ OID }: AgentosLandlord): RemoteRecord {
  return { entityType: 'landlord', externalId: toExternalId(OID), modifiedAt: null, email: null };
}

/** Reads a failed answer: agentOS uses the standard statuses. */
export function toSyncError(status: number): SyncError {
  return httpError('agentOS', status);
}

export const ottoline: AgentosLandlord = {
  OID: 'hK3vQ0pPz8mLw2Rt',
  GlobalReference: 'demo-reference-1',
  ETag: 'demo-etag-1',
};
