import { listIn, recordIn } from '../../../examples/adapters/answers.js';
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
import { type Crm, type CrmContact, CrmError, type CrmRecord } from '../../../examples/crm.js';
import { type Timestamp, toExternalId } from '../../../src/index.js';

/** A pass. `read` is the latest change that it has read, `next` the CRM's own token. */
type AltoPass = Pass & { read: Timestamp | null; next?: string };

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
  const record = (found: unknown): CrmRecord => {
    const { id, displayName, email, telephone, reference, modified } = recordIn<Contact>(found, 'id');
    const fields = { name: displayName, email, phone: telephone };
    return active('contact', toExternalId(id), fields, reference, modifiedIn({ modified }));
  };
  const fields = ({ name, email, phone, contactId }: CrmContact) => ({
    displayName: name,
    email,
    telephone: phone,
    reference: contactId,
  });
  const read: Crm['read'] = async (_, externalId) => {
    const path = `/contacts/${encodeURIComponent(externalId)}`;
    const { status, body } = await send({ path, accept: [404] });
    return status === 404 ? null : record(body);
  };
  return {
    account,
    entityTypes: ['contact'],
    async readPage(_, from) {
      const pass = passOf(from, (since): AltoPass => ({ since, begun: null, read: null }));
      const query = { 'modified-from': pass.since, 'next-token': pass.next };
      const { status, body, date } = await send({ path: '/contacts', query, accept: [410] });
      if (status === 410) {
        throw new CrmError('provider', 'The token has expired.', { retryable: true, isPositionLost: true });
      }
      const found = listIn<Contact>(body, 'data');
      const times = found.map(modifiedIn);
      const { since } = pass;
      const begun = pass.begun ?? greatest([date, ...times]) ?? date;
      // Changes on earlier pages are earlier than those on this one, which may be empty.
      const read = greatest([pass.read, ...times]) ?? null;
      const records = found.map(record);
      if (body.nextToken === null) return lastPage(records, reached({ since, begun }, [read]));
      return pageOf(records, { since, begun, read, next: body.nextToken } satisfies AltoPass);
    },
    read,
    write: writer({
      async update({ externalId }, contact) {
        const path = `/contacts/${encodeURIComponent(externalId)}`;
        const { status, body } = await send({ method: 'PUT', path, body: fields(contact), accept: [404] });
        return status === 404 ? null : record(body);
      },
      async create(contact) {
        const request = { method: 'POST', path: '/contacts', body: fields(contact), accept: [409] } as const;
        const { status, headers, body } = await send(request);
        if (status === 409) return { existing: idIn(headers) };
        // The answer has the id alone, and the CRM may have changed the name.
        const externalId = toExternalId(recordIn<Contact>(body, 'id').id);
        return (await read('contact', externalId)) ?? asSent(externalId, contact);
      },
    }),
  };
}
