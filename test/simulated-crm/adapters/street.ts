import type { Crm, CrmRecord } from '../../../examples/crm.js';
import type { Send } from '../requests.js';
import { active, greatest, lastPage, modifiedIn, pageOf, passOf, pathOf, writer } from './adapter.js';

/** Reads newest first: an edit moves records to later pages, where they are read again. */
export function streetCrm(send: Send): Crm {
  interface Resource {
    id: string;
    attributes: {
      full_name: string;
      external_reference: string | null;
      updated_at: string;
      deleted_at: string | null;
    };
  }
  const paths: Record<string, string> = { contact: '/people', landlord: '/landlords' };
  const record = (entityType: string, { id, attributes }: Resource): CrmRecord => ({
    ...active(entityType, id, attributes.full_name, attributes.external_reference),
    state: attributes.deleted_at === null ? 'active' : 'deleted',
    modifiedAt: attributes.updated_at,
  });
  return {
    entityTypes: ['contact', 'landlord'],
    async readPage(entityType, from) {
      // The newest change comes first, but counts only once the oldest is read; until then the token carries
      // it.
      const pass = passOf(from, (since) => ({ since, newest: since, number: 1 }));
      const { body, date } = await send({
        path: pathOf(paths, entityType),
        query: {
          'page[number]': pass.number,
          'page[size]': 100,
          'filter[updated_from]': pass.since,
          'filter[trashed]': 'with',
        },
      });
      const times = pass.number === 1 ? body.data.map(modifiedIn) : [];
      const newest = greatest([pass.newest, ...times]) ?? date;
      const isLast = pass.number >= body.meta.pagination.total_pages;
      const records = body.data.map((resource: Resource) => record(entityType, resource));
      if (isLast) return lastPage(records, newest);
      return pageOf(records, { since: pass.since, newest, number: pass.number + 1 });
    },
    async read(entityType, externalId) {
      const path = `${pathOf(paths, entityType)}/${encodeURIComponent(externalId)}`;
      const { status, body } = await send({ path, accept: [404] });
      return status === 404 ? null : record(entityType, body.data);
    },
    write: writer({
      async update({ entityType, externalId }, { name, contactId }) {
        const path = `${pathOf(paths, entityType)}/${encodeURIComponent(externalId)}`;
        const attributes = { full_name: name, external_reference: contactId };
        const data = { type: pathOf(paths, entityType).slice(1), id: externalId, attributes };
        const { status, body } = await send({ method: 'PATCH', path, body: { data }, accept: [404] });
        return status === 404 ? null : record(entityType, body.data);
      },
      async create({ name, contactId }) {
        const attributes = { full_name: name, external_reference: contactId };
        const body = { data: { type: 'people', attributes } };
        const created = await send({ method: 'POST', path: '/people', body });
        return record('contact', created.body.data);
      },
    }),
  };
}
