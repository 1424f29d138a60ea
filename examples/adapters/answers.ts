// What an answer has. A gateway, or a CRM under maintenance, may answer with a status and JSON that look as if all were
// well; taken for an empty page, that would end a pass.
import { CrmError } from '../crm.js';

/**
 * The list that an answer has under this name.
 *
 * @throws CrmError if it has none
 */
export function listIn<Element>(body: unknown, name: string): Element[] {
  const list = Object(body)[name];
  if (Array.isArray(list)) return list;
  throw unexpected();
}

/**
 * A record, as the CRM sends it.
 *
 * @param idName a field that every record of this CRM has
 * @throws CrmError if it is not one
 */
export function recordIn<Found>(found: unknown, idName: string): Found {
  if (Object(found)[idName] != null) return found as Found;
  throw unexpected();
}

/** The error for an answer of another shape. */
export function unexpected(): CrmError {
  return new CrmError('provider', 'The answer is not one of the CRM’s.', { retryable: true });
}
