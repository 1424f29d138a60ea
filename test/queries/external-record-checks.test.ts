import { createHash, randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type BatchEvent,
  type ClaimedRun,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdUnlink,
  contentHash,
  externalRecordCheck,
  externalRecordCheckMany,
  externalRecordListByContacts,
  type FieldValue,
  outboundChangeClaim,
  outboundChangeRecord,
  type SentRecord,
  syncBatchRecord,
  syncFailureList,
  syncLogListByConnection,
  syncRunClaim,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';

const { pool, url } = useDatabase();

let run: ClaimedRun;
let batchNumber: number;
let ottoline: string;
let barnaby: string;
let zebedee: string;
beforeEach(async () => {
  const tenant = await createTenant(pool, 3);
  [ottoline, barnaby, zebedee] = tenant.contactIds as [string, string, string];
  const { connectionId } = await connect(pool, tenant.organisationId);
  // Other tests of this file leave due connections behind.
  await pool.query("update crm_connections set next_sync_at = 'tomorrow' where id <> $1", [connectionId]);
  run = (await syncRunClaim(pool, { worker: 'test', limit: 1 }))[0] as ClaimedRun;
  batchNumber = 0;
});

/** Records a batch, and returns the indexes of its conflicts. */
async function record(...events: BatchEvent[]): Promise<number[]> {
  batchNumber += 1;
  const result = await syncBatchRecord(pool, { ...run, batchNumber, events });
  return result.outcome === 'recorded' ? result.conflicts : [-1];
}

const base = { entityType: 'contact', externalId: 'OXF1', status: 'success' } as const;

function seen(rest: Partial<BatchEvent> = {}): BatchEvent {
  return { ...base, direction: 'inbound', ...rest } as BatchEvent;
}

function linked(contactId: string, rest: Partial<BatchEvent> = {}): BatchEvent {
  return seen({ internalId: contactId, linksContact: true, ...rest } as Partial<BatchEvent>);
}

function pushed(rest: Partial<BatchEvent> = {}): BatchEvent {
  return { ...base, direction: 'outbound', internalId: ottoline, ...rest } as BatchEvent;
}

/** The decision on one record as the CRM sends it. */
async function check(rest: Partial<SentRecord> = {}): Promise<string | undefined> {
  const records = [{ entityType: 'contact', externalId: 'OXF1', ...rest }];
  const [found] = await externalRecordCheckMany(pool, { ...run, provider: 'reapit', records });
  return found?.decision;
}

/** What is known of the records of a contact. */
function recordsOf(contactId: string) {
  return externalRecordListByContacts(pool, { ...run, contactIds: [contactId] });
}

/** What is known of the content of OXF1, and whether it is what was pushed. */
async function contentOf() {
  const { rows } = await pool.query(
    `select encode(content_hash, 'hex') as hash, pushed_at is not null as "isOurs"
     from contact_external_records where organisation_id = $1 and external_id = 'OXF1'`,
    [run.organisationId],
  );
  return rows[0];
}

const name = (text: string) => contentHash({ name: text });

describe('an echo', () => {
  test('is recognised by the version that the CRM gave to the push, once', async () => {
    await record(linked(ottoline, { remoteVersion: '"1"' }), pushed({ remoteVersion: '"2"' }));
    expect(await check({ version: '"2"' })).toBe('echo');
    await record(seen({ status: 'skipped', reason: 'echo', remoteVersion: '"2"' } as Partial<BatchEvent>));
    expect(await check({ version: '"2"' })).toBe('unchanged');
    expect(await check({ version: '"3"' })).toBe('changed');
    const [entry] = await syncLogListByConnection(pool, run);
    expect(entry).toMatchObject({ status: 'skipped', reason: 'echo' });
  });

  test.each([
    ['Title Case', 'Ottoline Vane-Smythe'],
    ['UPPER CASE', 'OTTOLINE VANE-SMYTHE'],
    ['other white space', ' ottoline  Vane-Smythe\u00a0'],
  ])(
    'of a CRM that tells no versions and stores names in %s is recognised by the hash',
    async (_, stored) => {
      await record(linked(ottoline), pushed({ contentHash: name('Ottoline Vane-Smythe') }));
      expect(await check({ contentHash: name(stored) })).toBe('echo');
      await record(seen({ status: 'skipped', reason: 'echo' } as Partial<BatchEvent>));
      expect(await check({ contentHash: name(stored) })).toBe('unchanged');
      expect(await check({ contentHash: name('Ottoline Vane') })).toBe('changed');
    },
  );

  test('of a CRM that cuts names is recognised by the hash of what it holds', async () => {
    await record(linked(ottoline), pushed({ contentHash: name('Bartholomew-') }));
    expect(await check({ contentHash: name('Bartholomew-James') })).toBe('changed');
    expect(await check({ contentHash: name('Bartholomew-') })).toBe('echo');
  });

  test('of a CRM that cuts names, if only what was sent is known, is one change, and then settled', async () => {
    await record(linked(ottoline), pushed({ contentHash: name('Bartholomew-James') }));
    const cut = name('Bartholomew-');
    expect(await check({ contentHash: cut })).toBe('changed');
    await record(seen({ contentHash: cut }));
    expect(await check({ contentHash: cut })).toBe('unchanged');
    // The next push is what was read.
    await record(pushed({ contentHash: cut }));
    expect(await check({ contentHash: cut })).toBe('echo');
    await record(seen({ status: 'skipped', reason: 'echo', contentHash: cut } as Partial<BatchEvent>));
    expect(await check({ contentHash: cut })).toBe('unchanged');
  });

  test.each([
    // A list may be late: only reading the record by its id tells.
    ['whose hash is told', { contentHash: name('Ottilie') }, 'older'],
    ['whose hash is not told', {}, 'changed'],
  ])('is not a change made at the CRM after the push %s, nor a change back', async (_, read, back) => {
    await record(linked(ottoline), pushed({ contentHash: name('Ottoline') }));
    expect(await check({ contentHash: name('Ottilie') })).toBe('changed');
    await record(seen(read));
    // Back to what was pushed: this is the CRM's own change.
    expect(await check({ contentHash: name('Ottoline') })).toBe(back);
    expect(await check({ contentHash: name('Ottoline'), isCurrent: true })).toBe('changed');
  });

  test('is told by the known version, whatever the hash, and by the known hash under a new version', async () => {
    const contentHash = name('Ottoline');
    await record(linked(ottoline), pushed({ remoteVersion: '"2"', contentHash }));
    expect(await check({ version: '"2"', contentHash: name('Other') })).toBe('echo');
    expect(await check({ version: '"3"', contentHash })).toBe('echo');
    expect(await check({ contentHash })).toBe('echo');
    expect(await check({ version: '"3"' })).toBe('changed');
    expect(await check({ version: '"3"', contentHash: name('Other') })).toBe('changed');
  });

  test('is not what a push that failed or was skipped would have written', async () => {
    await record(linked(ottoline, { contentHash: name('Ottoline') }));
    const contentHash = name('Ottilie');
    await record(
      pushed({ status: 'skipped', contentHash } as Partial<BatchEvent>),
      pushed({
        status: 'error',
        error: { kind: 'timeout', retryable: true, message: 'No answer.' },
        contentHash,
      } as Partial<BatchEvent>),
    );
    expect(await contentOf()).toEqual({ hash: name('Ottoline'), isOurs: false });
    expect(await check({ contentHash })).toBe('changed');
    expect(await check({ contentHash: name('Ottoline') })).toBe('unchanged');
  });

  test('is recognised on an alias and on a record that the push created', async () => {
    await record(linked(ottoline));
    await contactExternalIdLinkMany(pool, {
      ...run,
      links: [{ provider: 'reapit', entityType: 'landlord', externalId: 'RPT1', contactId: ottoline }],
      ifContactTaken: 'alias',
    });
    const created = { externalId: 'NEW1', internalId: barnaby, linksContact: true } as Partial<BatchEvent>;
    await record(
      pushed({ entityType: 'landlord', externalId: 'RPT1', remoteVersion: '"7"' }),
      pushed({ ...created, remoteVersion: '"1"' }),
    );
    expect(
      await externalRecordCheckMany(pool, {
        ...run,
        provider: 'reapit',
        records: [
          { entityType: 'landlord', externalId: 'RPT1', version: '"7"' },
          { entityType: 'contact', externalId: 'NEW1', version: '"1"' },
          { entityType: 'contact', externalId: 'OXF9' },
        ],
      }),
    ).toEqual([
      { contactId: ottoline, matchedBy: 'alias', decision: 'echo', hasNewContent: false },
      { contactId: barnaby, matchedBy: 'primary', decision: 'echo', hasNewContent: false },
      { contactId: null, matchedBy: null, decision: 'unknown', hasNewContent: false },
    ]);
    await record(seen({ entityType: 'landlord', externalId: 'RPT1', remoteState: 'archived' }));
    expect(await recordsOf(ottoline)).toMatchObject([
      { externalId: 'OXF1', isPrimary: true, remoteState: 'active' },
      { externalId: 'RPT1', isPrimary: false, remoteState: 'archived', remoteVersion: '"7"' },
    ]);
  });
});

describe('what is known of a record', () => {
  test('is the version, time and state that the last event of the batch told, each told or not', async () => {
    const nine = '2026-11-16T09:00:00.000001Z';
    await record(
      linked(ottoline, { remoteVersion: '"1"', remoteModifiedAt: nine, remoteState: 'archived' }),
      pushed({ remoteVersion: '"2"' }),
      seen({
        status: 'error',
        error: { kind: 'timeout', retryable: true, message: 'No answer.' },
        remoteVersion: '"9"',
      } as Partial<BatchEvent>),
      seen({
        status: 'skipped',
        reason: 'older',
        remoteVersion: '"0"',
        remoteState: 'hidden',
      } as Partial<BatchEvent>),
    );
    expect(await recordsOf(ottoline)).toMatchObject([
      { remoteVersion: '"2"', remoteModifiedAt: nine, remoteState: 'archived' },
    ]);
    await record(seen());
    expect(await recordsOf(ottoline)).toMatchObject([
      { remoteVersion: '"2"', remoteModifiedAt: nine, remoteState: 'archived' },
    ]);
    await record(seen({ remoteState: 'active', remoteVersion: '"3"' }));
    expect(await recordsOf(ottoline)).toMatchObject([{ remoteVersion: '"3"', remoteState: 'active' }]);
  });

  test('loses its version by a push for which the CRM told none, but not by a push that was skipped', async () => {
    await record(linked(ottoline, { remoteVersion: '"1"' }));
    await record(pushed({ status: 'skipped' } as Partial<BatchEvent>));
    expect(await recordsOf(ottoline)).toMatchObject([{ remoteVersion: '"1"' }]);
    await record(pushed());
    expect(await recordsOf(ottoline)).toMatchObject([{ remoteVersion: null }]);
    await record(seen({ remoteVersion: '"2"' }), pushed(), seen());
    expect(await recordsOf(ottoline)).toMatchObject([{ remoteVersion: null }]);
  });

  test('has no time from a clock that is more than a day ahead', async () => {
    await record(linked(ottoline, { remoteModifiedAt: '2062-01-01T00:00:00Z' }));
    expect(await recordsOf(ottoline)).toMatchObject([{ remoteModifiedAt: null }]);
    expect(await check({ modifiedAt: '2026-11-16T09:00:00Z' })).toBe('changed');
  });

  test('makes a record that was modified before it older, also without versions', async () => {
    await record(linked(ottoline, { remoteModifiedAt: '2026-11-16T09:00:00Z' }));
    expect(await check({ modifiedAt: '2026-11-16T08:59:59.999999Z' })).toBe('older');
    expect(await check({ modifiedAt: '2026-11-16T09:00:00Z' })).toBe('changed');
    expect(await check()).toBe('changed');
    await record(seen({ remoteVersion: '"5"' }));
    expect(await check({ modifiedAt: '2026-11-16T08:00:00Z', version: '"4"' })).toBe('older');
    expect(await check({ modifiedAt: '2026-11-16T08:00:00Z', version: '"5"' })).toBe('unchanged');
    expect(await check({ version: '"5"', state: 'archived' })).toBe('changed');
  });
});

describe('the content of a record', () => {
  const hash = name('Ottoline');

  test.each([
    ['without versions', undefined],
    ['with versions', '"1"'],
  ])('that is read twice is unchanged the second time, at a CRM %s', async (_, version) => {
    await record(linked(ottoline, { remoteVersion: version, contentHash: hash }));
    expect(await check({ version, contentHash: hash })).toBe('unchanged');
    expect(await check({ version: version && '"2"', contentHash: hash })).toBe('unchanged');
    expect(await check({ version: version && '"2"', contentHash: name('Ottilie') })).toBe('changed');
  });

  test('is also known of a record that was skipped because ours waits to be pushed', async () => {
    await record(linked(ottoline, { remoteVersion: '"1"', contentHash: hash }));
    const other = { remoteVersion: '"2"', contentHash: name('Ottilie') } as const;
    await record(seen({ ...other, status: 'skipped', reason: 'pending_push' } as Partial<BatchEvent>));
    expect(await contentOf()).toEqual({ hash: name('Ottilie'), isOurs: false });
    expect(await check({ version: '"2"', contentHash: name('Ottilie') })).toBe('unchanged');
  });

  test.each(['older', 'no_consent', 'merged', 'erased', null] as const)(
    'that was skipped with the reason %s, and so not taken, is changed when it is read again',
    async (reason) => {
      await record(
        linked(ottoline, { contentHash: hash }),
        pushed({ remoteVersion: '"1"', contentHash: hash }),
      );
      const other = { remoteVersion: '"2"', contentHash: name('Ottilie') } as const;
      await record(seen({ ...other, status: 'skipped', reason } as Partial<BatchEvent>));
      expect(await contentOf()).toEqual({ hash, isOurs: true });
      expect(await recordsOf(ottoline)).toMatchObject([{ remoteVersion: '"1"' }]);
      expect(await check({ version: '"2"', contentHash: name('Ottilie') })).toBe('changed');
    },
  );

  test('of a record that is linked and skipped is unknown', async () => {
    const skipped = { status: 'skipped', reason: 'no_consent', contentHash: hash } as Partial<BatchEvent>;
    await record(linked(ottoline, { ...skipped, remoteVersion: '"1"' }));
    expect(await check({ version: '"1"', contentHash: hash })).toBe('changed');
  });

  test('is unknown after an event that does not tell it, unless that event says that it is the same', async () => {
    await record(linked(ottoline, { contentHash: hash }));
    for (const reason of ['unchanged', 'echo'] as const) {
      await record(seen({ status: 'skipped', reason } as Partial<BatchEvent>));
      expect(await contentOf()).toEqual({ hash, isOurs: false });
    }
    await record(pushed());
    expect(await contentOf()).toEqual({ hash: null, isOurs: true });
    await record(seen({ contentHash: hash }), seen());
    expect(await contentOf()).toEqual({ hash: null, isOurs: false });
  });

  test('is what the last event of a batch says, pushed or read', async () => {
    await record(linked(ottoline), pushed({ contentHash: name('Ottilie') }), seen({ contentHash: hash }));
    expect(await contentOf()).toEqual({ hash, isOurs: false });
    await record(seen({ contentHash: name('Ottilie') }), pushed({ contentHash: hash }));
    expect(await contentOf()).toEqual({ hash, isOurs: true });
  });

  test('that was read before it changed is older, also if it is the same by chance', async () => {
    await record(linked(ottoline, { contentHash: hash, remoteModifiedAt: '2026-11-16T09:00:00Z' }));
    expect(await check({ contentHash: hash, modifiedAt: '2026-11-16T08:00:00Z' })).toBe('older');
    expect(await check({ contentHash: hash, modifiedAt: '2026-11-16T10:00:00Z' })).toBe('unchanged');
  });
});

describe('a tombstone', () => {
  test.each([
    ['that the CRM sent as deleted', () => seen({ remoteState: 'deleted', remoteVersion: '"2"' })],
    [
      'that a push met (404)',
      () => pushed({ status: 'skipped', remoteState: 'deleted' } as Partial<BatchEvent>),
    ],
    [
      'whose deletion a push of the same batch followed',
      () => [seen({ remoteState: 'deleted' }), pushed({ remoteVersion: '"3"' })],
    ],
  ])('%s stays after every later event, and the record that comes back is revived', async (_, deletion) => {
    await record(linked(ottoline, { remoteVersion: '"1"' }));
    await record(...[deletion()].flat());
    for (const later of [
      seen({ remoteState: 'active' }),
      seen({ remoteState: 'archived' }),
      pushed(),
      seen(),
    ]) {
      await record(later);
      expect(await recordsOf(ottoline)).toMatchObject([{ remoteState: 'deleted' }]);
      expect(await check({ version: '"4"' })).toBe('revived');
      expect(await check({ version: '"4"', state: 'archived' })).toBe('revived');
    }
    expect(await check({ state: 'deleted', version: '"3"' })).not.toBe('revived');
  });

  test('is not lifted by a batch that links the record: that is a conflict, given up at once', async () => {
    await record(linked(ottoline));
    await record(seen({ remoteState: 'deleted' }));
    expect(await record(linked(ottoline, { remoteState: 'active', remoteVersion: '"9"' }))).toEqual([0]);
    expect(await recordsOf(ottoline)).toMatchObject([{ remoteState: 'deleted', remoteVersion: null }]);
    expect(await syncFailureList(pool, run)).toMatchObject([
      { recordId: 'OXF1', error: { kind: 'conflict', retryable: false }, gaveUpAt: expect.any(String) },
    ]);
  });

  test('ends when the record is linked again or unlinked', async () => {
    await record(linked(ottoline), linked(barnaby, { externalId: 'OXF2' }));
    await record(seen({ remoteState: 'deleted' }), seen({ externalId: 'OXF2', remoteState: 'deleted' }));
    const back = { version: '"3"', contentHash: name('Ottoline') };
    expect(await check(back)).toBe('revived');
    await record(
      seen({ status: 'skipped', remoteVersion: '"3"', contentHash: back.contentHash } as Partial<BatchEvent>),
    );
    const reapit = { ...run, provider: 'reapit', entityType: 'contact' } as const;
    await contactExternalIdLink(pool, { ...reapit, externalId: 'OXF1', contactId: ottoline });
    expect(await check({ version: '"4"' })).toBe('changed');
    // What came back was never applied.
    expect(await check(back)).toBe('changed');
    expect(await record(linked(ottoline, { remoteState: 'active' }))).toEqual([]);
    await contactExternalIdUnlink(pool, { ...reapit, externalId: 'OXF2', contactId: barnaby });
    expect(await check({ externalId: 'OXF2' })).toBe('unknown');
    // The id means another person now.
    expect(await record(linked(zebedee, { externalId: 'OXF2', remoteState: 'active' }))).toEqual([]);
  });

  test('of a contact that the host has deleted is not unknown, until the record is linked again and unlinked', async () => {
    await record(linked(ottoline));
    await pool.query('delete from contacts where id = $1', [ottoline]);
    expect(await check({ version: '"4"' })).toBe('contact_deleted');
    expect(await check({ externalId: 'OXF2' })).toBe('unknown');
    const { organisationId } = run;
    const link = { organisationId, provider: 'reapit', entityType: 'contact', externalId: 'OXF1' } as const;
    await contactExternalIdLink(pool, { ...link, contactId: barnaby });
    expect(await check({ version: '"4"' })).toBe('changed');
    await contactExternalIdUnlink(pool, { ...link, contactId: barnaby });
    expect(await check({ version: '"4"' })).toBe('unknown');
  });

  test.each(['deleted', 'merged'])(
    'of an alias that is %s is revived, and ends when it is linked again',
    async (state) => {
      const alias = { ...run, provider: 'reapit', entityType: 'landlord', externalId: 'RPT1' } as const;
      await record(linked(ottoline));
      await contactExternalIdLinkMany(pool, {
        ...run,
        links: [{ ...alias, contactId: ottoline }],
        ifContactTaken: 'alias',
      });
      await pool.query(
        `update contact_external_id_aliases
       set remote_state = $2,
         merged_into_entity_type = case $2 when 'merged' then 'contact' end,
         merged_into_external_id = case $2 when 'merged' then 'OXF1' end
       where organisation_id = $1`,
        [run.organisationId, state],
      );
      const landlord = { entityType: 'landlord', externalId: 'RPT1' } as const;
      const contentHash = name('Ottoline');
      await record(seen({ ...landlord, remoteState: 'active', remoteVersion: '"3"', contentHash }));
      expect(await check(landlord)).toBe('revived');
      await contactExternalIdLink(pool, { ...alias, contactId: ottoline });
      expect(await check({ ...landlord, version: '"3"', contentHash })).toBe('changed');
    },
  );
});

describe('a push with basedOnVersion', () => {
  /** Records a push of a change that was claimed. */
  async function push(basedOnVersion: string, ...before: BatchEvent[]) {
    await outboundChangeRecord(pool, { ...run, contactIds: [ottoline] });
    await pool.query('update crm_outbound_changes set next_attempt_at = now() where connection_id = $1', [
      run.connectionId,
    ]);
    const [change] = await outboundChangeClaim(pool, run);
    return record(
      ...before,
      pushed({ basedOnVersion, remoteVersion: '"9"', changeVersion: change?.version } as Partial<BatchEvent>),
    );
  }
  const waiting = async () =>
    (await pool.query('select from crm_outbound_changes where connection_id = $1', [run.connectionId]))
      .rowCount;

  test('is a retryable conflict if another version is known, and its change stays', async () => {
    await record(linked(ottoline, { remoteVersion: '"2"' }));
    expect(await push('"1"')).toEqual([0]);
    expect(await waiting()).toBe(1);
    expect(await recordsOf(ottoline)).toMatchObject([{ remoteVersion: '"2"' }]);
    expect(await contentOf()).toEqual({ hash: null, isOurs: false });
    expect(await syncFailureList(pool, run)).toMatchObject([
      { direction: 'outbound', recordId: ottoline, error: { kind: 'conflict', retryable: true } },
    ]);
    expect(await push('"2"')).toEqual([]);
    expect(await waiting()).toBe(0);
    expect(await syncFailureList(pool, run)).toEqual([]);
    expect(await recordsOf(ottoline)).toMatchObject([{ remoteVersion: '"9"' }]);
  });

  test.each([
    ['before', 1],
    ['after', 0],
  ])('stays a conflict if a push of the contact to another record comes %s it', async (_, position) => {
    await record(linked(ottoline, { remoteVersion: '"2"' }));
    await contactExternalIdLinkMany(pool, {
      ...run,
      links: [{ provider: 'reapit', entityType: 'contact', externalId: 'OXF2', contactId: ottoline }],
      ifContactTaken: 'alias',
    });
    await outboundChangeRecord(pool, { ...run, contactIds: [ottoline] });
    const [change] = await outboundChangeClaim(pool, run);
    const of = { changeVersion: change?.version } as Partial<BatchEvent>;
    const events = [pushed({ ...of, externalId: 'OXF2' })];
    events.splice(position, 0, pushed({ ...of, basedOnVersion: '"1"' }));
    expect(await record(...events)).toEqual([position]);
    expect(await waiting()).toBe(1);
    expect(await syncFailureList(pool, run)).toMatchObject([
      { recordId: ottoline, error: { kind: 'conflict', retryable: true } },
    ]);
  });

  test('is compared with the version that an earlier event of the batch told', async () => {
    await record(linked(ottoline, { remoteVersion: '"1"' }));
    expect(await push('"2"', seen({ remoteVersion: '"2"' }))).toEqual([]);
    expect(await push('"2"', seen({ remoteVersion: '"3"' }))).toEqual([1]);
  });

  test('is recorded if no version is known', async () => {
    await record(linked(ottoline));
    expect(await push('"1"')).toEqual([]);
    expect(await waiting()).toBe(0);
  });
});

describe('links of one batch that exclude each other', () => {
  test('are decided by the order of events: the first contact keeps the id', async () => {
    expect(await record(linked(barnaby), linked(barnaby), linked(ottoline))).toEqual([2]);
    expect(await check()).toBe('changed');
    expect(await recordsOf(ottoline)).toEqual([]);
    const log = await syncLogListByConnection(pool, run);
    expect(log.map(({ internalId, status }) => [internalId, status])).toEqual([
      [ottoline, 'error'],
      [barnaby, 'success'],
      [barnaby, 'success'],
    ]);
  });

  test('are decided by the order of events: the contact keeps its first id, whatever the alphabet says', async () => {
    expect(
      await record(linked(ottoline, { externalId: 'Z' }), linked(ottoline, { externalId: 'A' })),
    ).toEqual([1]);
    expect(await recordsOf(ottoline)).toMatchObject([{ externalId: 'Z' }]);
  });

  test('do not set the version of the event that was refused', async () => {
    await record(linked(barnaby, { remoteVersion: '"1"' }), linked(ottoline, { remoteVersion: '"2"' }));
    expect(await recordsOf(barnaby)).toMatchObject([{ remoteVersion: '"1"' }]);
  });
});

describe('externalRecordCheck', () => {
  test('decides on one record, and names no row in its error', async () => {
    await record(linked(ottoline, { remoteVersion: '"1"' }));
    const { organisationId } = run;
    const record1 = { entityType: 'contact', externalId: 'OXF1', version: '"1"' } as const;
    const params = { organisationId, provider: 'reapit', ...record1 } as const;
    expect(await externalRecordCheck(pool, params)).toEqual({
      contactId: ottoline,
      matchedBy: 'primary',
      decision: 'unchanged',
      hasNewContent: false,
    });
    expect(await externalRecordCheck(pool, { ...params, version: '"2"' })).toMatchObject({
      decision: 'changed',
      hasNewContent: true,
    });
    await expect(externalRecordCheck(pool, { ...params, version: '' })).rejects.toMatchObject({
      message: 'version must have 1 to 512 bytes.',
      rowIndex: undefined,
    });
  });

  test('sees nothing of a record of another organisation', async () => {
    await record(linked(ottoline));
    const { organisationId } = await createTenant(pool);
    const params = { organisationId, provider: 'reapit', entityType: 'contact', externalId: 'OXF1' } as const;
    expect(await externalRecordCheck(pool, params)).toMatchObject({ contactId: null, decision: 'unknown' });
  });
});

describe('externalRecordCheckMany', () => {
  test('locks the records until the end of the transaction, so that a batch decides after it', async () => {
    await record(linked(ottoline, { remoteVersion: '"1"' }));
    await withClient(url, async (one) => {
      await one.query('begin');
      const records = [{ entityType: 'contact', externalId: 'OXF1', version: '"2"' }];
      await externalRecordCheckMany(one, { ...run, provider: 'reapit', records });
      await withClient(url, async (other) => {
        const second = externalRecordCheckMany(other, { ...run, provider: 'reapit', records });
        await waitUntilBlocked(url, other);
        batchNumber += 1;
        await syncBatchRecord(one, { ...run, batchNumber, events: [seen({ remoteVersion: '"2"' })] });
        await one.query('commit');
        expect(await second).toMatchObject([{ decision: 'unchanged' }]);
      });
    });
  });

  test('locks in the order of keys: two callers with opposite orders do not deadlock', async () => {
    const ids = Array.from({ length: 200 }, (_, index) => `OXF${index}`);
    const { rows } = await pool.query<{ id: string }>(
      "insert into contacts (id, organisation_id, name) select gen_random_uuid(), $1, 'Test Person' from generate_series(1, 200) returning id",
      [run.organisationId],
    );
    await record(...ids.map((externalId, index) => linked(rows[index]?.id as string, { externalId })));
    const caller = (order: string[]) =>
      withClient(url, async (client) => {
        for (let round = 0; round < 10; round += 1) {
          await client.query('begin');
          await externalRecordCheckMany(client, {
            ...run,
            provider: 'reapit',
            records: order.map((externalId) => ({ entityType: 'contact', externalId })),
          });
          await client.query('commit');
        }
      });
    await Promise.all([caller(ids), caller(ids.toReversed()), caller(ids)]);
  });

  test.each<[string, object, string]>([
    ['a version', { version: '' }, 'version must have 1 to 512 bytes.'],
    [
      'a state',
      { state: 'gone' },
      'state must be one of active, archived, deleted, hidden, merged, not "gone".',
    ],
    ['a hash', { contentHash: 'abc' }, 'contentHash must be what contentHash returns, not "abc".'],
    ['a time', { modifiedAt: 'yesterday' }, 'modifiedAt must be'],
    ['an unknown field', { etag: '"1"' }, 'record has an unknown field: "etag"'],
  ])('refuses %s, and names the element', async (_, rest, message) => {
    const records = [
      { entityType: 'contact', externalId: '1' },
      { entityType: 'contact', externalId: '2', ...rest },
    ];
    await expect(
      externalRecordCheckMany(pool, { ...run, provider: 'reapit', records: records as SentRecord[] }),
    ).rejects.toMatchObject({
      code: 'invalid_input',
      rowIndex: 1,
      message: expect.stringContaining(message),
    });
  });
});

describe('what an event says of its record', () => {
  test.each<[string, Partial<BatchEvent>, string]>([
    [
      'remoteVersion without a record',
      { externalId: null, remoteVersion: '"1"' },
      'remoteVersion needs externalId.',
    ],
    [
      'contentHash without a record',
      { externalId: null, contentHash: name('x') },
      'contentHash needs externalId.',
    ],
    [
      'basedOnVersion on an inbound event',
      { basedOnVersion: '"1"' },
      'basedOnVersion is only allowed with direction outbound.',
    ],
    [
      'the state merged',
      { remoteState: 'merged' as 'deleted' },
      'remoteState must be one of active, archived, deleted, hidden, not "merged".',
    ],
  ])('is refused: %s', async (_, rest, message) => {
    await expect(
      syncBatchRecord(pool, { ...run, batchNumber: 1, events: [seen(rest)] }),
    ).rejects.toMatchObject({
      code: 'invalid_input',
      message: `row 0: ${message}`,
    });
  });
});

describe('contentHash', () => {
  const same: [string, Record<string, FieldValue>, Record<string, FieldValue>][] = [
    ['the order of keys', { a: '1', b: '2' }, { b: '2', a: '1' }],
    ['letter case', { name: 'Straße' }, { name: 'STRASSE' }],
    ['white space', { name: ' Ottoline\t Vane\u00a0' }, { name: 'ottoline vane' }],
    ['the form of Unicode', { name: 'e\u0301lodie ﬁ' }, { name: '\u00e9lodie fi' }],
    [
      'absent, null and blank fields',
      { name: 'x', phone: null, email: ' ', tags: [], more: {} },
      { name: 'x' },
    ],
    ['numbers and their text', { beds: 3 }, { beds: '3' }],
    ['nested order', { address: { city: 'Oxford', line: '1' } }, { address: { line: '1', city: 'Oxford' } }],
  ];
  test.each(same)('ignores %s', (_, one, other) => {
    expect(contentHash(one)).toBe(contentHash(other));
  });

  const different: [string, Record<string, FieldValue>, Record<string, FieldValue>][] = [
    ['values', { name: 'a' }, { name: 'b' }],
    ['keys', { first: 'a' }, { last: 'a' }],
    ['the order of an array', { phones: ['1', '2'] }, { phones: ['2', '1'] }],
    ['text and the array of its parts', { a: '["1"]' }, { a: ['1'] }],
    ['accents', { name: 'Zoe' }, { name: 'Zoé' }],
  ];
  test.each(different)('distinguishes %s', (_, one, other) => {
    expect(contentHash(one)).not.toBe(contentHash(other));
  });

  test('stays the same between versions: the SHA-256 of a fixed form', () => {
    const form = '{"members":[["name","ottoline vane"]]}';
    expect(contentHash({ name: 'Ottoline Vane' })).toBe(createHash('sha256').update(form).digest('hex'));
    expect(contentHash({ name: null })).toBe(contentHash({}));
  });

  test.each([
    [{ a: Number.NaN }, 'fields.a must be a finite number.'],
    [{ a: [() => 1] }, 'fields.a.0 must not be a function.'],
    [{ a: { b: new Date('x') } }, 'fields.a.b must be a valid Date.'],
    [{ a: new Map([['b', 1]]) }, 'fields.a must be a plain object.'],
    [new Map([['name', 'Ottoline Vane']]), 'fields must be a plain object.'],
    [null, 'fields must be an object, not null.'],
  ])('refuses %o', (fields, message) => {
    expect(() => contentHash(fields as never)).toThrow(message);
  });
});

test.each(['inbound', 'outbound'] as const)(
  'an %s event of another contact than the record means says nothing of the record',
  async (direction) => {
    await record(linked(ottoline, { remoteVersion: '"1"', contentHash: name('Ottoline') }));
    const news = { remoteVersion: '"2"', contentHash: name('Barnaby'), remoteState: 'archived' } as const;
    await record(seen({ direction, internalId: barnaby, ...news } as Partial<BatchEvent>));
    expect(await check({ version: '"2"', contentHash: name('Barnaby') })).toBe('changed');
    expect(await check({ version: '"1"' })).toBe('unchanged');
    await record(seen({ direction, internalId: ottoline, ...news } as Partial<BatchEvent>));
    expect(await check({ version: '"1"', state: 'archived' })).toBe('changed');
  },
);

test('a run that does not exist says nothing of any record', async () => {
  await record(linked(ottoline, { remoteVersion: '"1"' }));
  const events = [seen({ remoteVersion: '"2"' })];
  await expect(syncBatchRecord(pool, { ...run, runId: '0', batchNumber: 1, events })).rejects.toMatchObject({
    code: 'lease_lost',
  });
  await expect(
    syncBatchRecord(pool, { ...run, organisationId: randomUUID(), batchNumber: 1, events }),
  ).rejects.toMatchObject({ code: 'lease_lost' });
  expect(await recordsOf(ottoline)).toMatchObject([{ remoteVersion: '"1"' }]);
});
