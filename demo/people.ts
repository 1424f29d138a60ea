import type { ClientBase } from 'pg';

/**
 * The agencies and people in the demo. All are invented. The email addresses use domains reserved for
 * examples, and the telephone numbers in the CRMs' payloads come from Ofcom's ranges for drama.
 */

/** An agency. NurtureHub calls it an organisation. */
export interface Agency {
  id: string;
  name: string;
}

/** A NurtureHub contact. */
export interface Contact {
  id: string;
  organisationId: string;
  name: string;
  email: string;
}

const agency = (number: number, name: string): Agency => ({
  id: `a0000000-0000-4000-8000-00000000000${number}`,
  name,
});

const contact = (number: number, { id }: Agency, name: string, email: string): Contact => ({
  id: `c0000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
  organisationId: id,
  name,
  email,
});

export const puddlewick = agency(1, 'Puddlewick Lettings');
export const thistle = agency(2, 'Thistle & Quill');
export const gullhaven = agency(3, 'Gullhaven Homes');
export const agencies = [puddlewick, thistle, gullhaven];

export const ottoline = contact(1, puddlewick, 'Ottoline Sprat', 'ottoline@example.com');
export const barnaby = contact(2, puddlewick, 'Barnaby Quince', 'barnaby@example.com');
export const winifred = contact(3, puddlewick, 'Winifred Plum', 'winifred@example.org');
export const jasper = contact(4, puddlewick, 'Jasper Teacup', 'jasper@example.org');
export const rufus = contact(5, puddlewick, 'Rufus Marrow', 'rufus@example.com');
export const hettie = contact(6, thistle, 'Hettie Biscuit', 'hettie@example.com');
export const gideon = contact(7, thistle, 'Gideon Custard', 'gideon@example.org');
export const clemmie = contact(8, gullhaven, 'Clemmie Button', 'clemmie@example.com');
export const percy = contact(9, gullhaven, 'Percy Dovetail', 'percy@example.org');
/** Gideon under another name: a duplicate. */
export const gCustard = contact(10, thistle, 'G. Custard', 'g.custard@example.com');
export const contacts = [
  ...[ottoline, barnaby, winifred, jasper, rufus],
  ...[hettie, gideon, gCustard],
  ...[clemmie, percy],
];

/** Inserts the agencies and their contacts into NurtureHub's own tables. */
export async function createHostRows(client: ClientBase): Promise<void> {
  await client.query('insert into organisations (id, name) select * from unnest($1::uuid[], $2::text[])', [
    agencies.map(({ id }) => id),
    agencies.map(({ name }) => name),
  ]);
  await client.query(
    'insert into contacts (id, organisation_id, name) select * from unnest($1::uuid[], $2::uuid[], $3::text[])',
    [
      contacts.map(({ id }) => id),
      contacts.map(({ organisationId }) => organisationId),
      contacts.map(({ name }) => name),
    ],
  );
}

/** Finds the contact for a person whose external id is new, by email address. */
export function contactByEmail(organisationId: string, email: string | null): Contact | undefined {
  return contacts.find((known) => known.organisationId === organisationId && known.email === email);
}

/** The display name of a contact. */
export function nameOf(contactId: string): string {
  return contacts.find(({ id }) => id === contactId)?.name ?? contactId;
}
