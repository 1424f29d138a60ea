import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkProviders } from '../validation.js';

/**
 * Locks what an organisation's external ids mean at some CRMs, until the end of the transaction; waits for whoever
 * holds the lock.
 *
 * Call it first in a transaction that looks up external ids and links those that are unknown: what the next
 * statements find then stays true until the end of the transaction. Without it, two workers that see a new record at
 * the same time create two contacts. Outside a transaction it has no effect.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function contactExternalIdLock(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The CRMs. Name all that the transaction needs in one call: a second call may deadlock. */
    providers: readonly Provider[];
  },
): Promise<void> {
  checkOrganisation(params);
  const { organisationId } = params;
  const providers = checkProviders(params.providers);
  await queries.contactExternalIdLock.run({ organisationId, providers }, client);
}
