import { type Crm, type CrmContact, CrmError, type CrmRecord } from '../crm.js';
import type { SimulatedCrm } from '../simulated-crm/server.js';
import { entityTypesOf, recordIn } from './reading.js';
import { applies, expect, type Rule, type Theme } from './rule.js';
import { createPeople, current, describe, isActive, keyOf, reached, thrownBy } from './trial.js';

const contact = {
  contactId: 'test-contact',
  name: 'Ines Example',
  email: 'ines@example.com',
  phone: '020 7946 0001',
} satisfies CrmContact;

const updates: Rule = {
  name: 'updates the record that it is given',
  reason: 'A contact may have several records, of several types.',
  advice: 'Send each field of the contact to the record with this id and type, and create none.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    for (const entityType of entityTypesOf(adapter)) {
      const [{ externalId }, other] = createPeople(crm, 2, entityType) as [CrmRecord, CrmRecord];
      const count = crm.records().length;
      const returned = recordIn(await adapter.write(contact, keyOf(crm, { externalId })));
      expectStored(crm, externalId, contact, `After an update of a record of type ${entityType}`);
      const isOther = current(crm, other.externalId).name !== other.name || crm.records().length !== count;
      expect(!isOther, `An update of a record of type ${entityType} has changed or created another.`);
      const isSame = returned?.externalId === externalId && returned.entityType === entityType;
      expect(
        isSame,
        `An update of ${entityType} ${externalId} returns ${returned ? 'another record' : 'null'}.`,
      );
    }
  },
};

const returnsStored: Rule = {
  name: 'returns what the CRM stored',
  reason: 'CRMs change what they are sent. If that comes back later, it looks like an edit.',
  advice: "Return the record from the CRM's answer; if that has none, read the record.",
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen({ naming: 'UPPER CASE' });
    const [{ externalId }] = createPeople(crm, 1) as [CrmRecord];
    const writes: Record<string, () => ReturnType<Crm['write']>> = {
      'an update': () => adapter.write(contact, keyOf(crm, { externalId })),
      'a creation': () => adapter.write({ ...contact, contactId: 'test-contact-2' }, null),
    };
    for (const [what, write] of Object.entries(writes)) {
      if (what === 'a creation' && !crm.dialect.creates) continue;
      const returned = recordIn(await write());
      expect(returned !== null, `After ${what}, write returns null, although the CRM shows the record.`);
      const { name, version } = current(crm, String(returned.externalId));
      expect(
        returned.name === name,
        `After ${what}, write returns the name ${returned.name}; the CRM has ${name}.`,
      );
      const isVersion = !crm.dialect.hasEtag || returned.version === version;
      expect(
        isVersion,
        `After ${what}, write returns the version ${returned.version}; the CRM has ${version}.`,
      );
    }
  },
};

const leavesFields: Rule = {
  name: 'leaves fields alone that are left out',
  reason: 'A field that a contact does not have here would be emptied at the CRM.',
  advice:
    'Send only fields that are not undefined. If the CRM replaces the whole record, send its own values for the others.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const { externalId } = crm.create(contact);
    await adapter.write({ contactId: 'test-contact', name: 'Zoe Edited-1' }, keyOf(crm, { externalId }));
    expectStored(crm, externalId, { ...contact, name: 'Zoe Edited-1' }, 'After an update of the name alone');
  },
};

const emptiesFields: Rule = {
  name: 'empties fields that are null',
  reason: 'What was emptied here would come back from the CRM.',
  advice: 'Send null, or what the CRM takes for an empty field.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const { externalId } = crm.create(contact);
    const emptied = { ...contact, email: null, phone: null };
    await adapter.write(emptied, keyOf(crm, { externalId }));
    expectStored(crm, externalId, emptied, 'After an update with null');
  },
};

const creates: Rule = {
  name: 'creates a record with our reference',
  reason: 'It ties the record to the contact before anything else does.',
  advice: 'Send contactId in the field that the CRM has for the references of others, also with an update.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const [{ externalId }] = createPeople(crm, 1) as [CrmRecord];
    await adapter.write({ ...contact, contactId: 'test-contact-2' }, keyOf(crm, { externalId }));
    const updated = current(crm, externalId).reference;
    expect(updated === 'test-contact-2', `After an update, the CRM has the reference ${updated}.`);
    if (!crm.dialect.creates) return;
    const created = recordIn(await adapter.write(contact, null));
    const record = crm.records().find(({ reference }) => reference === 'test-contact');
    expect(record !== undefined, 'After a creation, the CRM has no record with our reference.');
    expect(
      created?.externalId === record.externalId,
      'A creation does not return the record that was created.',
    );
    expectStored(crm, record.externalId, contact, 'After a creation');
  },
};

