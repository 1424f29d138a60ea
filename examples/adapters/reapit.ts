// The adapter for Reapit Foundations (https://foundations-documentation.reapit.cloud). It syncs contacts. open-reapit.ts
// signs in and makes one; reapit-fields.ts has the fields, reapit-passes.ts the order in which pages are read.
import { isSameOrCut } from '../contact-fields.js';
import { type Crm, type CrmContact, CrmError, type CrmRecord, type LinkedRecord } from '../crm.js';
import { recordIn } from './answers.js';
import type { Answer, Send } from './http.js';
import { asSent, idIn, lastPage, pageOf, passOf, pathOf, writer } from './passes.js';
import { changesTo, modifiedIn, type ReapitContact, recordOf } from './reapit-fields.js';
import { begin, passAfter, queryOf, type ReapitPass } from './reapit-passes.js';

export interface ReapitOptions {
  /** The customer, such as `SBOX`: ids belong to it. */
  account?: string | undefined;
  /** The office and the negotiator that a new contact belongs to. Reapit requires them; without, none is created. */
  newContacts?: { officeIds: string[]; negotiatorIds: string[] } | undefined;
  /** Where records of each type are. Those of other types than contact need the same fields. */
  resources?: Record<string, string>;
}

export function reapitCrm(send: Send, options: ReapitOptions): Crm {
  const { account, newContacts, resources = { contact: '/contacts' } } = options;

  async function get(entityType: string, externalId: string): Promise<ReapitContact | null> {
    const { status, body } = await send({ path: pathTo(entityType, externalId), accept: [404] });
    return status === 404 ? null : recordIn<ReapitContact>(body, 'id');
  }

  function pathTo(entityType: string, externalId: string): string {
    return `${pathOf(resources, entityType)}/${encodeURIComponent(externalId)}`;
  }

  async function read(entityType: string, externalId: string): Promise<CrmRecord | null> {
    const found = await get(entityType, externalId);
    return found && recordOf(entityType, found);
  }

  /** Reads what Reapit made of a write. If somebody has edited the record since, only what was sent is known. */
  async function stored(entityType: string, externalId: string, contact: CrmContact): Promise<CrmRecord> {
    const found = await read(entityType, externalId).catch(() => null);
    return found !== null && isSameOrCut(contact, found) ? found : asSent(externalId, contact, entityType);
  }

  async function update(linked: LinkedRecord, contact: CrmContact): Promise<CrmRecord | null> {
    const { entityType, externalId, version } = linked;
    for (let attempt = 1; ; attempt += 1) {
      const found = await get(entityType, externalId);
      if (found === null) return null;
      // Without a version, the one that is there is overwritten. It may change between the two requests.
      const isAgain = version == null && attempt < 4;
      const { status } = await send({
        method: 'PATCH',
        path: pathTo(entityType, externalId),
        headers: { 'if-match': version ?? etagOf(found) },
        body: changesTo(found, contact),
        accept: isAgain ? [404, 412] : [404],
      }).catch((error) => {
        throw found.fromArchive === true ? ofArchived(error) : error;
      });
      if (status === 404) return null;
      if (status !== 412) return stored(entityType, externalId, contact);
    }
  }

  return {
    account,
    comparesVersions: true,
    entityTypes: Object.keys(resources),
    async readPage(entityType, from) {
      const pass = passOf<ReapitPass>(from, begin);
      const answer = await send({ path: pathOf(resources, entityType), query: queryOf(pass) });
      const { found, totalCount, pageSize } = listIn(answer);
      const records = found.map((each) => recordOf(entityType, each));
      const times = found.map(modifiedIn);
      const next = passAfter(pass, { times, totalCount, pageSize, date: answer.date });
      return 'syncedTo' in next ? lastPage(records, next.syncedTo) : pageOf(records, next);
    },
    read,
    write: writer({
      update,
      async find({ contactId }) {
        // A contact may have been archived since it was created.
        for (const fromArchive of [false, true]) {
          const query = { metadata: `metadata.reference $eq '${contactId}'`, fromArchive };
          const [found] = listIn(await send({ path: pathOf(resources, 'contact'), query })).found;
          if (found !== undefined) return found.id;
        }
        return undefined;
      },
      async create(contact) {
        if (newContacts === undefined) {
          const problem = 'Reapit requires the office and the negotiator of a new contact: set newContacts.';
          throw new CrmError('validation', problem, { retryable: false });
        }
        const body = { ...changesTo(null, contact), ...newContacts, marketingConsent: 'notAsked' };
        const { headers } = await send({ method: 'POST', path: pathOf(resources, 'contact'), body });
        return stored('contact', idIn(headers), contact);
      },
    }),
  };
}

/** A list of contacts, which is checked because a wrong one would be taken for the end of a pass. */
function listIn({ body }: Answer): { found: ReapitContact[]; totalCount: number; pageSize: number } {
  const { _embedded: found, totalCount, pageSize } = body ?? {};
  if (Array.isArray(found) && Number.isInteger(totalCount) && pageSize > 0) {
    return { found, totalCount, pageSize };
  }
  throw new CrmError('provider', 'The answer is not a list of contacts.', { retryable: true });
}

function etagOf({ _eTag }: ReapitContact): string {
  if (typeof _eTag === 'string') return _eTag;
  throw new CrmError('provider', 'Reapit did not name the version of the contact.', { retryable: true });
}

/** Reapit takes no changes of archived contacts. The push waits: the contact may be taken out of the archive. */
function ofArchived(error: unknown): unknown {
  if (!(error instanceof CrmError) || error.kind !== 'validation') return error;
  const problem = 'Reapit refuses changes of a contact that is archived.';
  return new CrmError('validation', problem, { retryable: true, code: 'archived' });
}
