import { listIn, recordIn } from '../../../examples/adapters/answers.js';
import type { Send } from '../../../examples/adapters/http.js';
import { active, lastPage, pageOf, passOf, writer } from '../../../examples/adapters/passes.js';
import type { Crm, CrmContact, CrmRecord } from '../../../examples/crm.js';
import type { Timestamp } from '../../../src/index.js';

/** Reads everything by page number, like agentOS; the token carries the pass's start to its end. */
export function loopCrm(send: Send): Crm {
  interface Contact {
    id: string;
    name: string;
    email: string | null;
    phone: string | null;
    reference: string | null;
  }
  const record = (found: unknown): CrmRecord => {
    const { id, reference, ...fields } = recordIn<Contact>(found, 'id');
    return active('contact', id, fields, reference);
  };
  const fields = ({ contactId, ...rest }: CrmContact) => ({ ...rest, reference: contactId });
  return {
    entityTypes: ['contact'],
    async readPage(_, from) {
      const pass = passOf(from, (): { number: number; begun?: Timestamp } => ({ number: 1 }));
      const { body, date } = await send({ path: '/contacts', query: { page: pass.number } });
      const { number, begun = date } = pass;
      const records = listIn(body, 'data').map(record);
      return number >= body.pages ? lastPage(records, begun) : pageOf(records, { number: number + 1, begun });
    },
    async read(_, externalId) {
      const path = `/contacts/${encodeURIComponent(externalId)}`;
      const { status, body } = await send({ path, accept: [404] });
      return status === 404 ? null : record(body.data);
    },
    write: writer({
      async update({ externalId }, contact) {
        const path = `/contacts/${encodeURIComponent(externalId)}`;
        const { status, body } = await send({ method: 'PATCH', path, body: fields(contact), accept: [404] });
        return status === 404 ? null : record(body.data);
      },
      async find({ contactId }) {
        const { body } = await send({ path: '/contacts', query: { reference: contactId } });
        return listIn<Contact>(body, 'data')[0]?.id;
      },
      async create(contact) {
        const { body } = await send({ method: 'POST', path: '/contacts', body: fields(contact) });
        return record(body.data);
      },
    }),
  };
}
