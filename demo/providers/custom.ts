import { canonicalTimestamp, toExternalId } from '../../src/index.js';
import type { RemoteRecord } from './common.js';

/** A person in an agency's own CRM, in the format of NurtureHub's open API. */
export interface CustomPerson {
  id: string;
  email: string;
  updatedAt: string;
}

/** Reads a person. */
export function toRecord({ id, email, updatedAt }: CustomPerson): RemoteRecord {
  return {
    entityType: 'person',
    externalId: toExternalId(id),
    modifiedAt: canonicalTimestamp(updatedAt),
    email,
  };
}

export const percy: CustomPerson = {
  id: 'GH/0042',
  email: 'percy@example.org',
  updatedAt: '2026-11-16T19:00:00+01:00',
};
