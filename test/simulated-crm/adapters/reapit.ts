import {
  type Crm,
  type CrmContact,
  CrmError,
  type CrmRecord,
  type LinkedRecord,
} from '../../../examples/crm.js';
import { contentHash, type Timestamp } from '../../../src/index.js';
import type { Send } from '../requests.js';
import {
  active,
  asSent,
  greatest,
  idIn,
  modifiedIn,
  type Pass,
  page,
  pathOf,
  reached,
  writer,
} from './adapter.js';

interface Found {
  id: string;
  name: string;
  metadata: { reference: string | null };
  modified: string;
  _eTag: string;
}

/** Pages by time: paging by number would skip a record whenever an earlier one is edited. */
export function reapitCrm(send: Send, account: string): Crm {
  const paths: Record<string, string> = { contact: '/contacts', landlord: '/landlords' };
  const record = (entityType: string, { id, name, metadata, modified, _eTag }: Found): CrmRecord => ({
    ...active(entityType, id, name, metadata.reference),
    version: _eTag,
    modifiedAt: modified,
  });

  async function read(entityType: string, externalId: string): Promise<CrmRecord | null> {
    const path = `${pathOf(paths, entityType)}/${encodeURIComponent(externalId)}`;
    const { status, body } = await send({ path, accept: [404] });
    return status === 404 ? null : record(entityType, body);
  }

  /** Reads what the CRM made of a write. If somebody has edited the record since, only what was sent is known. */
  async function stored(entityType: string, externalId: string, contact: CrmContact): Promise<CrmRecord> {
    const found = await read(entityType, externalId).catch(() => null);
    const isOurs = contentHash({ name: found?.name }) === contentHash({ name: contact.name });
    return found !== null && isOurs ? found : asSent(externalId, contact, entityType);
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
      // This page begins at `at`.
      const pass: Partial<Pass> & { since: Timestamp | null; at: Timestamp | null } =
        from?.kind === 'token'
          ? JSON.parse(from.token)
          : { since: from?.syncedTo ?? null, at: from?.syncedTo ?? null };
      const query = { modifiedFrom: pass.at, pageNumber: 1, pageSize: 100 };
      const { body, date } = await send({ path: pathOf(paths, entityType), query });
      const records = body._embedded.map((found: Found) => record(entityType, found));
      const at = greatest([pass.at, ...body._embedded.map(modifiedIn)]) ?? null;
      const { since, begun = greatest([at, date]) ?? date } = pass;
      if (body.totalCount <= body._embedded.length) {
        return page(records, { kind: 'timestamp', syncedTo: reached({ since, begun }, [at]) }, true);
      }
      if (at === pass.at) {
        const problem = 'More records share one modified time than fit on a page.';
        throw new CrmError('provider', problem, { retryable: false });
      }
      const token = JSON.stringify({ since, begun, at });
      return page(records, { kind: 'token', token, syncedTo: null }, false);
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

function fields({ name, contactId }: CrmContact): object {
  return { name, metadata: { reference: contactId } };
}
