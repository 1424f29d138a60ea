import { syncErrorKinds } from '../../src/index.js';

/** How many rows of each kind a busy database has. */
export interface Size {
  /** Agencies, each with one connection: 3 or more. */
  agencies: number;
  /** Contacts, each with one mapping. */
  mappings: number;
  /** Events, ten per connection at a time. */
  events: number;
  /** Ended runs. */
  runs: number;
  /** Failures: 20,000 in the busy agency, the rest spread over the others. */
  failures: number;
  /** Outbound changes: 20,000 in the busy agency, the rest spread over the others. */
  changes: number;
}

/** The number of failures, and of outbound changes, in the busy agency. */
export const busyWork = 20_000;

// SQL expressions for every row. Within a month, loads of the same size are identical.

/** Events start in this month, because older partitions do not exist. */
export const firstDay = "date_trunc('month', now(), 'UTC')";
export const days = 83;

/** Ids have the length and distribution of random ones. */
export const organisationId = (agency: string) => `md5('organisation ' || ${agency})::uuid`;
export const connectionId = (agency: string) => `md5('connection ' || ${agency})::uuid`;
export const contactId = (agency: string, contact: string) =>
  `md5('contact ' || ${agency} || ' ' || ${contact})::uuid`;

/** A contact's external id: a UUID at two CRMs of six, otherwise a prefix and a number. */
export const externalId = (agency: string, contact: string) =>
  `case
     when ${agency} % 3 = 0 then md5('record ' || ${agency} || ' ' || ${contact})::uuid::text
     else 'OXF' || 18000000 + ${contact}
   end`;

/** A pseudo-random number from 0 to 1. */
export const chance = (number: string) =>
  `((hashint8extended(${number}, 7) & 1073741823) / 1073741823.0::double precision)`;

/**
 * The agency that a row belongs to: 3 in 10 rows to agency 1, the busy one; 2 in 10 to agency 2, where nothing
 * fails; the rest to a long tail from agency 3 on, each with fewer rows than the one before.
 */
export const agencyOf = (number: string, agencies: number) =>
  `case
     when ${chance(number)} < 0.3 then 1
     when ${chance(number)} < 0.5 then 2
     -- Slightly less than 2, so that a chance of 1 does not exceed the last agency.
     else 3 + floor(${agencies - 2} * (1.9999 * (${chance(number)} - 0.5)) ^ 3)::integer
   end`;

/** How many of `total` rows `agencyOf` gives to an agency in the long tail. */
export const tailShare = (agency: string, agencies: string, total: string) =>
  `${total} * 0.5 * (
     ((${agency} - 2) / (${agencies} - 2)::double precision) ^ (1 / 3.0::double precision)
     - ((${agency} - 3) / (${agencies} - 2)::double precision) ^ (1 / 3.0::double precision)
   )`;

/** An error of any kind, with a message of realistic length. */
export const error = (number: string) =>
  `jsonb_build_object(
     'kind', ('{${syncErrorKinds.join(',')}}'::text[])[1 + ${number} % ${syncErrorKinds.length}],
     'retryable', true,
     'code', '4' || ${number} % 10 || '9',
     'message', 'The CRM answered 4' || ${number} % 10 || '9: try again in ' || ${number} % 60 || ' seconds.'
   )`;
