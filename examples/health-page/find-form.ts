// Finds the contact of a CRM's id.
import {
  CrmSchemaError,
  contactExternalIdResolve,
  type Provider,
  providers,
  type Queryable,
} from '@nurturehub/crm-schema';
import { type Html, html } from './html.js';
import { crmNames, entityTypeOf } from './names.js';

/** The form, for the CRMs that an agency has or had. */
export function findForm(connected: readonly Provider[]): Html {
  const chosen = providers.filter((provider) => connected.includes(provider));
  return html`<form action="/find">
  <p><label for="crm">CRM</label><select id="crm" name="crm">${chosen.map((provider) => html`<option value="${provider}">${crmNames[provider]}</option>`)}</select></p>
  <p><label for="kind">Kind of record</label><input id="kind" name="kind" required autocomplete="off" aria-describedby="kind-hint"><span class="hint" id="kind-hint">As the CRM calls it, such as landlord</span></p>
  <p><label for="id">Its id there</label><input id="id" name="id" required autocomplete="off" aria-describedby="id-hint"><span class="hint" id="id-hint">Capitals matter</span></p>
  <p><button>Find</button></p>
</form>`;
}

/** The contact that somebody has asked for; null if there is none. */
export async function findContact(
  client: Queryable,
  organisationId: string,
  asked: URLSearchParams,
): Promise<string | null> {
  const provider = asked.get('crm') as Provider;
  const entityType = entityTypeOf(asked.get('kind') ?? '');
  const externalId = (asked.get('id') ?? '').trim();
  try {
    return await contactExternalIdResolve(client, { organisationId, provider, entityType, externalId });
  } catch (error) {
    // What cannot be an id, or a CRM, has no contact.
    const isNoId =
      error instanceof CrmSchemaError && ['invalid_input', 'unknown_provider'].includes(error.code);
    if (isNoId) return null;
    throw error;
  }
}
