// Our own table of contacts, as far as sync needs it.
import type pg from 'pg';
import { type ContactFields, columns, fieldNames } from './contact-fields.js';

/** Contacts by their ids. */
export type Contacts = Map<string, ContactFields>;

const selected = fieldNames.map((field) => `${columns[field]} as ${field}`).join(', ');
const written = fieldNames.map((field) => columns[field]);
/** The contacts of a statement, as rows. */
const rows = `jsonb_to_recordset($2) as contact (id uuid, ${written.map((column) => `${column} text`).join(', ')})`;

/** Locks some contacts until the end of the transaction, in the order of their ids. Returns those that exist. */
export async function lockContacts(
  client: pg.ClientBase,
  organisationId: string,
  ids: readonly string[],
): Promise<Contacts> {
  const found = await client.query(
    `select id, ${selected} from contacts where organisation_id = $1 and id = any($2) order by id for no key update`,
    [organisationId, ids],
  );
  return new Map(found.rows.map(({ id, ...fields }) => [id, fields]));
}

/** Reads a contact; undefined if it does not exist. */
export async function readContact(
  pool: pg.Pool,
  organisationId: string,
  id: string,
): Promise<ContactFields | undefined> {
  const found = await pool.query(`select ${selected} from contacts where organisation_id = $1 and id = $2`, [
    organisationId,
    id,
  ]);
  return found.rows[0];
}

export async function insertContacts(
  client: pg.ClientBase,
  organisationId: string,
  contacts: Contacts,
): Promise<void> {
  if (contacts.size === 0) return;
  await client.query(
    `insert into contacts (organisation_id, id, ${written.join(', ')})
     select $1, id, ${written.join(', ')} from ${rows}`,
    [organisationId, json(contacts)],
  );
}

export async function updateContacts(
  client: pg.ClientBase,
  organisationId: string,
  contacts: Contacts,
): Promise<void> {
  if (contacts.size === 0) return;
  await client.query(
    `update contacts set ${written.map((column) => `${column} = contact.${column}`).join(', ')}
     from ${rows} where contacts.organisation_id = $1 and contacts.id = contact.id`,
    [organisationId, json(contacts)],
  );
}

function json(contacts: Contacts): string {
  const values = [...contacts].map(([id, contact]) => [
    ['id', id],
    ...fieldNames.map((field) => [columns[field], contact[field] ?? null]),
  ]);
  return JSON.stringify(values.map((each) => Object.fromEntries(each)));
}
