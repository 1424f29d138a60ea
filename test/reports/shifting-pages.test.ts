/**
 * Symptom: an import gives more than ten thousand records one modified time. A sync that pages by time reads the first page
 * of them for ever, or goes on behind them. And while pages are read, others edit and delete records, so that those
 * behind move to an earlier page, and are never read.
 *
 * Source: airbytehq/airbyte #43317 (more than ten thousand contacts with one modified time: an endless loop) and #21500
 * (edits while pages are read by offset); supaglue-labs/supaglue #585.
 *
 * Input: 10,500 records with one modified time; lists that are edited and shrink between two pages, and while a pass is
 * interrupted; adapters by time and id, by time alone, by page numbers and by offset. Right: every record is read, the
 * pass ends, and the next one finds what changed meanwhile.
 */
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Crm, CrmPage, CrmPosition, CrmRecord } from '../../examples/crm.js';
import { startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import { syncNext } from '../../examples/sync-worker.js';
import { type ConnectionKey, syncCursorList, syncRunListByConnection } from '../../src/index.js';
import { refreshAccessToken, simulatedCrmClient } from '../simulated-crm/client.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { makeDue, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const { connectDue } = syncSetup(database);
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

let key: ConnectionKey;
beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  key = await connectDue();
});

type ReadPage = Crm['readPage'];

/** Syncs once, with an adapter that only reads. */
async function sync(readPage: ReadPage): Promise<void> {
  await makeDue(pool, key);
  const crm: Crm = { entityTypes: ['contact'], readPage, read: async () => null, write: async () => null };
  await syncNext({ name: 'test', pool: worker, openCrm: async () => crm, overlapSeconds: 0 });
  const [run] = await syncRunListByConnection(pool, key);
  expect(run).toMatchObject({ outcome: 'success' });
}

/** The external ids that the log has. */
async function read(): Promise<Set<string>> {
  const { rows } = await pool.query(
    'select distinct external_id from crm_sync_log where connection_id = $1',
    [key.connectionId],
  );
  return new Set(rows.map(({ external_id }) => external_id));
}

interface Listed extends CrmRecord {
  modifiedAt: string;
}

const minute = (n: number) => new Date(Date.UTC(2026, 10, 16, 0, n)).toISOString();

/** A list at a CRM. Its records are unknown and deleted, so that syncing one costs little. */
class List {
  readonly records = new Map<string, Listed>();
  #minutes = 0;

  constructor(count: number, modifiedAt?: string) {
    for (let n = 0; n < count; n += 1) this.edit(`record-${String(n).padStart(5, '0')}`, modifiedAt);
  }

