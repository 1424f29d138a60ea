/**
 * Symptom: an agent archives a person at the CRM, and takes them out of the archive again. NurtureHub has a second
 * contact then, and after the next edit the CRM has a second record.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits (`fromArchive`). reapit/foundations #7710 and #7413 for
 * archived contacts that take no writes.
 *
 * Input: archive and unarchive, alone and together with edits, a deletion and a merge; the worker as it is. Right: one
 * contact here and one record there, before and after; an edit is never lost.
 */
import { randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  type Crm,
  type CrmContact,
  CrmError,
  type CrmPage,
  type CrmPosition,
  type CrmRecord,
  type LinkedRecord,
} from '../../examples/crm.js';
import { syncNext } from '../../examples/sync-worker.js';
import {
  type ConnectionKey,
  connectionRequestSync,
  externalRecordListByContacts,
  outboundChangeRecord,
  syncFailureList,
} from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { syncSetup } from '../support/sync.js';

/** A CRM with an archive, and with versions. It shows archived records, but no deleted ones unless it says so. */
class ArchivingCrm implements Crm {
  readonly entityTypes = ['contact'];
  readonly records = new Map<string, CrmRecord & { changedAt: number }>();
  /** Whether the archive can be written to. */
  takesWrites = true;
  showsDeleted = false;
  #changes = 0;

