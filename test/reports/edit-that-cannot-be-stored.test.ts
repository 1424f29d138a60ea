/**
 * Symptom: a colleague enters something at the CRM that our own database refuses. Later somebody edits the contact here,
 * and what the colleague entered is gone at the CRM; its failure is closed, and nothing says what happened.
 *
 * Source: tried while 1.6.0 was made, with CRMs that compare no versions. Of the same kind: OCA/connector's reports of
 * records that are refused on import and overwritten by the next export.
 *
 * Input: an edit at the CRM that a check constraint of the host refuses; then an edit here, or a change that nobody has
 * edited (a merge, a trigger on another column), for each setting of who wins.
 *
 * Right: theirs is taken, ours wins with a conflict that a person can see, or nothing is written until theirs can be
 * stored. It is never overwritten in silence.
 */
import { expect, test } from 'vitest';
import {
  type ConflictWinner,
  connectionSetConflictWinner,
  outboundChangeRecord,
  syncConflictList,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

const refused = 'Sprat; Ottoline';
const withoutRule = 'alter table contacts drop constraint if exists no_semicolon';

test.each(
  (['agentos', 'loop', 'alto'] as const).flatMap((provider) =>
    (['crm', 'nurturehub', 'person'] as const).flatMap((winner) =>
      (['an edit', 'a change that nobody has edited'] as const).map(
        (what) => [what, winner, provider] as [string, ConflictWinner, typeof provider],
      ),
    ),
  ),
)('%s does not overwrite what could not be stored, where %s wins at %s', async (what, winner, provider) => {
  const { agency } = world;
  const { organisationId } = agency;
  const connected = await agency.startAndConnect(provider);
  const { externalId } = connected.crm.create('Ottoline Sprat');
  await agency.tick();
  const contactId = (await agency.contacts())['Ottoline Sprat'] ?? expect.unreachable();
  await connectionSetConflictWinner(pool, { ...connected, conflictWinner: winner });
  const there = () => connected.crm.records().map(({ name }) => name);
  try {
    await pool.query(
      `alter table contacts add constraint no_semicolon check (name <> '${refused}') not valid`,
    );
    connected.crm.edit(externalId, refused);
    await agency.tick();
    expect(await agency.failures()).toMatchObject([{ direction: 'inbound', recordId: externalId }]);

    if (what === 'an edit') await agency.rename(contactId, 'Ottoline Spratt');
    else await outboundChangeRecord(pool, { organisationId, contactIds: [contactId] });
    for (let count = 0; count < 2; count += 1) await agency.tick();
    const conflicts = await syncConflictList(pool, connected);
    if (there()[0] !== refused) {
      expect({ what, winner }).toEqual({ what: 'an edit', winner: 'nurturehub' });
      expect(conflicts).toMatchObject([{ externalId, kept: 'nurturehub' }]);
    } else {
      expect((await agency.failures()).length + conflicts.length).toBeGreaterThan(0);
    }
  } finally {
    await pool.query(withoutRule);
  }
  const atCrm = there();
  for (let count = 0; count < 2; count += 1) await agency.tick();
  if (winner === 'crm' || what !== 'an edit') {
    expect([...Object.keys(await agency.contacts()), ...there()]).toEqual([refused, refused]);
    expect(await agency.failures()).toEqual([]);
  } else expect(there()).toEqual(atCrm);
});
