import { listIn, recordIn } from '../../../examples/adapters/answers.js';
import type { Send } from '../../../examples/adapters/http.js';
import { active, writer } from '../../../examples/adapters/passes.js';
import { type Crm, type CrmContact, CrmError, type CrmRecord } from '../../../examples/crm.js';

/** A feed of changes, including deletions and merges: its cursor is the whole position. */
export function customCrm(send: Send): Crm {
  type Change = Omit<CrmRecord, 'entityType' | 'externalId'> & { id: string };
  const record = (found: unknown): CrmRecord => {
    const { id, reference = null, state, mergedInto = null, ...fields } = recordIn<Change>(found, 'id');
    return { ...active('contact', id, fields, reference), state, mergedInto };
  };
  const fields = ({ contactId, ...rest }: CrmContact) => ({ ...rest, reference: contactId });
  return {
    entityTypes: ['contact'],
    async readPage(_, from) {
      const cursor = 'token' in from ? from.token : null;
      const { status, body, date } = await send({ path: '/changes', query: { cursor }, accept: [410] });
      if (status === 410) {
        throw new CrmError('provider', 'The cursor has expired.', { retryable: true, isPositionLost: true });
      }
      const page = { records: listIn(body, 'changes').map(record), next: body.cursor };
      return body.hasMore ? { ...page, isLast: false } : { ...page, isLast: true, syncedTo: date };
    },
    async read(_, externalId) {
      const path = `/contacts/${encodeURIComponent(externalId)}`;
      const { status, body } = await send({ path, accept: [404] });
      return status === 404 ? null : record(body);
    },
    write: writer({
      async update({ externalId }, contact) {
        const path = `/contacts/${encodeURIComponent(externalId)}`;
        const { status, body } = await send({ method: 'PATCH', path, body: fields(contact), accept: [404] });
        return status === 404 ? null : record(body);
      },
      async create(contact) {
        const { status, body } = await send({ method: 'POST', path: '/contacts', body: fields(contact) });
        return status === 201 ? record(body) : { existing: recordIn<Change>(body, 'id').id };
      },
    }),
  };
}
