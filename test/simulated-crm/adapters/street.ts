import { listIn, recordIn } from '../../../examples/adapters/answers.js';
import type { Send } from '../../../examples/adapters/http.js';
import {
  active,
  greatest,
  lastPage,
  modifiedIn,
  pageOf,
  passOf,
  pathOf,
  writer,
} from '../../../examples/adapters/passes.js';
import type { ContactFields } from '../../../examples/contact-fields.js';
import type { Crm, CrmContact, CrmRecord } from '../../../examples/crm.js';

interface Resource {
  id: string;
  attributes: {
    full_name: string;
    email_address: string | null;
    telephone_number: string | null;
    external_reference: string | null;
    updated_at: string;
    deleted_at: string | null;
  };
}

/** Reads newest first: an edit moves records to later pages, where they are read again. */
export function streetCrm(send: Send): Crm {
  const paths: Record<string, string> = { contact: '/people', landlord: '/landlords' };
  const record = (entityType: string, found: unknown): CrmRecord => {
    const { id, attributes } = recordIn<Resource>(found, 'id');
    return {
      ...active(entityType, id, fieldsIn(attributes), attributes.external_reference),
      state: attributes.deleted_at === null ? 'active' : 'deleted',
      modifiedAt: attributes.updated_at,
    };
  };
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
      const found = listIn<Resource>(body, 'data');
      const times = pass.number === 1 ? found.map(modifiedIn) : [];
      const newest = greatest([pass.newest, ...times]) ?? date;
      const isLast = pass.number >= body.meta.pagination.total_pages;
      const records = found.map((resource) => record(entityType, resource));
      if (isLast) return lastPage(records, newest);
      return pageOf(records, { since: pass.since, newest, number: pass.number + 1 });
    },
    async read(entityType, externalId) {
      const path = `${pathOf(paths, entityType)}/${encodeURIComponent(externalId)}`;
      const { status, body } = await send({ path, accept: [404] });
      return status === 404 ? null : record(entityType, body.data);
    },
    write: writer({
      async update({ entityType, externalId }, contact) {
        const path = `${pathOf(paths, entityType)}/${encodeURIComponent(externalId)}`;
        const data = {
          type: pathOf(paths, entityType).slice(1),
          id: externalId,
          attributes: attributesOf(contact),
        };
        const { status, body } = await send({ method: 'PATCH', path, body: { data }, accept: [404] });
        return status === 404 ? null : record(entityType, body.data);
      },
      async create(contact) {
        const body = { data: { type: 'people', attributes: attributesOf(contact) } };
        const created = await send({ method: 'POST', path: '/people', body });
        return record('contact', created.body.data);
      },
    }),
  };
}

function fieldsIn({ full_name, email_address, telephone_number }: Resource['attributes']): ContactFields {
  return { name: full_name, email: email_address, phone: telephone_number };
}

function attributesOf({ name, email, phone, contactId }: CrmContact): object {
  return { full_name: name, email_address: email, telephone_number: phone, external_reference: contactId };
}