  edit(externalId: string, modifiedAt?: string): void {
    if (modifiedAt === undefined) this.#minutes += 1;
    const at = modifiedAt ?? minute(this.#minutes);
    this.records.set(externalId, {
      entityType: 'contact',
      externalId,
      name: '',
      state: 'deleted',
      modifiedAt: at,
    });
  }

  /** The time of the last change, by the CRM's clock. */
  now(): string {
    return minute(this.#minutes);
  }

  since(since: string | null): Listed[] {
    return [...this.records.values()]
      .filter(({ modifiedAt }) => since === null || Date.parse(modifiedAt) >= Date.parse(since))
      .sort((a, b) => compare(a.modifiedAt, b.modifiedAt) || compare(a.externalId, b.externalId));
  }
}

const compare = (a: string, b: string) => (a < b ? -1 : Number(a > b));

/** A pass that is not over, as a token. */
const more = (records: CrmRecord[], pass: object): CrmPage => ({
  records,
  isLast: false,
  next: JSON.stringify(pass),
});
const last = (records: CrmRecord[], syncedTo: string): CrmPage => ({
  records,
  isLast: true,
  next: null,
  syncedTo,
});
const passOf = <Pass>(from: CrmPosition, begin: (since: string | null) => Pass): Pass =>
  'token' in from ? JSON.parse(from.token) : begin(from.changedSince);

/** The ways to page that `Crm.readPage` recommends, each for what a CRM offers. */
const adapters: Record<string, (list: List, size: number) => ReadPage> = {
  /** Sorted by time and id: the token has the last ones. */
  'time and id': (list, size) => async (_, from) => {
    const pass = passOf(from, (since) => ({ since, begun: list.now(), after: ['', ''] }));
    const [time = '', id = ''] = pass.after;
    const rest = list
      .since(pass.since)
      .filter((each) => (compare(each.modifiedAt, time) || compare(each.externalId, id)) > 0);
    const page = rest.slice(0, size);
    const end = page.at(-1);
    if (rest.length <= size || end === undefined) return last(page, pass.begun);
    return more(page, { ...pass, after: [end.modifiedAt, end.externalId] });
  },
  /** Numbered pages, newest first: an edit moves the others to later pages. A record leaves the list only if it is gone for good. */
  'page numbers, newest first': (list, size) => async (_, from) => {
    const pass = passOf(from, (since) => ({ since, begun: list.now(), page: 0 }));
    const all = list.since(pass.since).reverse();
    const page = all.slice(pass.page * size, (pass.page + 1) * size);
    if ((pass.page + 1) * size >= all.length) return last(page, pass.begun);
    return more(page, { ...pass, page: pass.page + 1 });
  },
  /** An offset over everything, oldest first: what moves to an earlier page meanwhile is read by the next pass. */
  'an offset over everything': (list, size) => async (_, from) => {
    const pass = passOf(from, () => ({ begun: list.now(), offset: 0 }));
    const all = list.since(null);
    const page = all.slice(pass.offset, pass.offset + size);
    if (pass.offset + size >= all.length) return last(page, pass.begun);
    return more(page, { ...pass, offset: pass.offset + size });
  },
};

describe.each(Object.entries(adapters))('an adapter by %s', (name, adapter) => {
  // The number that the report has, once; a tenth of it is faster, and has as many pages.
  const count = name === 'time and id' ? 10_500 : 1_050;

  test(`reads ${count} records with one modified time, each once in a pass`, async () => {
    const list = new List(count, '2026-11-16T00:00:00.000Z');
    const asked: CrmPosition[] = [];
    const readPage = adapter(list, Math.ceil(count / 11));
    await sync((entityType, from) => {
      asked.push(from);
      return readPage(entityType, from);
    });
    expect(asked).toHaveLength(11);
    expect((await read()).size).toBe(count);
    expect(await syncCursorList(pool, key)).toMatchObject([{ position: { kind: 'timestamp' } }]);
  });

  test('misses nothing that moves while pages are read, and comes to an end', async () => {
    const list = new List(40);
    const readPage = adapter(list, 4);
    let pages = 0;
    const whileEdited: ReadPage = async (entityType, from) => {
      const page = await readPage(entityType, from);
      pages += 1;
      // Records of the pages that were read, that is being read, and that are still to be read.
      if (pages < 30)
        for (const n of [pages % 40, (pages * 7) % 40, 39 - (pages % 40)])
          list.edit(`record-${String(n).padStart(5, '0')}`);
      return page;
    };
    const edited = new Map<string, string>();
    const noting: ReadPage = async (entityType, from) => {
      const page = await whileEdited(entityType, from);
      for (const { externalId, modifiedAt } of page.records) edited.set(externalId, modifiedAt as string);
      return page;
    };
    for (let syncs = 0; syncs < 10 && pages < 30; syncs += 1) await sync(noting);
    // One more, in peace.
    await sync(noting);
    expect((await read()).size).toBe(40);
    // And each as it is now.
    expect(edited).toEqual(new Map([...list.records].map(([id, { modifiedAt }]) => [id, modifiedAt])));
  });
});

test('Reapit, which pages by time alone: an edit in the middle of many records with one time hides none of them', async () => {
  const crm = await startSimulatedCrm({
    provider: 'reapit',
    seed: 1,
    habits: { pageSize: 5, clockStepMilliseconds: 3_600_000_000 },
  });
  try {
    const ids = Array.from({ length: 33 }, (_, n) => crm.create(`Test Person ${n}`).externalId);
    // Later changes have times of their own.
    crm.setHabits({ clockStepMilliseconds: 0 });
    const { url } = crm;
    const { credentials } = await refreshAccessToken(url, crm.signIn());
    const client = simulatedCrmClient('reapit', { url, credentials, timeoutMilliseconds: 20_000 });
    const names = new Map<string, string>();
    let pages = 0;
    await sync(async (entityType, from) => {
      const page = await client.readPage(entityType, from);
      for (const { externalId, name } of page.records) names.set(externalId, name);
      pages += 1;
      // Takes a record out of those that share a time, in turn from each of their pages.
      if (pages < 12) crm.edit(ids[(pages * 3) % 33] as string, `Test Person edited ${pages}`);
      if (pages > 60) throw new Error('The pass does not end.');
      return page;
    });
    expect((await read()).size).toBe(33);
    await sync(async (entityType, from) => {
      const page = await client.readPage(entityType, from);
      for (const { externalId, name } of page.records) names.set(externalId, name);
      return page;
    });
    expect(names).toEqual(new Map(crm.records().map(({ externalId, name }) => [externalId, name])));
  } finally {
    await crm.stop();
  }
});
