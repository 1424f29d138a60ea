import { fieldNames } from '../contact-fields.js';
import type { Crm, CrmRecord } from '../crm.js';
import type { SimulatedCrm } from '../simulated-crm/server.js';
import { entityTypesOf, readPass, recordIn } from './reading.js';
import { applies, expect, type Rule, type Theme } from './rule.js';
import { absence, tellsStates } from './state-rules.js';
import { timeIn } from './times.js';
import { createPeople, current, keyOf } from './trial.js';

const person = { name: 'Ines Example', email: 'ines@example.com', phone: '020 7946 0001' };

const idsAreText: Rule = {
  name: 'gives ids as text',
  reason: 'CRMs send 123 and "123" for the same record.',
  advice: 'Pass ids through toExternalId of the package.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    createPeople(crm, 13);
    for (const [how, { externalId }] of await copies(adapter, crm)) {
      const isRight = crm.records().some((record) => record.externalId === externalId);
      expect(isRight, `The id of a record ${how} is ${JSON.stringify(externalId)}.`);
    }
  },
};

const givesFields: Rule = {
  name: 'gives each field as the CRM has it',
  reason: 'A field that is left out is never synced; one that was changed on the way is taken for an edit.',
  advice: 'Map each field of contact-fields.ts that the CRM has, and change none.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    crm.create(person);
    for (const [how, record] of await copies(adapter, crm)) {
      for (const [field, value] of fieldsOf(crm, person)) {
        const given = record[field];
        const isRight = given === value;
        expect(
          isRight,
          `The ${field} of a record ${how} is ${JSON.stringify(given)}, not ${JSON.stringify(value)}.`,
        );
      }
    }
  },
};

const saysTheSame: Rule = {
  name: 'says the same after a write as when it is read',
  reason:
    'A field that only some of the answers have looks like an edit at the CRM, and undoes one made here.',
  advice: 'Give each field of a record from lists, read alone and from write; or leave it out of all three.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const { externalId } = crm.create(person);
    const contact = { ...person, name: 'Ines Sample' };
    const written = [
      await adapter.write({ ...contact, contactId: 'test-contact-1' }, keyOf(crm, { externalId })),
      crm.dialect.creates ? await adapter.write({ ...contact, contactId: 'test-contact-2' }, null) : null,
    ];
    for (const after of written.map(recordIn)) {
      // That nothing is returned, another rule finds.
      if (after === null) continue;
      const copy = await adapter.read(after.entityType, after.externalId);
      if (copy === null) continue;
      for (const field of fieldNames) {
        const [then, now] = [after[field], copy[field]].map((value) => JSON.stringify(value) ?? 'left out');
        expect(then === now, `After a write, the ${field} is ${then}; read alone, it is ${now}.`);
      }
    }
  },
};

const givesNull: Rule = {
  name: 'gives null for an empty field',
  reason: 'A field that is left out stays as it is here, so what was emptied at the CRM would stay for ever.',
  advice: 'Give null, and neither an empty text nor undefined. Leave out only what the CRM does not say.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    crm.create({ name: 'Test Person-1' });
    crm.edit(crm.create(person).externalId, { email: null, phone: null });
    for (const [how, record] of await copies(adapter, crm)) {
      for (const [field] of fieldsOf(crm, { email: null, phone: null })) {
        const given = record[field];
        const isRight = given === null;
        expect(isRight, `The empty ${field} of a record ${how} is ${JSON.stringify(given) ?? 'undefined'}.`);
      }
    }
  },
};

