import { type Crm, type CrmContact, CrmError, type CrmRecord } from '../../../examples/crm.js';
import type { Timestamp } from '../../../src/index.js';
import type { Send } from '../requests.js';
import {
  active,
  greatest,
  idIn,
  modifiedIn,
  type Pass,
  page,
  pathOf,
  reached,
  type Updated,
  writer,
} from './adapter.js';

interface Found {
  id: string;
  name: string;
  metadata: { reference: string | null };
}

/** Pages by time: paging by number would skip a record whenever an earlier one is edited. */
export function reapitCrm(send: Send): Crm {
  const paths: Record<string, string> = { contact: '/contacts', landlord: '/landlords' };
  const record = (entityType: string, { id, name, metadata }: Found): CrmRecord =>
    active(entityType, id, name, metadata.reference);

  async function update(externalId: string, body: object): Promise<Updated> {
    const path = `/contacts/${encodeURIComponent(externalId)}`;
    // The record may be edited between the two requests.
    for (let attempt = 1; ; attempt += 1) {
      const found = await send({ path, accept: [404] });
      if (found.status === 404) return found;
      const headers = { 'if-match': found.body._eTag };
      const accept = attempt < 4 ? [404, 412] : [404];
      const updated = await send({ method: 'PATCH', path, headers, body, accept });
      if (updated.status !== 412) return updated;
    }
  }

  return {
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
    async read(entityType, externalId) {
      const path = `${pathOf(paths, entityType)}/${encodeURIComponent(externalId)}`;
      const { status, body } = await send({ path, accept: [404] });
      return status === 404 ? null : record(entityType, body);
    },
    write: writer({
      update: (externalId, contact) => update(externalId, fields(contact)),
      async find({ contactId }) {
        const { body } = await send({ path: '/contacts', query: { reference: contactId } });
        return body._embedded[0]?.id;
      },
      async create(contact) {
        const { headers } = await send({ method: 'POST', path: '/contacts', body: fields(contact) });
        return idIn(headers);
      },
    }),
  };
}

function fields({ name, contactId }: CrmContact): object {
  return { name, metadata: { reference: contactId } };
}
