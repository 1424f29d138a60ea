import { expect, test } from 'vitest';
import { createHostTables, migrate, withClient } from '../../dev/database.js';
import { startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { type BatchEvent, syncBatchRecord, syncRunClaim } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant } from '../support/database.js';

// On a server of its own: PostgreSQL cannot prune what a transaction of any database might still see.
test('updates of what is known of records are all HOT, and the table does not grow', async () => {
  const server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, {
    settings: { autovacuum: 'off' },
  });
  try {
    await withClient(server.url, async (client) => {
      await createHostTables(client);
      await migrate(client);
      const count = 400;
      const { organisationId, contactIds } = await createTenant(client, count);
      await connect(client, organisationId);
      const [run] = await syncRunClaim(client, { worker: 'test', limit: 1 });
      if (run === undefined) throw new Error('There is nothing to claim.');
      let batchNumber = 0;
      const record = async (version: string, wanted: (index: number) => boolean) => {
        batchNumber += 1;
        const events = contactIds.map(
          (internalId, index): BatchEvent => ({
            direction: 'inbound',
            entityType: 'contact',
            externalId: `OXF${index}`,
            internalId,
            linksContact: true,
            status: 'success',
            remoteVersion: version,
            remoteState: batchNumber % 2 === 0 ? 'active' : 'archived',
          }),
        );
        await syncBatchRecord(client, {
          ...run,
          batchNumber,
          events: events.filter((_, index) => wanted(index)),
        });
      };
      const measure = async () => {
        await client.query('select pg_stat_force_next_flush()');
        const { rows } = await client.query(
          `select n_tup_upd::integer as updated, n_tup_hot_upd::integer as hot, pg_relation_size(relid) as size
           from pg_stat_all_tables where relid = 'contact_external_ids'::regclass`,
        );
        return rows[0] as { updated: number; hot: number; size: string };
      };

      await record('"0"', () => true);
      await client.query('vacuum contact_external_ids');
      const before = await measure();
      // A tenth of the rows at a time, as pages of a sync do.
      for (let round = 1; round <= 60; round += 1) {
        await record(`"${round}"`, (index) => index % 10 === round % 10);
      }
      const after = await measure();
      const updates = (60 * count) / 10;
      expect(after).toEqual({
        updated: before.updated + updates,
        hot: before.hot + updates,
        size: before.size,
      });
    });
  } finally {
    await server.stop();
  }
});
