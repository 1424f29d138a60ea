import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkUuid } from '../validation.js';
import { exportText } from './export-text.js';
import { readExport } from './read-export.js';

/** The parameters of {@link contactExport}. */
export interface ContactExportParams {
  /** The organisation's UUID. */
  organisationId: string;
  /** The contact's UUID. */
  contactId: string;
}

/**
 * Exports all that is kept of a contact and of those that were merged into it, as the text of a JSON document
 * (`ContactExport`), a piece at a time: a person may have any number of events. A contact that was deleted can be exported, too. Credentials are not in it, nor what
 * is another contact's; an id that has become another contact's is in it for the time in which it was this one's. What
 * your own `contacts` holds is yours to add.
 *
 * Read all pieces in one transaction. At REPEATABLE READ they show one moment. A user who may not read the detached
 * months of the log gets what the others hold, and `monthsNotRead` names them.
 *
 * @throws CrmSchemaError `invalid_input`; `mapping_changed`, after the last piece but one, if it has changed meanwhile who
 *   the person is, which only shows at READ COMMITTED: discard what you have, and export again
 *
 * @example
 * ```ts
 * import { contactExport, type TransactionPool, withOrganisation } from '@nurturehub/crm-schema';
 *
 * // Writes the export of a contact to a stream, such as the answer of an HTTP server.
 * export function writeExport(
 *   pool: TransactionPool,
 *   contact: { organisationId: string; contactId: string },
 *   write: (piece: string) => Promise<void>,
 * ) {
 *   return withOrganisation(pool, contact.organisationId, async (client) => {
 *     for await (const piece of contactExport(client, contact)) await write(piece);
 *   });
 * }
 * ```
 */
export function contactExport(client: Queryable, params: ContactExportParams): AsyncIterable<string> {
  checkOrganisation(params);
  const { organisationId, contactId } = params;
  checkUuid({ field: 'contactId' }, contactId);
  return readAndWrite(client, { organisationId, contactId });
}

async function* readAndWrite(client: Queryable, contact: ContactExportParams): AsyncGenerator<string> {
  yield* exportText(await readExport(client, contact));
}
