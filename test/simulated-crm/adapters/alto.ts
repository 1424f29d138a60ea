import type { Crm, CrmContact, CrmRecord } from '../../../examples/crm.js';
import { type Timestamp, toExternalId } from '../../../src/index.js';
import type { Send } from '../requests.js';
import { active, asSent, greatest, idIn, modifiedIn, type Pass, page, reached, writer } from './adapter.js';

/** The CRM's token says where the next page begins; `syncedTo` carries the time read so far. */
export function altoCrm(send: Send, account: string): Crm {
  interface Contact {
    id: number | string;
    displayName: string;
    reference: string | null;
    modified: string;
  }
  const record = ({ id, displayName, reference, modified }: Contact): CrmRecord => ({
    ...active('contact', toExternalId(id), displayName, reference),
    modifiedAt: modified,
  });
  const fields = ({ name, contactId }: CrmContact) => ({ displayName: name, reference: contactId });
  return {
    account,
    entityTypes: ['contact'],
    async readPage(_, from) {
      const pass: Partial<Pass> & { since: Timestamp | null; next?: string } =
        from?.kind === 'token' ? JSON.parse(from.token) : { since: from?.syncedTo ?? null };
      const query = { 'modified-from': pass.since, 'next-token': pass.next };
      const { body, date } = await send({ path: '/contacts', query });
      const times = body.data.map(modifiedIn);
      const { since, begun = greatest([date, ...times]) ?? date } = pass;
      // Changes on earlier pages are earlier than those on this one, which may be empty.
      const read = from?.kind === 'token' ? (from.syncedTo ?? null) : null;
      const syncedTo = reached({ since, begun }, [read, ...times]);
      const token = JSON.stringify({ since, begun, next: body.nextToken });
      const isLast = body.nextToken === null;
      return page(
        body.data.map(record),
        isLast ? { kind: 'timestamp', syncedTo } : { kind: 'token', token, syncedTo },
        isLast,
      );
    },
    async read(_, externalId) {
      const path = `/contacts/${encodeURIComponent(externalId)}`;
      const { status, body } = await send({ path, accept: [404] });
      return status === 404 ? null : record(body);
    },
    write: writer({
      async update({ externalId }, contact) {
        const path = `/contacts/${encodeURIComponent(externalId)}`;
        const { status, body } = await send({ method: 'PUT', path, body: fields(contact), accept: [404] });
        return status === 404 ? null : record(body);
      },
      async create(contact) {
        const request = { method: 'POST', path: '/contacts', body: fields(contact), accept: [409] } as const;
        const { status, headers, body } = await send(request);
        if (status !== 409) return asSent(toExternalId(body.id), contact);
        return { existing: idIn(headers) };
      },
    }),
  };
}
