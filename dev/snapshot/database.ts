import { readFile } from 'node:fs/promises';
import { PGlite } from '@electric-sql/pglite';
import { dataDir } from '@electric-sql/pglite-prepopulatedfs';
import { pgDump } from '@electric-sql/pglite-tools/pg_dump';
import { readMigrationFiles } from '../../src/migrations/files.js';
import { projectPath } from '../database.js';

/** A PostgreSQL in WebAssembly with the schema that the snapshot shows. */
export interface SnapshotDatabase {
  readonly client: PGlite;
  /** pg_dump's output for the host tables alone. */
  readonly hostDump: string;
  /** The names of the host's tables and indexes. */
  readonly hostRelations: readonly string[];
}

/**
 * Runs `work` on a fresh database with the host tables and all migrations.
 *
 * It is PGlite because its pg_dump is the only real one that npm can install, and that cannot dump another
 * server. test/dev/snapshot.test.ts checks that a server would have the same schema.
 */
export async function withSnapshotDatabase<Result>(
  work: (database: SnapshotDatabase) => Promise<Result>,
): Promise<Result> {
  // From a prepared data directory: creating one would take three times as long as everything else.
  const client = await PGlite.create({ loadDataDir: await dataDir() });
  try {
    await client.exec(await readFile(projectPath('dev/host-tables.sql'), 'utf8'));
    const hostDump = await dump(client);
    const { rows } = await client.query<{ name: string }>(
      "select relname as name from pg_class where relnamespace = 'public'::regnamespace",
    );
    for (const { content } of await readMigrationFiles()) {
      const up = content.slice(0, content.indexOf('-- Down Migration'));
      await client.transaction((transaction) => transaction.exec(up));
    }
    await client.exec(leaveMonthsOut);
    return await work({ client, hostDump, hostRelations: rows.map(({ name }) => name) });
  } finally {
    await client.close();
  }
}

/**
 * Drops the log's monthly partitions and keeps the catch-all, as it is before the first month, because the
 * months and the catch-all's lower bound depend only on the date. Months have the form of the catch-all,
 * which still shows what a migration does to partitions.
 */
export const leaveMonthsOut = `
  drop table if exists crm_sync_log_emptied;

  do $$
  declare
    month regclass;
    child record;
  begin
    for month in
      select inhrelid
      from pg_inherits
      where inhparent = 'crm_sync_log'::regclass
        and inhrelid <> 'crm_sync_log_catch_all'::regclass
    loop
      execute format('drop table %s', month);
    end loop;

    alter table crm_sync_log detach partition crm_sync_log_catch_all;
    alter table crm_sync_log attach partition crm_sync_log_catch_all for values from (minvalue) to (maxvalue);

    -- The names that the server chooses depend on those it chose before.
    for child in
      select
        indexrelid::regclass as index,
        replace(inhparent::regclass::text, 'crm_sync_log', 'crm_sync_log_catch_all') as name
      from pg_index
      inner join pg_inherits
        on inhrelid = indexrelid
      where indrelid = 'crm_sync_log_catch_all'::regclass
    loop
      if child.index::text <> child.name then
        execute format('alter index %s rename to %I', child.index, child.name);
      end if;
    end loop;
  end
  $$;
`;

/** Dumps the schema with privileges and without owners. */
export async function dump(client: PGlite): Promise<string> {
  const file = await pgDump({ pg: client, args: ['--schema-only', '--no-owner'] });
  // pg_dump uses this one session, and leaves its read-only transaction open and its settings changed.
  await client.exec('rollback; reset all;');
  return file.text();
}