const createsOnce: Rule = {
  name: 'creates one record, even if an answer is lost',
  reason: 'Otherwise a cut line leaves the agency with two records of one person.',
  advice:
    'Look for a record with our reference first (find of writer). If the CRM refuses a second one (409), accept that and return { existing } with the id, from Location for example. Do not repeat a POST.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    applies(crm.dialect.creates, 'this CRM creates no records through its API');
    crm.setHabits({ lostAnswer: 1 });
    for (const name of ['Ines Example', 'Ines Sample']) {
      await adapter.write({ ...contact, name }, null).catch(() => undefined);
    }
    crm.calm();
    await adapter.write({ ...contact, name: 'Ines Test' }, null);
    const count = crm.records().length;
    expect(
      count === 1,
      `After creations whose answers were lost, the CRM has ${count} records of the contact.`,
    );
  },
};

const leavesExisting: Rule = {
  name: 'names the record that an earlier creation has left, unwritten',
  reason: 'Somebody may have edited it since the answer was lost; the edit would be overwritten unread.',
  advice:
    'If the CRM says that there is a record with our reference (a 409 with Location), return { existing } with its id from create of writer. The worker reads it, and then updates it.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    applies(crm.dialect.creates, 'this CRM creates no records through its API');
    const { externalId } = crm.create(contact, contact.contactId);
    const found = await adapter.write({ ...contact, name: 'Ines Test' }, null);
    // If it has created a second record, another rule finds it.
    if (crm.records().length > 1) return;
    expectStored(crm, externalId, contact, 'After a creation that finds the record there');
    const existing = found !== null && 'existing' in found ? found.existing : null;
    expect(
      existing?.externalId === externalId && existing.entityType === current(crm, externalId).entityType,
      'A creation that finds the record there does not return { existing } with its key.',
    );
  },
};

const updatesNone: Rule = {
  name: 'returns null for an update of a record that is gone',
  reason: 'The worker then decides; a new record would double a person whom the CRM only hides.',
  advice: 'Return null if the CRM answers an update with 404. Do not create another.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const [hidden, deleted] = createPeople(crm, 2) as [CrmRecord, CrmRecord];
    const keys = [hidden, deleted].map((record) => keyOf(crm, record));
    crm.hide(hidden.externalId);
    crm.delete(deleted.externalId);
    for (const key of keys) {
      const returned = await reached(adapter.write(contact, key), 'An update of a record that is gone');
      expect(returned === null, 'An update of a record that is gone returns a record.');
    }
    expect(!crm.records().some(isActive), 'An update of a record that is gone has created another.');
  },
};

const compares: Rule = {
  name: 'refuses to overwrite another version',
  reason: 'With comparesVersions, the worker relies on it, and does not look before it writes.',
  advice: 'Send record.version as If-Match, as it is. Turn 412 into a CrmError of kind conflict, retryable.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    applies(adapter.comparesVersions === true, 'the adapter does not say comparesVersions');
    const [{ externalId }] = createPeople(crm, 1) as [CrmRecord];
    const key = keyOf(crm, { externalId });
    crm.edit(externalId, 'Zoe Edited-1');
    const error = await thrownBy(adapter.write(contact, key));
    const { name } = current(crm, externalId);
    expect(name === 'Zoe Edited-1', 'An update of another version has overwritten an edit at the CRM.');
    const isRight = error instanceof CrmError && error.kind === 'conflict' && error.retryable;
    expect(isRight, `An update of another version ends in ${error ? describe(error) : 'no error'}.`);
  },
};

export const writes: Theme = {
  title: 'Writes',
  rules: [
    updates,
    returnsStored,
    leavesFields,
    emptiesFields,
    creates,
    createsOnce,
    leavesExisting,
    updatesNone,
    compares,
  ],
};

function expectStored(crm: SimulatedCrm, externalId: string, wanted: CrmContact, found: string): void {
  const record = current(crm, externalId);
  for (const field of ['name', 'email', 'phone'] as const) {
    if (crm.dialect.lacks?.includes(field)) continue;
    const [has, should] = [record[field] ?? null, wanted[field] ?? null];
    expect(has === should, `${found}, the CRM has the ${field} ${has}, not ${should}.`);
  }
}