  store(record: Partial<CrmRecord> & { name: string }): string {
    this.#changes += 1;
    const externalId = record.externalId ?? `OXF1800000${this.records.size + 1}`;
    const version = `"${this.#changes}"`;
    const stored = { state: 'active', ...record, entityType: 'contact', externalId, version } as const;
    this.records.set(externalId, { ...stored, changedAt: this.#changes });
    return externalId;
  }

  change(externalId: string, change: Partial<CrmRecord>): void {
    this.store({ ...(this.records.get(externalId) as CrmRecord), ...change });
  }

  async readPage(_: string, from: CrmPosition): Promise<CrmPage> {
    const after = 'token' in from ? Number(from.token) : 0;
    const records = [...this.records.values()].filter(
      (record) => record.changedAt > after && this.#isShown(record),
    );
    return { records, isLast: true, next: String(this.#changes), syncedTo: '2026-11-16T09:00:00Z' };
  }

  async read(_: string, externalId: string): Promise<CrmRecord | null> {
    const record = this.records.get(externalId);
    return record !== undefined && this.#isShown(record) ? record : null;
  }

  async write({ contactId, name }: CrmContact, linked: LinkedRecord | null): Promise<CrmRecord | null> {
    const known =
      linked === null
        ? [...this.records.values()].find(({ reference }) => reference === contactId)
        : await this.read('contact', linked.externalId);
    if (linked !== null && known == null) return null;
    if (linked?.version != null && known?.version !== linked.version)
      throw new CrmError('conflict', 'Another version.', { retryable: true });
    if (known?.state === 'archived' && !this.takesWrites)
      throw new CrmError('validation', 'The contact is archived.', { retryable: true });
    return this.records.get(this.store({ ...known, name, reference: contactId })) ?? null;
  }

  #isShown({ state }: CrmRecord): boolean {
    return this.showsDeleted || state === 'active' || state === 'archived';
  }
}

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const { connectDue } = syncSetup(database);
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

let key: ConnectionKey;
let crm: ArchivingCrm;
beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  key = await connectDue();
  crm = new ArchivingCrm();
});

/** Syncs twice, as if the delays after failures had passed: what the first time refuses may be done the second time. */
async function sync(): Promise<void> {
  for (let count = 0; count < 2; count += 1) {
    await pool.query(
      'update crm_sync_failures set next_attempt_at = now() where connection_id = $1 and next_attempt_at is not null',
      [key.connectionId],
    );
    await connectionRequestSync(pool, { ...key, connectionIds: [key.connectionId], isUrgent: true });
    await syncNext({ name: 'test', pool: worker, openCrm: async () => crm });
  }
}

async function contacts(): Promise<{ id: string; name: string }[]> {
  const { rows } = await pool.query(
    'select id, name from contacts where organisation_id = $1 order by name',
    [key.organisationId],
  );
  return rows;
}

/** What there is: the contacts here with the states of their records, and the records there. */
async function everything() {
  const here = await contacts();
  const linked = await externalRecordListByContacts(pool, { ...key, contactIds: here.map(({ id }) => id) });
  return {
    here: here.map(({ id, name }) => [
      name,
      ...linked.filter(({ contactId }) => contactId === id).map(({ remoteState }) => remoteState),
    ]),
    there: [...crm.records.values()].map(({ name, state }) => [name, state]),
  };
}

async function rename(name: string): Promise<void> {
  const [contact] = await contacts();
  await pool.query('update contacts set name = $2 where id = $1', [contact?.id, name]);
  await outboundChangeRecord(pool, { ...key, contactIds: [contact?.id as string] });
}

/** What there is of a person whom both sides have once. */
const one = (name: string, state: 'active' | 'archived') => ({
  here: [[name, state]],
  there: [[name, state]],
});

describe('a person whom the CRM archives, and takes out of the archive,', () => {
  test('is one contact and one record all the time', async () => {
    const id = crm.store({ name: 'Ottoline Sprat' });
    await sync();
    for (let times = 0; times < 2; times += 1) {
      crm.change(id, { state: 'archived' });
      await sync();
      expect(await everything()).toEqual(one('Ottoline Sprat', 'archived'));
      crm.change(id, { state: 'active' });
      await sync();
      expect(await everything()).toEqual(one('Ottoline Sprat', 'active'));
    }
  });

  test('is one contact also if the archive is all that the first sync sees', async () => {
    const id = crm.store({ name: 'Ottoline Sprat', state: 'archived' });
    await sync();
    expect(await everything()).toEqual(one('Ottoline Sprat', 'archived'));
    crm.change(id, { state: 'active', name: 'Ottoline Spratt' });
    await sync();
    expect(await everything()).toEqual(one('Ottoline Spratt', 'active'));
  });

  test('keeps an edit that was made there meanwhile', async () => {
    const id = crm.store({ name: 'Ottoline Sprat' });
    await sync();
    crm.change(id, { state: 'archived', name: 'Ottoline Spratt' });
    await sync();
    expect(await everything()).toEqual(one('Ottoline Spratt', 'archived'));
  });

  test('keeps an edit that was made here while the record was in the archive', async () => {
    const id = crm.store({ name: 'Ottoline Sprat' });
    await sync();
    crm.change(id, { state: 'archived' });
    await sync();
    await rename('Ottoline Spratt');
    await sync();
    expect(await everything()).toEqual(one('Ottoline Spratt', 'archived'));
    crm.change(id, { state: 'active' });
    await sync();
    expect(await everything()).toEqual(one('Ottoline Spratt', 'active'));
  });

  test('keeps an edit that waited to be pushed when the record was archived', async () => {
    const id = crm.store({ name: 'Ottoline Sprat' });
    await sync();
    await rename('Ottoline Spratt');
    crm.change(id, { state: 'archived' });
    await sync();
    expect(await everything()).toEqual(one('Ottoline Spratt', 'archived'));
  });

  test('keeps an edit that the archive does not take, until the record is out of it', async () => {
    crm.takesWrites = false;
    const id = crm.store({ name: 'Ottoline Sprat' });
    await sync();
    await rename('Ottoline Spratt');
    crm.change(id, { state: 'archived' });
    await sync();
    expect((await contacts()).map(({ name }) => name)).toEqual(['Ottoline Spratt']);
    expect(await syncFailureList(pool, key)).toMatchObject([
      { direction: 'outbound', error: { kind: 'validation' } },
    ]);
    crm.change(id, { state: 'active' });
    await sync();
    expect(await everything()).toEqual(one('Ottoline Spratt', 'active'));
    expect(await syncFailureList(pool, key)).toEqual([]);
  });
});

describe('a person whom the CRM archives, and then deletes,', () => {
  test.each([
    ['says so', true, 'deleted'],
    ['does not show it any more', false, 'archived'],
  ])('is not created again by an edit here, where the CRM %s', async (_, showsDeleted, remoteState) => {
    crm.showsDeleted = showsDeleted;
    const id = crm.store({ name: 'Ottoline Sprat' });
    await sync();
    crm.change(id, { state: 'archived' });
    await sync();
    crm.change(id, { state: 'deleted' });
    await sync();
    await rename('Ottoline Spratt');
    await sync();
    expect(await everything()).toEqual({
      here: [['Ottoline Spratt', remoteState]],
      there: [['Ottoline Sprat', 'deleted']],
    });
  });
});

describe('a person whose archived record is merged', () => {
  /** Two records that are two contacts, of which the CRM has merged the first into the second. */
  async function mergedRecords(): Promise<[string, string]> {
    crm.showsDeleted = true;
    const first = crm.store({ name: 'O. Sprat' });
    const second = crm.store({ name: 'Ottoline Sprat' });
    await sync();
    expect(await contacts()).toHaveLength(2);
    crm.change(first, { state: 'archived' });
    crm.change(second, { state: 'archived' });
    await sync();
    crm.change(first, { state: 'merged', mergedInto: second });
    await sync();
    return [first, second];
  }

  test('is one contact, also when the record that remains leaves the archive', async () => {
    const [, second] = await mergedRecords();
    crm.change(second, { state: 'active' });
    await sync();
    expect((await everything()).here).toEqual([['Ottoline Sprat', 'active', 'merged']]);
  });

  test('stays one contact if the record that is gone leaves the archive: a person decides', async () => {
    const [first] = await mergedRecords();
    crm.change(first, { state: 'active', mergedInto: null, reference: randomUUID() });
    await sync();
    expect((await everything()).here).toEqual([['Ottoline Sprat', 'archived', 'merged']]);
    expect(crm.records.size).toBe(2);
    expect(await syncFailureList(pool, key)).toMatchObject([
      { recordId: first, error: { kind: 'conflict', retryable: false } },
    ]);
  });
});
