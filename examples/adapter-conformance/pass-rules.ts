import type { SimulatedCrm } from '../simulated-crm/server.js';
import type { SimulatedRecord } from '../simulated-crm/store.js';
import { entityTypesOf, expectAll, merged, nextFrom, readPass } from './reading.js';
import { applies, expect, type Rule, type Theme } from './rule.js';
import { createPeople, current, isActive } from './trial.js';

const readsAll: Rule = {
  name: 'reads every record',
  reason: 'A first sync reads what the agency has had for years.',
  advice: 'Read on until the CRM has no more pages, for each of entityTypes.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const empty = await readPass(adapter);
    expect(empty.records.size === 0, 'It has read records of a CRM that has none.');
    for (const entityType of entityTypesOf(adapter)) {
      createPeople(crm, 23, entityType);
      const { records } = await readPass(adapter, { entityType });
      const wanted = crm.records().filter((record) => record.entityType === entityType);
      expectAll(wanted, { records }, `Of 23 records of type ${entityType}`);
      expect(records.size === 23, `It has read ${records.size} records of type ${entityType}, not 23.`);
    }
  },
};

const slipsNobody: Rule = {
  name: 'misses nobody when others change meanwhile',
  reason: 'A record missed between two pages is not read again before the next edit, which may be never.',
  advice:
    'Continue after the last time and id that were read. If the CRM only numbers pages, read newest first and go back when the total shrinks, or read everything in each pass.',
  async check(trial) {
    const changes: Record<string, (crm: SimulatedCrm, read: string) => unknown> = {
      edited: (crm, read) => crm.edit(read, `Zoe Edited-${current(crm, read).name.split('-').at(-1)}`),
      added: (crm) => crm.create('Ada Added-1'),
      deleted: (crm, read) => crm.delete(read),
      hidden: (crm, read) => crm.hide(read),
    };
    for (const [name, change] of Object.entries(changes)) {
      for (const clockStepMilliseconds of name === 'edited' ? [0, 600_000] : [0]) {
        const { crm, adapter } = await trial.startAndOpen({ clockStepMilliseconds });
        createPeople(crm, 33);
        // If it misses somebody in peace as well, another rule finds it.
        if (clockStepMilliseconds > 0 && (await readPass(adapter)).records.size < 33) continue;
        crm.setHabits({ clockStepMilliseconds: 0, skewMilliseconds: 0 });
        // With a recent change, the second pass does not read again what was there an hour ago.
        crm.create('Test Recent-1');
        const first = await readPass(adapter, {
          afterPage({ records }, number) {
            const read = records.map(({ externalId }) => String(externalId));
            const one = read.find((externalId) => isActive(current(crm, externalId)));
            if (number <= 6 && one !== undefined) change(crm, one);
          },
        });
        const second = await readPass(adapter, { from: nextFrom(first) });
        const times = clockStepMilliseconds === 0 ? '' : ' of one modified time';
        const found = `After two passes over records${times}, of which one was ${name} after each page of the first`;
        expectAll(crm.records().filter(isActive), merged(first, second), found);
      }
    }
  },
};

const readsTies: Rule = {
  name: 'reads many records of one time',
  reason: 'An import gives thousands of records the same modified time: more than fit on a page.',
  advice:
    'Do not continue after the time of the last record: others that share it may be left. Continue after its time and id.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen({ clockStepMilliseconds: 600_000 });
    createPeople(crm, 23);
    expectAll(crm.records(), await readPass(adapter), 'Of 23 records that share one modified time');
  },
};

const includesTheTime: Rule = {
  name: 'includes what changed at the very time',
  reason: 'Of records that share a time, some may have been read, and others not yet.',
  advice: 'Read what changed at changedSince or later. If the CRM takes fewer digits, cut the others off.',
  async check(trial) {
    // With half milliseconds, which a Date does not have.
    const { crm, adapter } = await trial.startAndOpen({ skewMilliseconds: -3_600_000.5 });
    const people = createPeople(crm, 6);
    crm.setHabits({ skewMilliseconds: -3_000_000.5 });
    const [first, ...others] = createPeople(crm, 6) as [(typeof people)[0]];
    const reading = await readPass(adapter, { from: { changedSince: first.modifiedAt } });
    expectAll([first], reading, `Of what changed at changedSince, ${first.modifiedAt}`);
    expectAll(others, reading, 'Of what changed after changedSince');
  },
};

const readsChangesOnly: Rule = {
  name: 'reads only what has changed',
  reason: 'Reading everything in each pass takes as long as a first sync, and uses up what the CRM allows.',
  advice: 'Send changedSince in the filter for changes, with each request of the pass: next has to hold it.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const { changedSince: parameter } = crm.dialect;
    applies(parameter !== undefined, 'this CRM has no filter for changes');
    const old = createPeople(crm, 3).map(({ externalId }) => externalId);
    crm.setHabits({ skewMilliseconds: -1_800_000 });
    const [first] = createPeople(crm, 13) as [SimulatedRecord];
    let isSent = false;
    crm.intercept(({ query }) => {
      isSent ||= query.has(parameter);
      return undefined;
    });
    const expectSent = (number: number) => {
      expect(isSent, `Page ${number} of a pass with changedSince was read without ${parameter}.`);
      isSent = false;
    };
    const from = { changedSince: first.modifiedAt };
    const { records, pages } = await readPass(adapter, {
      from,
      afterPage: (_, number) => expectSent(number),
    });
    expectSent(pages.length);
    const read = old.filter((externalId) => records.has(externalId)).length;
    expect(read === 0, `A pass with changedSince has read ${read} records that have not changed since.`);
  },
};

const findsLateChanges: Rule = {
  name: 'finds changes that appear late',
  reason: 'CRMs show some changes in lists only after others with a later time.',
  advice:
    'Let a pass end with next null, so that the next one begins a little before syncedTo. Only a feed, which puts late changes last, may end with a token.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen({ skewMilliseconds: 0 });
    const show = crm.holdBack(() => crm.create('Test Late-1'));
    createPeople(crm, 7);
    const first = await readPass(adapter);
    show();
    const second = await readPass(adapter, { from: nextFrom(first) });
    const found = 'After two passes, before the second of which an earlier change appeared';
    expectAll(crm.records(), merged(first, second), found);
  },
};

export const passes: Theme = {
  title: 'Passes',
  rules: [readsAll, slipsNobody, readsTies, includesTheTime, readsChangesOnly, findsLateChanges],
};
