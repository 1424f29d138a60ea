import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkParameter, checkUuid } from '../validation.js';
import type { ErasureKey } from './erasure-key.js';
import { asOwner } from './own-errors.js';

/** The person to erase. */
export interface ContactKey {
  /** The organisation's UUID. */
  organisationId: string;
  /** The contact's UUID. */
  contactId: string;
}

/** What was erased of a person. */
export interface ContactErasure {
  /** The proof's id in `crm_erasures`: a bigint, as text. */
  erasureId: string;
  /** The contact, and everyone who was merged into it. */
  contactIds: string[];
  /** How many rows were deleted or rewritten, by table; of `crm_sync_runs`, how many runs were ended. */
  counts: Record<string, number>;
}

/**
 * Erases a person from the tables of this schema: the contact, everyone who was merged into it, and every id that they
 * had at a CRM. The contact may be deleted already. The events of the log stay, without ids. Leaves the host's own
 * `contacts` alone: delete the person there in the same transaction.
 *
 * Runs that are open end: their workers get `lease_lost`, and start again. Afterwards, the records of the person are
 * neither linked nor logged if a CRM sends them again.
 *
 * Call it as the owner of the tables, at READ COMMITTED, before your transaction locks a contact.
 *
 * @param client a connection of the owner, in a transaction or not
 * @throws CrmSchemaError `not_permitted` if the user is not the owner, `schema_not_found`, `invalid_input`
 * @throws Error of the server: CRM04 if the contact was merged into another one, which is to be erased instead; 40001 if
 *   meanwhile another contact was merged into it, such a merge was undone, or a CRM was connected: call it again; CRM01 if a
 *   month of the log that was detached cannot be searched, or row-level security may hide rows from the owner
 *
 * @example
 * ```ts
 * import { contactErase, ErasureKey } from '@nurturehub/crm-schema/migrations';
 * import type pg from 'pg';
 *
 * // Erases a person here and in the host's own table.
 * export async function erase(client: pg.Client, organisationId: string, contactId: string) {
 *   const key = ErasureKey.parse(process.env.CRM_SCHEMA_ERASURE_KEY ?? '');
 *   await client.query('begin');
 *   const { contactIds } = await contactErase(client, key, { organisationId, contactId });
 *   await client.query('delete from contacts where organisation_id = $1 and id = any($2)', [organisationId, contactIds]);
 *   await client.query('commit');
 * }
 * ```
 */
export async function contactErase(
  client: DedicatedConnection,
  key: ErasureKey,
  params: ContactKey,
): Promise<ContactErasure> {
  checkParameter('params', params);
  const { organisationId, contactId } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  checkUuid({ field: 'contactId' }, contactId);
  const { rows } = await asOwner(() =>
    client.query(
      `select array_agg(contact_id::text order by contact_id) as "contactIds"
       from crm_contact_lineage($1::uuid, array[$2::uuid])`,
      [organisationId, contactId],
    ),
  );
  return eraseContacts(client, key, organisationId, rows[0].contactIds, [contactId]);
}

/**
 * Erases contacts that are one person.
 *
 * @param contactIds all of them
 * @param namedIds those into which the others were merged
 */
export async function eraseContacts(
  client: DedicatedConnection,
  key: ErasureKey,
  organisationId: string,
  contactIds: string[],
  namedIds = contactIds,
): Promise<ContactErasure> {
  const { rows } = await asOwner(() =>
    client.query(
      `select erasure_id::text as "erasureId", counts::text as counts
       from crm_erase_contact($1::uuid, $2::uuid[], $3::uuid[], $4::bytea[], $5::text, $6::bytea)`,
      [
        organisationId,
        namedIds,
        contactIds,
        contactIds.map((contactId) => key.hashContact(organisationId, contactId)),
        key.id,
        key.salt(organisationId),
      ],
    ),
  );
  return { erasureId: rows[0].erasureId, contactIds, counts: JSON.parse(rows[0].counts) };
}
