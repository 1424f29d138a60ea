import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { monthName } from '../support/log-partitions.js';
import { differencesIn } from './support.js';

const { pool } = useDatabase();
const month = monthName(1);

/** By the beginning of a row of the table in docs/operations/monitor.md. */
const leftToTheHost: Record<string, string> = {
  'storage parameters of tables': `alter table crm_sync_runs set (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_vacuum_threshold = 10);
    alter table ${month} set (autovacuum_enabled = on, parallel_workers = 2);
    alter index crm_sync_runs_expires_at_idx set (fillfactor = 50, deduplicate_items = off);
    alter index crm_connections_pkey set (fillfactor = 50)`,
  '`storage` and': `alter table crm_sync_runs alter worker set storage external, alter worker set compression pglz;
    alter table ${month} alter error set storage main`,
  'statistics targets': `alter table crm_sync_runs alter worker set statistics 500, alter worker set (n_distinct = 5);
    create statistics theirs on worker, outcome from crm_sync_runs`,
  '`replica identity full`': `alter table crm_sync_runs replica identity full;
    alter table crm_retention replica identity using index crm_retention_pkey`,
  'the index that': 'alter table crm_sync_runs cluster on crm_sync_runs_pkey',
  'comments on a month': `comment on table ${month} is 'x'; comment on column ${month}.status is 'x';
    comment on sequence crm_sync_runs_id_seq is 'x'; comment on column contact_external_records.provider is 'x'`,
  'publications, subscriptions': `create publication theirs for table crm_sync_runs;
    create function theirs() returns event_trigger language plpgsql as 'begin end';
    create event trigger theirs on ddl_command_end execute function theirs()`,
  'whether one of': "alter role crm_app login password 'x' connection limit 5 valid until '2040-01-01'",
};

test.each(Object.entries(leftToTheHost))('verify leaves to the host: %s', async (_, statements) => {
  await rolledBack(pool, async (client) => {
    await client.query(statements);
    expect(await differencesIn(client)).toEqual([]);
  });
});

test('docs/operations/monitor.md lists exactly what verify leaves to the host', async () => {
  const document = await readFile(projectPath('docs/operations/monitor.md'), 'utf8');
  const [, table = ''] = /^### What verify leaves to you$([\s\S]*?)^## /m.exec(document) ?? [];
  const rows = [...table.matchAll(/^\| (?!not compared)([^|-].*?) \|/gm)].map(([, subject = '']) => subject);
  expect(rows).toHaveLength(Object.keys(leftToTheHost).length);
  for (const [position, start] of Object.keys(leftToTheHost).entries())
    expect(rows[position]).toSatisfy((row: string) => row.startsWith(start));
});
