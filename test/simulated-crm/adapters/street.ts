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
import type { Timestamp } from '../../../src/index.js';

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

/** A pass. It has gone back because records had left the list: `wentBack` times, so that no token repeats. */
interface StreetPass {
  since: Timestamp | null;
  newest: Timestamp | null;
  number: number;
  /** The number of records when the page before was read. */
  total: number;
  wentBack: number;
}

/**
 * Reads newest first: an edit moves records to later pages, where they are read again. What leaves the list moves others
 * to pages that were read: then it goes back by as many.
 */
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
      const pass = passOf(
        from,
        (since): StreetPass => ({ since, newest: since, number: 1, total: 0, wentBack: 0 }),
      );
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
      const { total, per_page, total_pages } = body.meta.pagination;
      const lost = Math.max(pass.total - total, 0);
      const isLast = lost === 0 && pass.number >= total_pages;
      const records = found.map((resource) => record(entityType, resource));
      if (isLast) return lastPage(records, newest);
      const number = lost === 0 ? pass.number + 1 : Math.max(pass.number - Math.ceil(lost / per_page), 1);
      const wentBack = pass.wentBack + Math.min(lost, 1);
      return pageOf(records, { ...pass, newest, number, total, wentBack } satisfies StreetPass);
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
