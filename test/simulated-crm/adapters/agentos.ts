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
  const record = ({ OID, Name, Email, Telephone, Reference, ETag }: Person): CrmRecord => ({
    ...active('contact', OID, { name: Name, email: Email, phone: Telephone }, Reference),
    version: ETag,
  });
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
      const offset = pass.offset + body.Data.length;
      const isLast = body.Data.length === 0 || offset >= body.TotalCount;
      const records = body.Data.map(record);
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
        return body.Data[0]?.OID;
      },
      async create(contact) {
        const { body } = await send({ method: 'POST', path: people, body: fields(contact) });
        return record(body);
      },
    }),
  };
}
