import { listIn, recordIn } from '../../../examples/adapters/answers.js';
import type { Send } from '../../../examples/adapters/http.js';
import { active, lastPage, pageOf, passOf, writer } from '../../../examples/adapters/passes.js';
import type { Crm, CrmContact, CrmRecord } from '../../../examples/crm.js';
import type { Timestamp } from '../../../src/index.js';

/** Each pass reads everything: the next pass finds records that moved between pages. */
export function agentosCrm(send: Send, shortName: string): Crm {
  interface Person {
    OID: string;
    Name: string;
    Email: string | null;
    Telephone: string | null;
    Reference: string | null;
    ETag: string;
  }
  const people = `/${shortName}/people`;
  const record = (found: unknown): CrmRecord => {
    const { OID, Name, Email, Telephone, Reference, ETag } = recordIn<Person>(found, 'OID');
    const fields = { name: Name, email: Email, phone: Telephone };
    return { ...active('contact', OID, fields, Reference), version: ETag };
  };
  const fields = ({ name, email, phone, contactId }: CrmContact) => ({
    Name: name,
    Email: email,
    Telephone: phone,
    Reference: contactId,
  });
  return {
    account: shortName,
    entityTypes: ['contact'],
    async readPage(_, from) {
      const pass = passOf(from, (): { offset: number; begun: Timestamp | null } => ({
        offset: 0,
        begun: null,
      }));
      const { body, date } = await send({ path: people, query: { offset: pass.offset, count: 1000 } });
      const begun = pass.begun ?? date;
      const found = listIn(body, 'Data');
      const offset = pass.offset + found.length;
      const isLast = found.length === 0 || offset >= body.TotalCount;
      const records = found.map(record);
      return isLast ? lastPage(records, begun) : pageOf(records, { offset, begun });
    },
    async read(_, externalId) {
      const path = `${people}/${encodeURIComponent(externalId)}`;
      const { status, body } = await send({ path, accept: [404] });
      return status === 404 ? null : record(body);
    },
    write: writer({
      async update({ externalId }, contact) {
        const path = `${people}/${encodeURIComponent(externalId)}`;
        const { status, body } = await send({ method: 'PUT', path, body: fields(contact), accept: [404] });
        return status === 404 ? null : record(body);
      },
      async find({ contactId }) {
        const { body } = await send({ path: people, query: { reference: contactId } });
        return listIn<Person>(body, 'Data')[0]?.OID;
      },
      async create(contact) {
        const { body } = await send({ method: 'POST', path: people, body: fields(contact) });
        return record(body);
      },
    }),
  };
}
