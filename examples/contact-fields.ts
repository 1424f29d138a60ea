// The fields of a person that sync keeps the same here and at the CRMs. To add one, add it here, to the table contacts and
// its trigger, and to the adapters of the CRMs that have it; nothing else knows which there are. What the CRMs already
// have in it arrives with the next edit of each person there: docs/sync-engine.md says how to read all of it at once.
import { contentHash } from '@nurturehub/crm-schema';

/**
 * A person's fields. Null: empty. Left out: the CRM does not have the field, so ours stays as it is.
 */
export interface ContactFields {
  name: string;
  email?: string | null;
  phone?: string | null;
}

type FieldName = keyof ContactFields;

/** The column of `contacts` that has each field. All of them are text. */
export const columns: Readonly<Record<FieldName, string>> = { name: 'name', email: 'email', phone: 'phone' };

export const fieldNames = Object.keys(columns) as FieldName[];

/** The fields that a record says something of, without what else the record has. */
export function fieldsOf(record: ContactFields): ContactFields {
  return { ...alike(record, record), name: record.name };
}

/**
 * What stands for the content of a record, or for what a person has in the same fields. That of text with other letter
 * case or white space is the same.
 */
export function hashOf(record: ContactFields, person = record): string {
  return contentHash(alike(person, record));
}

/** Whether a contact has what a record says, apart from letter case and white space, which CRMs change. */
export function isSame(contact: ContactFields | undefined, record: ContactFields): boolean {
  return contact !== undefined && hashOf(record, contact) === hashOf(record);
}

/** The same, if the CRM may have cut long values, as it does when it stores them. */
export function isSameOrCut(contact: ContactFields | undefined, record: ContactFields): boolean {
  if (contact === undefined || isSame(contact, record)) return contact !== undefined;
  const cut = fieldNames.map((field) => [field, contact[field]?.slice(0, record[field]?.length) ?? null]);
  return isSame(Object.fromEntries(cut), record);
}

/** A contact with what a record says. A field that differs in letter case or white space alone stays as it is here. */
export function updated(contact: ContactFields, record: ContactFields): ContactFields {
  const said = Object.entries(fieldsOf(record)) as [FieldName, string | null][];
  const differing = said.filter(
    ([field, value]) => contentHash({ [field]: value }) !== contentHash({ [field]: contact[field] }),
  );
  return { ...contact, ...Object.fromEntries(differing) };
}

/** A contact with what a record says in the fields that are empty here; undefined if that is nothing. */
export function filled(contact: ContactFields, record: ContactFields): ContactFields | undefined {
  const empty = fieldNames.filter((field) => contact[field] == null && record[field] != null);
  if (empty.length === 0) return undefined;
  return { ...contact, ...Object.fromEntries(empty.map((field) => [field, record[field]])) };
}

/** Whether a record says something of each field that a contact has. */
export function saysAllOf(contact: ContactFields | undefined, record: ContactFields): boolean {
  return (
    contact !== undefined &&
    fieldNames.every((field) => contact[field] == null || record[field] !== undefined)
  );
}

/** A person's values of those fields that a record says something of. */
function alike(person: ContactFields, record: ContactFields): Partial<Record<FieldName, string | null>> {
  // Everybody has a name: a record without one is refused, rather than taken for one that does not say it.
  const said = fieldNames.filter((field) => field === 'name' || record[field] !== undefined);
  return Object.fromEntries(said.map((field) => [field, person[field] ?? null]));
}
