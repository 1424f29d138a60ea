import * as queries from '../generated/contact_external_id_changes.js';
import { checkOrganisation } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkId, checkLimit, checkUuid } from '../validation.js';

/**
 * The kinds of changes of what an external id means. `promoted`: an alias became the primary id; `undone`: a merge of
 * contacts was undone; `contact_deleted`: the host deleted the contact; `archived`: that it was deleted went to the
 * archive, with the ids of its account.
 */
export const identityChangeKinds = [
  'unlinked',
  'repointed',
  'promoted',
  'contacts_merged',
  'records_merged',
  'undone',
  'contact_deleted',
  'archived',
] as const;

/** One of {@link identityChangeKinds}. */
export type IdentityChangeKind = (typeof identityChangeKinds)[number];

/**
 * A change of what an external id means. A merge of contacts, and its undo, also have one without a record, which names
 * the two contacts. `id` is a bigint, as text.
 */
export interface ContactIdentityChange
  extends NarrowedRow<
    queries.ContactIdentityChangeListResult,
    { kind: IdentityChangeKind; provider: Provider | null }
  > {}

/**
 * Lists the changes in which a contact had or was given an external id, newest first. Unlinked and merged contacts keep
 * theirs, as do deleted ones.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function contactIdentityChangeList(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The contact's UUID. */
    contactId: string;
    /** The last change of the previous page; null or omitted for the newest page. */
    before?: Pick<ContactIdentityChange, 'id'> | null | undefined;
    /** The maximum number of changes: 1 to 1,000; defaults to 50. */
    limit?: number | undefined;
  },
): Promise<ContactIdentityChange[]> {
  checkOrganisation(params);
  const { organisationId, contactId, before, limit = 50 } = params;
  checkUuid({ field: 'contactId' }, contactId);
  checkLimit(limit);
  if (before != null) checkId({ field: 'before.id' }, before.id);
  const rows = await queries.contactIdentityChangeList.run(
    { organisationId, contactId, beforeId: before?.id, limit },
    client,
  );
  return rows as ContactIdentityChange[];
}
