import { withoutRow } from '../errors.js';
import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider, RemoteState } from '../types.js';
import { checkBatch, checkParameter, checkUuids } from '../validation.js';
import { checkRecord, type ExternalRecord } from './external-records.js';

/** A contact's primary id at a CRM, and when a sync first and last saw it. */
export interface ContactExternalId
  extends NarrowedRow<queries.ContactExternalIdListByContactsResult, { provider: Provider }> {}

/** The parameters of {@link contactExternalIdResolveMany} and {@link contactExternalIdMatchMany}. */
export interface ContactExternalIdResolveManyParams {
  /** The organisation's UUID. */
  organisationId: string;
  /** The CRM. */
  provider: Provider;
  /** The kind of records, in the CRM's terms: lower snake case. */
  entityType: string;
  /** Case-sensitive text, whatever type the CRM sends: see `toExternalId`. */
  externalIds: readonly string[];
}

/**
 * Finds the contacts that external ids are mapped to, as primary ids or as aliases. Hundreds at a time cost about as
 * much as a few.
 *
 * @returns contact ids by external id; unmapped external ids are absent
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`, with `rowIndex`
 */
export async function contactExternalIdResolveMany(
  client: Queryable,
  params: ContactExternalIdResolveManyParams,
): Promise<Map<string, string>> {
  const matches = await contactExternalIdMatchMany(client, params);
  return new Map(matches.map(({ externalId, contactId }) => [externalId, contactId]));
}

/** The contact that an external id is mapped to, and how. */
export interface ContactExternalIdMatch
  extends NarrowedRow<
    queries.ContactExternalIdResolveResult,
    { matchedBy: 'primary' | 'alias'; remoteState: RemoteState }
  > {
  /** The external id that was looked up. */
  externalId: string;
  /** The UUID of NurtureHub's contact. */
  contactId: string;
  /** Whether it is the contact's primary id at the CRM, or an alias. */
  matchedBy: 'primary' | 'alias';
  /** The state of the record at the CRM, as last synced. */
  remoteState: RemoteState;
}

/**
 * Finds the contacts that external ids are mapped to, says whether each is its contact's primary id or an alias, and
 * in which state the record was at the CRM when it was last synced.
 *
 * @returns the matches in the order of the external ids; unmapped external ids are absent
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`, with `rowIndex`
 */
export async function contactExternalIdMatchMany(
  client: Queryable,
  params: ContactExternalIdResolveManyParams,
): Promise<ContactExternalIdMatch[]> {
  checkOrganisation(params);
  const { organisationId, provider, entityType } = params;
  const externalIds = checkBatch('externalIds', params.externalIds);
  externalIds.forEach((externalId, rowIndex) => {
    checkRecord({ provider, entityType, externalId }, rowIndex);
  });
  const rows = await queries.contactExternalIdResolve.run(
    { organisationId, provider, entityType, externalIds: [...new Set(externalIds)] },
    client,
  );
  const matches = new Map(rows.map((row) => [row.externalId, row as ContactExternalIdMatch]));
  return externalIds.flatMap((externalId) => matches.get(externalId) ?? []);
}

/** The parameters of {@link contactExternalIdResolve}. */
export interface ContactExternalIdResolveParams extends ExternalRecord {
  /** The organisation's UUID. */
  organisationId: string;
}

/**
 * Finds the contact that an external id is mapped to, as its primary id or as an alias; null if there is none.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 *
 * @example
 * ```ts
 * import { contactExternalIdResolve, withOrganisation } from '@nurturehub/crm-schema';
 * import pg from 'pg';
 *
 * const pool = new pg.Pool(); // its user is a member of crm_app
 * const organisationId = '00000000-0000-4000-8000-000000000001';
 * const record = { provider: 'reapit', entityType: 'contact', externalId: 'OXF18000002' } as const;
 * const contactId = await withOrganisation(pool, organisationId, (client) =>
 *   contactExternalIdResolve(client, { organisationId, ...record }),
 * );
 * console.log(contactId ?? 'unknown');
 * ```
 */
export async function contactExternalIdResolve(
  client: Queryable,
  params: ContactExternalIdResolveParams,
): Promise<string | null> {
  checkOrganisation(params);
  checkRecord(params);
  const [row] = await queries.contactExternalIdResolveOne.run(params, client);
  return row?.contactId ?? null;
}

/**
 * Lists the primary ids of some contacts, ordered by contact and provider. `externalRecordListByContacts` lists aliases
 * as well.
 *
 * @throws CrmSchemaError `invalid_input` with `rowIndex`
 */
export async function contactExternalIdListByContacts(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The contacts' UUIDs. Contacts without external ids, or of another organisation, return nothing. */
    contactIds: readonly string[];
  },
): Promise<ContactExternalId[]> {
  checkOrganisation(params);
  const { organisationId } = params;
  const contactIds = checkUuids('contactId', params.contactIds);
  const rows = await queries.contactExternalIdListByContacts.run({ organisationId, contactIds }, client);
  return rows as ContactExternalId[];
}

/**
 * Lists the primary ids of one contact, ordered by provider.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function contactExternalIdListByContact(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The contact's UUID. */
    contactId: string;
  },
): Promise<ContactExternalId[]> {
  checkParameter('params', params);
  const { organisationId, contactId } = params;
  return contactExternalIdListByContacts(client, { organisationId, contactIds: [contactId] }).catch(
    withoutRow,
  );
}
