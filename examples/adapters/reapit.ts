import { canonicalTimestamp, type Timestamp } from '@nurturehub/crm-schema';
import { isSame } from '../contact-fields.js';
import type { Crm, CrmContact, CrmRecord, LinkedRecord } from '../crm.js';
import type { Send } from './http.js';
import {
  active,
  asSent,
  greatest,
  idIn,
  lastPage,
  modifiedIn,
  type Pass,
  pageOf,
  passOf,
  pathOf,
  reached,
  writer,
} from './passes.js';

interface Found {
  id: string;
  name: string;
  email: string | null;
  mobilePhone: string | null;
  metadata: { reference: string | null };
  modified: string;
  _eTag: string;
}

/** A pass. The next page begins at the time `at`. */
interface ReapitPass extends Partial<Pass> {
  since: Timestamp | null;
  at: Timestamp | null;
  /**
   * Which page to read of the records that were modified at `at`, because more of them share it than fit on a page; 0
   * until the number of pages is known. The last page comes first: an edit takes a record away, and moves those behind
   * it to an earlier page.
   */
  tiedPage?: number;
}

/** Pages by time: paging by number would skip a record whenever an earlier one is edited. */
export function reapitCrm(send: Send, account: string): Crm {
  const paths: Record<string, string> = { contact: '/contacts', landlord: '/landlords' };
  const record = (
    entityType: string,
    { id, name, email, mobilePhone, metadata, modified, _eTag }: Found,
  ): CrmRecord => ({
    ...active(entityType, id, { name, email, phone: mobilePhone }, metadata.reference),
    version: _eTag,
    modifiedAt: canonicalTimestamp(modified, { timeZone: 'UTC' }),
  });

  async function read(entityType: string, externalId: string): Promise<CrmRecord | null> {
    const path = `${pathOf(paths, entityType)}/${encodeURIComponent(externalId)}`;
    const { status, body } = await send({ path, accept: [404] });
    return status === 404 ? null : record(entityType, body);
  }

  /** Reads what the CRM made of a write. If somebody has edited the record since, only what was sent is known. */
  async function stored(entityType: string, externalId: string, contact: CrmContact): Promise<CrmRecord> {
    const found = await read(entityType, externalId).catch(() => null);
    return found !== null && isSame(contact, found) ? found : asSent(externalId, contact, entityType);
  }

  async function update(
    { entityType, externalId, version }: LinkedRecord,
    contact: CrmContact,
  ): Promise<CrmRecord | null> {
    const path = `${pathOf(paths, entityType)}/${encodeURIComponent(externalId)}`;
    // Without a version, the one that is there is overwritten. It may change between the two requests.
    for (let attempt = 1; ; attempt += 1) {
      const etag = version ?? (await read(entityType, externalId))?.version;
      if (etag == null) return null;
      const accept = version == null && attempt < 4 ? [404, 412] : [404];
      const request = {
        method: 'PATCH',
        path,
        headers: { 'if-match': etag },
        body: fields(contact),
        accept,
      } as const;
      const { status } = await send(request);
      if (status === 404) return null;
      if (status !== 412) return stored(entityType, externalId, contact);
    }
  }

  return {
    account,
    comparesVersions: true,
    entityTypes: ['contact', 'landlord'],
    async readPage(entityType, from) {
      const pass = passOf(from, (since): ReapitPass => ({ since, at: since }));
      const { at, tiedPage } = pass;
      const query = {
        modifiedFrom: at,
        modifiedTo: tiedPage === undefined ? null : nextMicrosecond(at as Timestamp),
        pageNumber: tiedPage || 1,
        pageSize: 100,
      };
      const { body, date } = await send({ path: pathOf(paths, entityType), query });
      const records = body._embedded.map((found: Found) => record(entityType, found));
      const last = greatest([at, ...body._embedded.map(modifiedIn)]) ?? null;
      const { since, begun = greatest([last, date]) ?? date } = pass;
      if (tiedPage !== undefined) {
        const next = tiedPage === 0 ? Math.ceil(body.totalCount / body.pageSize) : tiedPage - 1;
        if (next > 0) return pageOf(records, { ...pass, begun, tiedPage: next });
        return pageOf(records, { since, begun, at: nextMicrosecond(at as Timestamp) } satisfies ReapitPass);
      }
      if (body.totalCount <= body._embedded.length)
        return lastPage(records, reached({ since, begun }, [last]));
      const tied = last === at ? { tiedPage: 0 } : {};
      return pageOf(records, { since, begun, at: last, ...tied } satisfies ReapitPass);
    },
    read,
    write: writer({
      update,
      async find({ contactId }) {
        const { body } = await send({ path: '/contacts', query: { reference: contactId } });
        return body._embedded[0]?.id;
      },
      async create(contact) {
        const { headers } = await send({ method: 'POST', path: '/contacts', body: fields(contact) });
        return stored('contact', idIn(headers), contact);
      },
    }),
  };
}

function fields({ name, email, phone: mobilePhone, contactId }: CrmContact): object {
  return { name, email, mobilePhone, metadata: { reference: contactId } };
}

/** The end of a microsecond: Reapit's times have a seventh digit. */
function nextMicrosecond(time: Timestamp): Timestamp {
  const next = Number(time.slice(20, 26)) + 1;
  if (next < 1_000_000) return `${time.slice(0, 20)}${String(next).padStart(6, '0')}Z`;
  const second = new Date(Date.parse(`${time.slice(0, 19)}Z`) + 1000);
  return canonicalTimestamp(second.toISOString());
}
