import { type SyncError, toExternalId } from '../../src/index.js';
import { httpError, type RemoteRecord } from './common.js';

/** A landlord, with only the fields that agentOS documents publicly. */
export interface AgentosLandlord {
  /** Opaque. */
  OID: string;
  GlobalReference: string;
  ETag: string;
}

/**
 * Reads a landlord. agentOS does not publish how it reports the time of a change, so the record has no
 * time and the connection no cursor: each sync is a full one.
 */
export function toRecord({ OID }: AgentosLandlord): RemoteRecord {
  return { entityType: 'landlord', externalId: toExternalId(OID), modifiedAt: null, email: null };
}

/** Reads an error response: agentOS uses the standard HTTP statuses. */
export function toSyncError(status: number): SyncError {
  return httpError('agentOS', status);
}

export const ottoline: AgentosLandlord = {
  OID: 'hK3vQ0pPz8mLw2Rt',
  GlobalReference: 'demo-reference-1',
  ETag: 'demo-etag-1',
};
