import { readdir, readFile } from 'node:fs/promises';
import { PGlite } from '@electric-sql/pglite';
import { dataDir } from '@electric-sql/pglite-prepopulatedfs';
import { pgDump } from '@electric-sql/pglite-tools/pg_dump';
import { projectPath } from '../database.js';

/** A PostgreSQL in WebAssembly that holds the schema as a snapshot shows it. */
export interface SnapshotDatabase {
  readonly client: PGlite;
  /** What pg_dump says of the host tables alone. */
  readonly hostDump: string;
  /** Tables and indexes that are the host's. */
  readonly hostRelations: readonly string[];
}

/**
 * Runs `work` on a fresh database with the host tables and all migrations.
 *
 * It is PGlite, because that is the one real pg_dump which npm alone can install, and it cannot dump another
 * server. That this database is the one that a server would hold is tested: see test/dev/snapshot.test.ts.
 */
export async function withSnapshotDatabase<Result>(
  work: (database: SnapshotDatabase) => Promise<Result>,
): Promise<Result> {
  // A data directory made beforehand: to make one here would take three times as long as all the rest.
  const client = await PGlite.create({ loadDataDir: await dataDir() });
  try {
    await client.exec(await readFile(projectPath('dev/host-tables.sql'), 'utf8'));
    const hostDump = await dump(client);
    const { rows } = await client.query<{ name: string }>(
      "select relname as name from pg_class where relnamespace = 'public'::regnamespace",
    );
    for (const file of (await readdir(projectPath('migrations'))).sort()) {
      const text = await readFile(projectPath(`migrations/${file}`), 'utf8');
      const up = text.slice(0, text.indexOf('-- Down Migration'));
      await client.transaction((transaction) => transaction.exec(up));
    }
    await client.exec(leaveMonthsOut);
    return await work({ client, hostDump, hostRelations: rows.map(({ name }) => name) });
  } finally {
    await client.close();
  }
}

/**
 * Leaves of the log's partitions the catch-all alone, as it is before the first month is cut off it, because
 * the months and its lower bound tell nothing but the date of the snapshot. The months are made like the
 * catch-all, which keeps visible what a migration does to partitions.
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

    -- The server's names for them depend on which it has given before.
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

/** What pg_dump writes of the schema, owners left out and privileges kept. */
export async function dump(client: PGlite): Promise<string> {
  const file = await pgDump({ pg: client, args: ['--schema-only', '--no-owner'] });
  // pg_dump works in this one session, and leaves its read-only transaction and its settings behind.
  await client.exec('rollback; reset all;');
  return file.text();
}
