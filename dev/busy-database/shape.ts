import { syncErrorKinds } from '../../src/index.js';

/** How much of everything a busy database holds. */
export interface Size {
  /** Agencies, each with one connection: 3 or more. */
  agencies: number;
  /** Contacts, each with one mapping. */
  mappings: number;
  /** Events, ten of a connection at a time. */
  events: number;
  /** Runs that have ended. */
  runs: number;
  /** Records that fail now: 20,000 of the busy agency, and what is beyond that of all others. */
  failures: number;
  /** Contacts that wait to be pushed: 20,000 of the busy agency, and what is beyond that of all others. */
  changes: number;
}

/** How many records of the busy agency fail, and how many of its contacts wait to be pushed. */
export const busyWork = 20_000;

// SQL expressions, from which every row is made: the same in each load of the same size, within a month.

/** Events fill the months from this one on, because those are the partitions there are. */
export const firstDay = "date_trunc('month', now(), 'UTC')";
export const days = 83;

/** Ids are as long and as scattered as random ones. */
export const organisationId = (agency: string) => `md5('organisation ' || ${agency})::uuid`;
export const connectionId = (agency: string) => `md5('connection ' || ${agency})::uuid`;
export const contactId = (agency: string, contact: string) =>
  `md5('contact ' || ${agency} || ' ' || ${contact})::uuid`;

/** What the CRM calls a contact: a UUID at two CRMs of six, else a prefix and a number. */
export const externalId = (agency: string, contact: string) =>
  `case
     when ${agency} % 3 = 0 then md5('record ' || ${agency} || ' ' || ${contact})::uuid::text
     else 'OXF' || 18000000 + ${contact}
   end`;

/** A number from 0 to 1 that looks random. */
export const chance = (number: string) =>
  `((hashint8extended(${number}, 7) & 1073741823) / 1073741823.0::double precision)`;

/**
 * Which agency something belongs to: 3 in 10 to agency 1, the busy one; 2 in 10 to agency 2, where nothing ever
 * fails; the rest to a long tail from agency 3 on, where each has less than the one before.
 */
export const agencyOf = (number: string, agencies: number) =>
  `case
     when ${chance(number)} < 0.3 then 1
     when ${chance(number)} < 0.5 then 2
     -- Not quite 2, so that a chance of 1 does not lead beyond the last agency.
     else 3 + floor(${agencies - 2} * (1.9999 * (${chance(number)} - 0.5)) ^ 3)::integer
   end`;

/** How many of `total` the long tail's agency of a number gets, as `agencyOf` shares them out. */
export const tailShare = (agency: string, agencies: string, total: string) =>
  `${total} * 0.5 * (
     ((${agency} - 2) / (${agencies} - 2)::double precision) ^ (1 / 3.0::double precision)
     - ((${agency} - 3) / (${agencies} - 2)::double precision) ^ (1 / 3.0::double precision)
   )`;

/** An error of any kind, as long as they are. */
export const error = (number: string) =>
  `jsonb_build_object(
     'kind', ('{${syncErrorKinds.join(',')}}'::text[])[1 + ${number} % ${syncErrorKinds.length}],
     'retryable', true,
     'code', '4' || ${number} % 10 || '9',
     'message', 'The CRM answered 4' || ${number} % 10 || '9: try again in ' || ${number} % 60 || ' seconds.'
   )`;
