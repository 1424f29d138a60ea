import type { TableEntry } from './entry.js';

const ofTheCrm = [
  'provider',
  'entity_type',
  'first_seen_at',
  'last_seen_at',
  'remote_state',
  'remote_modified_at',
];

const ofTheContent = ['remote_version', 'content_hash', 'pushed_at', 'replaced_hashes', 'replaced_at'];

/** The tables that say which records at the CRMs are which contact. */
export const identityTables: Record<string, TableEntry> = {
  contact_external_ids: {
    purpose: 'To find the contact of a record that a CRM sends, and the record to push a contact to.',
    kept: 'As long as the contact, unless the record is unlinked or another account is connected.',
    erased: 'Deleted.',
    exported: { as: 'records' },
    identifies: ['external_id', 'contact_id'],
    describes: [...ofTheCrm, ...ofTheContent],
    agency: ['organisation_id'],
  },
  contact_external_id_aliases: {
    purpose: 'As contact_external_ids, for further records of the same person.',
    kept: 'As contact_external_ids.',
    erased: 'Deleted.',
    exported: { as: 'records' },
    identifies: ['external_id', 'contact_id', 'merged_into_external_id'],
    describes: [...ofTheCrm, ...ofTheContent, 'merged_into_entity_type'],
    agency: ['organisation_id'],
  },
  contact_external_id_archive: {
    purpose: 'To know the same records again when the agency goes back to an account that it had.',
    kept: 'Until that account is connected again. No period ends it; if the contact is deleted, the row stays without its id.',
    erased: 'Deleted.',
    exported: { as: 'records' },
    identifies: ['external_id', 'contact_id', 'merged_into_external_id'],
    describes: [
      'entity_type',
      'is_primary',
      'first_seen_at',
      'last_seen_at',
      'remote_state',
      'remote_modified_at',
      'merged_into_entity_type',
      'archived_at',
    ],
    agency: ['organisation_id', 'connection_id'],
  },
  contact_external_id_changes: {
    purpose:
      'To undo a merge, to follow up a wrong link, and so that a deleted contact is not imported again.',
    kept: 'Without end: it outlives the contact.',
    erased: 'Deleted. Of a record that means another contact by now, who had it before the person stays.',
    exported: { as: 'identityChanges' },
    identifies: ['external_id', 'from_contact_id', 'to_contact_id'],
    describes: [
      'id',
      'kind',
      'provider',
      'entity_type',
      'was_primary',
      'is_primary',
      'linked_at',
      'changed_at',
      'operation_id',
      'undone_by',
    ],
    staff: ['changed_by', 'reason'],
    agency: ['organisation_id', 'connection_id'],
  },
};
