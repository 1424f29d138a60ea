import { canonicalTimestamp, type SyncError } from '../../src/index.js';
import { httpError, type RemoteRecord } from './common.js';

/** A person, as a JSON:API resource: the fields used here. */
export interface StreetPerson {
  type: 'person';
  id: string;
  attributes: {
    first_name: string;
    last_name: string;
    email_addresses: { value: string; primary: boolean }[];
    telephone_numbers: { value: string; primary: boolean }[];
    created_at: string;
    updated_at: string;
  };
}

/** Reads a person. */
export function toRecord({ type, id, attributes }: StreetPerson): RemoteRecord {
  return {
    entityType: type,
    externalId: id,
    modifiedAt: canonicalTimestamp(attributes.updated_at),
    email: attributes.email_addresses.find(({ primary }) => primary)?.value ?? null,
  };
}

/** Reads a JSON:API error document. */
export function toSyncError({ errors }: { errors: { status: string; title: string }[] }): SyncError {
  return httpError('Street', Number(errors[0]?.status));
}

export const clemmie: StreetPerson = {
  type: 'person',
  id: '7b1f6a52-0c3e-4d8a-9f10-2e5b7c4d9a61',
  attributes: {
    first_name: 'Clemmie',
    last_name: 'Button',
    email_addresses: [{ value: 'clemmie@example.com', primary: true }],
    telephone_numbers: [{ value: '+447700900789', primary: true }],
    created_at: '2024-04-02T09:00:00Z',
    updated_at: '2026-11-17T07:55:21Z',
  },
};

export const percy: StreetPerson = {
  type: 'person',
  id: 'e4d20c97-8a65-4b1f-b3c8-61f0a9d7352e',
  attributes: {
    first_name: 'Percy',
    last_name: 'Dovetail',
    email_addresses: [{ value: 'percy@example.org', primary: true }],
    telephone_numbers: [{ value: '+441632960175', primary: true }],
    created_at: '2025-01-20T16:30:00Z',
    updated_at: '2026-11-16T18:12:44Z',
  },
};
