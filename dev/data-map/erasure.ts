import type { TableEntry } from './entry.js';

/** The tables that say who was erased, in hashes alone. */
export const erasureTables: Record<string, TableEntry> = {
  crm_erasures: {
    purpose: 'To prove an erasure, and to repeat it after a backup was restored.',
    kept: 'Without end: it outlives the agency.',
    erased: 'One row is added.',
    exported: {
      not: 'Whoever it names was erased. Without the key, nobody can tell from its hashes whose they are.',
    },
    identifies: ['subject_hashes'],
    describes: ['id', 'subject', 'erased_at', 'finished_at', 'counts'],
    staff: ['erased_by'],
    agency: ['organisation_id'],
    technical: ['key_id'],
  },
  crm_erased_records: {
    purpose:
      "So that an erased person's record, or one that carries their contact's id, is not taken from a CRM again.",
    kept: 'As long as the agency.',
    erased: 'A row is added for each of their records and contacts.',
    exported: {
      not: 'Whoever it names was erased. Without crm_erasure_salts, nobody can tell from its hashes whose they are; with it, as in a dump, whoever knows or tries the id of a record can, and the row names the proof.',
    },
    identifies: ['hash'],
    describes: ['erasure_id'],
    agency: ['organisation_id', 'account'],
  },
  crm_erasure_salts: {
    purpose: 'To make those hashes.',
    kept: 'As long as the agency.',
    erased: 'Stays: it names nobody.',
    exported: { not: 'It is about the agency.' },
    secret: ['salt'],
    agency: ['organisation_id'],
    technical: ['key_id'],
  },
};
