import { canonicalTimestamp, type SyncError, toExternalId } from '../../src/index.js';
import { httpError, type RemoteRecord } from './common.js';

/** A contact in a list: the fields used here. */
export interface AltoContact {
  /** An integer. Alto sometimes sends it as a string. */
  id: number | string;
  /** One entry per person. */
  contactInformation?: { foreName: string; surname: string; phoneNumber?: string; emailAddress?: string }[];
  isActive: boolean;
  modifiedAt: string;
}

/** Reads a contact: 48213 and "48213" are the same. */
export function toRecord({ id, contactInformation, modifiedAt }: AltoContact): RemoteRecord {
  return {
    entityType: 'contact',
    externalId: toExternalId(id),
    modifiedAt: canonicalTimestamp(modifiedAt),
    email: contactInformation?.[0]?.emailAddress ?? null,
  };
}

/** Reads an error response. Alto has two body formats; the status is enough. */
export function toSyncError(status: number): SyncError {
  return httpError('Alto', status);
}

export const hettie: AltoContact = {
  id: 48213,
  contactInformation: [
    {
      foreName: 'Hettie',
      surname: 'Biscuit',
      phoneNumber: '01632 960214',
      emailAddress: 'hettie@example.com',
    },
  ],
  isActive: true,
  modifiedAt: '2026-11-16T15:03:30.0000000+00:00',
};

export const gideon: AltoContact = {
  id: '48377',
  contactInformation: [{ foreName: 'Gideon', surname: 'Custard', emailAddress: 'gideon@example.org' }],
  isActive: true,
  modifiedAt: '2026-11-17T08:20:00.0000000+00:00',
};

/** Friday: the id is now a string and the email address is gone. Only the mapping identifies the person. */
export const hettieChanged: AltoContact = {
  id: '48213',
  contactInformation: [{ foreName: 'Hettie', surname: 'Biscuit', phoneNumber: '01632 960388' }],
  isActive: true,
  modifiedAt: '2026-11-20T10:40:00.0000000+00:00',
};
