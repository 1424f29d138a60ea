import type { Send } from '../../../examples/adapters/http.js';
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
  reached,
  writer,
} from '../../../examples/adapters/passes.js';
import type { Crm, CrmContact, CrmRecord } from '../../../examples/crm.js';
import { type Timestamp, toExternalId } from '../../../src/index.js';

/** A pass. `read` is the latest change that it has read, `next` the CRM's own token. */
type AltoPass = Partial<Pass> & { since: Timestamp | null; read: Timestamp | null; next?: string };

/** The CRM's token says where the next page begins; ours has it, and the time read so far. */
export function altoCrm(send: Send, account: string): Crm {
  interface Contact {
    id: number | string;
    displayName: string;
    email: string | null;
    telephone: string | null;
    reference: string | null;
    modified: string;
  }
  const record = ({ id, displayName, email, telephone, reference, modified }: Contact): CrmRecord => ({
    ...active('contact', toExternalId(id), { name: displayName, email, phone: telephone }, reference),
    modifiedAt: modified,
  });
  const fields = ({ name, email, phone, contactId }: CrmContact) => ({
    displayName: name,
    email,
    telephone: phone,
    reference: contactId,
  });
  return {
    account,
    entityTypes: ['contact'],
    async readPage(_, from) {
      const pass = passOf(from, (since): AltoPass => ({ since, read: null }));
      const query = { 'modified-from': pass.since, 'next-token': pass.next };
      const { body, date } = await send({ path: '/contacts', query });
      const times = body.data.map(modifiedIn);
      const { since, begun = greatest([date, ...times]) ?? date } = pass;
      // Changes on earlier pages are earlier than those on this one, which may be empty.
      const read = greatest([pass.read, ...times]) ?? null;
      const records = body.data.map(record);
      if (body.nextToken === null) return lastPage(records, reached({ since, begun }, [read]));
      return pageOf(records, { since, begun, read, next: body.nextToken } satisfies AltoPass);
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