const givesTimes: Rule = {
  name: 'gives times with a zone, not rounded up',
  reason: 'A time without a zone is ignored; a later one than the real one makes the next edit look old.',
  advice:
    'Pass modified times through canonicalTimestamp, with the timeZone that they have if the CRM leaves it out.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen({ skewMilliseconds: -3_600_000.5 });
    createPeople(crm, 13);
    for (const [how, { externalId, modifiedAt }] of await copies(adapter, crm)) {
      if (modifiedAt == null) continue;
      const time = timeIn(modifiedAt);
      expect(
        time !== undefined,
        `The modifiedAt of a record ${how} is ${modifiedAt}: no time, or one without a zone.`,
      );
      const real = current(crm, String(externalId)).modifiedAt;
      const early = Date.parse(real) - Date.parse(time);
      const found = `The modifiedAt of a record ${how} is ${time}, and at the CRM ${real}.`;
      expect(time <= real && early < 1_000, found);
    }
  },
};

const givesEachTime: Rule = {
  name: 'says when each record changed',
  reason: 'Without a time, nobody can tell whether the CRM or we have edited a contact last.',
  advice: 'Give modifiedAt of each record, in lists and read alone.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    applies(crm.dialect.hasTimes, 'this CRM does not say when a record changed');
    createPeople(crm, 3);
    for (const [how, { modifiedAt }] of await copies(adapter, crm))
      expect(modifiedAt != null, `A record ${how} has no modifiedAt, although the CRM says it.`);
  },
};

const givesVersions: Rule = {
  name: 'gives the version exactly',
  reason: 'The version goes back to the CRM (If-Match), and shows whether a record has changed.',
  advice: "Give the record's ETag as the CRM writes it, with its quotes.",
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    applies(crm.dialect.hasEtag, 'this CRM has no versions');
    createPeople(crm, 3);
    for (const [how, { externalId, version }] of await copies(adapter, crm)) {
      const real = current(crm, String(externalId)).version;
      expect(
        version === real,
        `The version of a record ${how} is ${String(version)}, and at the CRM ${real}.`,
      );
    }
  },
};

const givesReference: Rule = {
  name: 'gives our reference back',
  reason: 'It shows that a record is that of one of our contacts, if the answer to its creation was lost.',
  advice: 'Give what was stored as our reference, in lists as well.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    crm.create(person, 'test-contact');
    for (const [how, { reference }] of await copies(adapter, crm))
      expect(reference === 'test-contact', `The reference of a record ${how} is ${String(reference)}.`);
  },
};

const givesTypes: Rule = {
  name: 'gives the type of each record',
  reason: 'An id means something only together with its entity type.',
  advice: 'Give each record the entity type of its stream.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    for (const type of entityTypesOf(adapter)) {
      createPeople(crm, 2, type);
      for (const [how, { entityType }] of await copies(adapter, crm, type))
        expect(entityType === type, `The type of a record ${how} is ${String(entityType)}, not ${type}.`);
    }
  },
};

export const records: Theme = {
  title: 'Records',
  rules: [
    idsAreText,
    givesFields,
    saysTheSame,
    givesNull,
    givesEachTime,
    givesTimes,
    givesVersions,
    givesReference,
    givesTypes,
    absence,
    tellsStates,
  ],
};

/** All records of a type, as a pass gives them and read alone, with how they were read. */
async function copies(
  adapter: Crm,
  crm: SimulatedCrm,
  entityType = 'contact',
): Promise<[string, CrmRecord][]> {
  const { records } = await readPass(adapter, { entityType });
  const listed = [...records.values()].map((record): [string, CrmRecord] => ['in a pass', record]);
  const alone: [string, CrmRecord][] = [];
  for (const { externalId } of crm.records().filter((record) => record.entityType === entityType)) {
    const record = await adapter.read(entityType, externalId);
    expect(record !== null, 'A record that is at the CRM is null if it is read alone.');
    alone.push(['read alone', record]);
  }
  return [...listed, ...alone];
}

/** The fields that the CRM has. */
function fieldsOf(crm: SimulatedCrm, fields: Partial<typeof person> | { email: null; phone: null }) {
  const entries = Object.entries(fields) as [keyof typeof person, string | null][];
  return entries.filter(([field]) => !crm.dialect.lacks?.includes(field));
}
