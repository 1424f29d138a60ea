import type { CrmRecord } from '../crm.js';
import { nextFrom, readPass } from './reading.js';
import { applies, expect, type Rule } from './rule.js';
import { createPeople } from './trial.js';

export const absence: Rule = {
  name: 'takes absence for no deletion',
  reason: 'CRMs hide people for other reasons: no consent, another office, archived. They come back.',
  advice:
    'Give the state deleted or merged only if the CRM says so. Otherwise leave the record out, and let read return null.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const [hidden] = createPeople(crm, 3) as [CrmRecord];
    const first = await readPass(adapter);
    crm.hide(hidden.externalId);
    const { records } = await readPass(adapter, { from: nextFrom(first) });
    const read = await adapter.read('contact', hidden.externalId).catch(() => null);
    for (const record of [records.get(hidden.externalId), read]) {
      const isWrong = record?.state === 'deleted' || record?.state === 'merged';
      expect(!isWrong, `A record that the CRM only hides has the state ${record?.state}.`);
    }
  },
};

export const tellsStates: Rule = {
  name: 'tells each state that the CRM tells',
  reason: 'What was archived, deleted or merged there would stay as it is here.',
  advice: 'Ask for such records if the CRM has to be asked, and give their state, and mergedInto.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const { tells } = crm.dialect;
    applies(tells.length > 0, 'this CRM does not say what became of a record');
    const [one, other, kept, archived] = createPeople(crm, 4).map(({ externalId }) => externalId) as [
      string,
      string,
      string,
      string,
    ];
    const first = await readPass(adapter);
    if (tells.includes('deleted')) crm.delete(one);
    if (tells.includes('merged')) crm.merge(other, kept);
    if (tells.includes('archived')) crm.archive(archived);
    const { records } = await readPass(adapter, { from: nextFrom(first) });
    const wanted = crm.records().filter(({ state }) => tells.includes(state));
    for (const { externalId, state, mergedInto } of wanted) {
      const copies = {
        'in a pass': records.get(externalId),
        'read alone': await adapter.read('contact', externalId),
      };
      for (const [how, copy] of Object.entries(copies)) {
        const isRight = copy?.state === state && (copy.mergedInto ?? null) === mergedInto;
        expect(isRight, `A record that was ${state} at the CRM is ${copy?.state ?? 'missing'} ${how}.`);
      }
    }
  },
};
