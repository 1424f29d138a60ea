import { type Crm, CrmError } from '../crm.js';
import type { SimulatedCrm } from '../simulated-crm/server.js';
import { everything, expectAll, nextFrom, type Reading, readPass } from './reading.js';
import { expect, type Rule, type Theme } from './rule.js';
import { timeIn } from './times.js';
import { createPeople, describe, endHourBehind, refusal, thrownBy, whileAnswering } from './trial.js';

const continuesFromToken: Rule = {
  name: 'continues from the token alone',
  reason: 'A pass may take several runs, and another worker may continue it.',
  advice: 'Put all that the pass needs into next, also the time with which it began; keep nothing in memory.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    createPeople(crm, 23);
    /** Reads a pass of more than half an hour. Returns why its time is too late, if it is. */
    const readSlowly = async (reopen: () => Promise<Crm>, edits = 0) => {
      const begun: string[] = [];
      const reading = await readPass(adapter, {
        afterPage({ records: [one] }) {
          begun.push(latest(crm));
          crm.setHabits({ skewMilliseconds: crm.now() - Date.now() + 600_000 });
          if (begun.length <= edits && one) crm.edit(String(one.externalId), { phone: '020 7946 0009' });
          return reopen();
        },
      });
      return { reading, tooLate: tooLate(reading, begun[0], crm) };
    };
    const found = 'When each page was read by another adapter';
    for (const edits of [0, 2]) {
      const alone = await readSlowly(async () => adapter, edits);
      const relayed = await readSlowly(() => trial.open(crm), edits);
      // An edit may move a record to where this pass does not read; the next one finds it.
      if (edits === 0) expectAll(crm.records(), relayed.reading, found);
      // If one adapter says too much as well, another rule finds it.
      if (alone.tooLate === undefined) expect(relayed.tooLate === undefined, `${found}, ${relayed.tooLate}`);
    }
  },
};

const keepsTokensShort: Rule = {
  name: 'keeps tokens short',
  reason: 'The worker stores next: a text of 1 to 4,096 bytes.',
  advice: 'Put a position into next, such as a time, an id or a page number, and not what has been read.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen({ pageSize: 50 });
    createPeople(crm, 600);
    const { pages } = await readPass(adapter);
    for (const [index, { next }] of pages.entries()) {
      const bytes = next == null ? 1 : Buffer.byteLength(next);
      expect(bytes >= 1 && bytes <= 4_096, `The next of page ${index + 1} has ${bytes} bytes.`);
    }
  },
};

const saysHowFar: Rule = {
  name: 'says how far it has read, and no further',
  reason: 'The next pass begins shortly before syncedTo: what changed between is never read.',
  advice:
    "Let syncedTo be when the pass began, by the CRM's clock (its Date header), or the latest change that was read if that is earlier. Cut digits off; never round up. Give it a zone: canonicalTimestamp.",
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen({ skewMilliseconds: -1_800_000.75 });
    // The latest change is ahead of the CRM's clock, as if another server of the CRM had made it. All
    // records are on one page, so that the pass begins with the latest.
    createPeople(crm, 4);
    crm.setHabits({ skewMilliseconds: -3_600_000 });
    const calm = await readPass(adapter);
    expectNoLater(calm, latest(crm), crm, 'With a CRM whose clock is an hour behind ours');
    createPeople(crm, 9);
    endHourBehind(crm);
    const begun: string[] = [];
    const busy = await readPass(adapter, {
      afterPage({ records: [one] }) {
        begun.push(latest(crm));
        crm.setHabits({ skewMilliseconds: begun.length * 600_000 });
        if (begun.length <= 2 && one) crm.edit(String(one.externalId), `Zoe Edited-${begun.length}`);
      },
    });
    expectNoLater(busy, begun[0], crm, 'After a pass of half an hour, in which records were edited');
    expectNoLater(await readPass(adapter, { from: nextFrom(busy) }), latest(crm), crm, 'After a second pass');
  },
};

const saysPositionIsLost: Rule = {
  name: 'says that a position is lost',
  reason: 'The worker then begins a new pass; otherwise each run fails in the same way.',
  advice:
    'Throw a CrmError with isPositionLost if next cannot be read, as after a change of its format, and if the CRM does not accept its own token any more.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    createPeople(crm, 13);
    const lost = async (attempt: Promise<unknown>, when: string) => {
      const error = await thrownBy(attempt);
      const thrown = error === undefined ? 'a page' : describe(error);
      const isSaid = error instanceof CrmError && error.isPositionLost;
      expect(isSaid, `When ${when}, there was ${thrown}, without isPositionLost.`);
    };
    for (const token of ['{"of another version', '{"ofAnotherVersion":3}', 'null'])
      await lost(adapter.readPage('contact', { token }), `next is not its own (${token})`);
    const { pageToken } = crm.dialect;
    if (pageToken === undefined) return;
    const { next } = await adapter.readPage('contact', everything);
    const gone = ({ query }: { query: URLSearchParams }) => {
      return query.has(pageToken) ? refusal(crm, 410) : undefined;
    };
    await whileAnswering(crm, gone, () => {
      return lost(
        adapter.readPage('contact', { token: String(next) }),
        'the CRM answers 410 to its own token',
      );
    });
  },
};

export const positions: Theme = {
  title: 'Positions',
  rules: [continuesFromToken, keepsTokensShort, saysHowFar, saysPositionIsLost],
};

function expectNoLater(reading: Reading, begun: string | undefined, crm: SimulatedCrm, when: string): void {
  const problem = tooLate(reading, begun, crm);
  expect(problem === undefined, `${when}, ${problem}`);
}

/** Why `syncedTo` is later than when the pass began, or, for a feed, when it ended; undefined if it is not. */
function tooLate({ end }: Reading, begun: string | undefined, crm: SimulatedCrm): string | undefined {
  if (!end.isLast || (end.next !== null && end.syncedTo == null)) return undefined;
  const time = timeIn(end.syncedTo);
  if (time === undefined) return `syncedTo is ${String(end.syncedTo)}: no time, or one without a zone.`;
  const bound = (end.next === null ? begun : undefined) ?? latest(crm);
  return time <= bound ? undefined : `syncedTo is ${time}; the pass began at ${bound}, by the CRM's clock.`;
}

/** The time by the CRM's clock, or of its latest change if that is later. */
function latest(crm: SimulatedCrm): string {
  const now = new Date(Math.ceil(crm.now())).toISOString().replace('Z', '000Z');
  return [now, ...crm.records().map(({ modifiedAt }) => modifiedAt)].sort().at(-1) as string;
}
