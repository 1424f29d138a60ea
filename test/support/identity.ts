import type pg from 'pg';
import {
  type ContactLink,
  contactExternalIdLinkMany,
  type ExternalRecord,
  externalRecordListByContacts,
  type Provider,
} from '../../src/index.js';
import { createTenant } from './database.js';

/** The name of a record in tests: its provider, entity type and external id, such as `reapit landlord 7`. */
export function nameOf({ provider, entityType, externalId }: ExternalRecord): string {
  return `${provider} ${entityType} ${externalId}`;
}

/** The record of a name. */
export function recordOf(name: string): ExternalRecord {
  const [provider, entityType = '', externalId = ''] = name.split(' ');
  return { provider: provider as Provider, entityType, externalId };
}

/**
 * Creates an organisation whose contacts have external ids: at each CRM, the first of a contact is its primary id, and
 * the others are aliases. Returns shorthands for calls and results.
 */
export async function tenantWithIds(pool: pg.Pool, ...namesByContact: string[][]) {
  const { organisationId, contactIds } = await createTenant(pool, namesByContact.length);
  const contact = (index: number) => contactIds[index] as string;
  const link = (index: number, name: string): ContactLink => ({
    ...recordOf(name),
    contactId: contact(index),
  });
  for (const [index, names] of namesByContact.entries()) {
    // One by one, so that the times at which they were first seen are in this order.
    for (const name of names) {
      await contactExternalIdLinkMany(pool, {
        organisationId,
        links: [link(index, name)],
        ifContactTaken: 'alias',
      });
    }
  }
  return {
    organisationId,
    contactIds,
    contact,
    link,
    nameOf,
    record: recordOf,
    /** The parameters of a merge of contacts. */
    merge: (from: number, into: number) => ({
      organisationId,
      fromContactId: contact(from),
      intoContactId: contact(into),
    }),
    undo: (operationId: string) => ({ organisationId, operationId }),
    /** A merge of records at a CRM. */
    recordMerge: (from: string, into: string) => ({ from: recordOf(from), into: recordOf(into) }),
    /** The names of a contact's ids, by provider: the primary one first and marked with `*`. */
    ids: async (index: number) => {
      const records = await externalRecordListByContacts(pool, {
        organisationId,
        contactIds: [contact(index)],
      });
      return records.map((record) => `${record.isPrimary ? '*' : ''}${nameOf(record)}`);
    },
    /** The state of a record, and what it was merged into: `merged into contact 2`. */
    stateOf: async (name: string) => {
      const records = await externalRecordListByContacts(pool, { organisationId, contactIds });
      const found = records.find((record) => nameOf(record) === name);
      if (found?.remoteState !== 'merged') return found?.remoteState;
      return `merged into ${found.mergedIntoEntityType} ${found.mergedIntoExternalId}`;
    },
    setPrimaryState: async (name: string, state: string) => {
      const { provider, entityType, externalId } = recordOf(name);
      await pool.query(
        `update contact_external_ids set remote_state = $5
         where organisation_id = $1 and provider = $2 and entity_type = $3 and external_id = $4`,
        [organisationId, provider, entityType, externalId, state],
      );
    },
  };
}
