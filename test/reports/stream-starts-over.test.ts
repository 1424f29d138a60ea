/**
 * Symptom: a CRM has numbered pages and no filter by time, so the last page of a pass leads back to page 0. The
 * cursor must not move backwards: each sync fails at the last page, which is never stored.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits.
 *
 * Input: two passes over three numbered pages, recorded with cursors of kind page. Right: a stream that was read to its
 * end may begin again; without saying so, going back is refused as before.
 */
import { expect, test } from 'vitest';
import {
  type BatchEvent,
  type RunKey,
  syncBatchRecord,
  syncCursorList,
  syncLogListByConnection,
  syncRunFinish,
} from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { claimOne, makeDue, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { connectDue } = syncSetup(database);

const stream = { direction: 'inbound', entityType: 'contact' } as const;

/** Reads a pass of three pages, and records each. The cursor says which page comes next. */
async function readPass(run: RunKey, startsOver: boolean): Promise<void> {
  const [cursor] = await syncCursorList(pool, run);
  const first = cursor?.position?.kind === 'page' ? cursor.position.page : 0;
  for (let page = first; page < 3; page += 1) {
    const isLast = page === 2;
    const event: BatchEvent = { ...stream, externalId: `record-${page}`, status: 'skipped' };
    const position = { kind: 'page', page: isLast ? 0 : page + 1 } as const;
    await syncBatchRecord(pool, {
      ...run,
      batchNumber: page - first + 1,
      events: [event],
      cursors: [
        {
          ...stream,
          version: (cursor?.version ?? 0) + page - first,
          position,
          startsOver: startsOver && isLast,
        },
      ],
    });
  }
}

test('a stream whose last page leads to the first is read again and again', async () => {
  const key = await connectDue();
  for (let sync = 1; sync <= 2; sync += 1) {
    const run = await claimOne(pool);
    await readPass(run, true);
    await syncRunFinish(pool, { ...run, outcome: 'success' });
    await makeDue(pool, key);
  }
  const read = (await syncLogListByConnection(pool, key)).map(({ externalId }) => externalId);
  expect(read.toSorted()).toEqual(['record-0', 'record-0', 'record-1', 'record-1', 'record-2', 'record-2']);
  expect(await syncCursorList(pool, key)).toMatchObject([{ version: 6, position: { page: 0 } }]);
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
});

test('a page that goes back without saying so is refused', async () => {
  await connectDue();
  await expect(readPass(await claimOne(pool), false)).rejects.toMatchObject({
    code: 'cursor_moved_backwards',
  });
});
