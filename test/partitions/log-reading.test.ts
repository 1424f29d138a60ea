import { expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { dropMarker } from '../../src/partitions/drop-marker.js';
import { inReadOnlyTransaction, readLog } from '../../src/partitions/log-partitions.js';
import { useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { beginLog, detachedNames, monthName } from '../support/log-partitions.js';

const { url, pool } = useDatabase();

test('the log is read with the names of tables that are dropped meanwhile', async () => {
  const names = [monthName(-3), monthName(-2)];
  await withClient(url, async (client) => {
    await beginLog(client, 4);
    for (const name of names) {
      await client.query(`alter table crm_sync_log detach partition ${name}`);
      await client.query(`comment on table ${name} is 'Sync events of long ago (UTC). ${dropMarker}'`);
    }
  });
  expect(await detachedNames(pool)).toEqual(names);

  await withClient(url, async (dropper) => {
    await dropper.query(`begin; drop table ${names.join(', ')}`);
    await withClient(url, async (reader) => {
      const reading = inReadOnlyTransaction(reader, () => readLog(reader));
      // It waits to measure the first of them, so the other is read only after both are gone.
      await waitUntilBlocked(url, reader);
      await dropper.query('commit');
      const { partitions } = await reading;
      expect(partitions.map(({ sqlName }) => sqlName.replace(/^public\./, ''))).toEqual(
        partitions.map(({ name }) => name),
      );
      expect(partitions.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
    });
  });
});
