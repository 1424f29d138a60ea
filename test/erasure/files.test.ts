import { expect, test, vi } from 'vitest';
import { codeBlocks } from '../documents/blocks.js';
import { useDatabase } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';
import { monthName } from '../support/log-partitions.js';
import { waiting } from '../support/waiting.js';
import { agencyWithOttoline } from './agency.js';

// The bytes of a person in the files of the database: of its tables, indexes and TOAST tables, and of the catalog.

const { pool } = useDatabase();

/** The relations in whose files one of the texts stands, as text or, if it is a UUID, as its 16 bytes. */
async function relationsWith(texts: readonly string[]): Promise<string[]> {
  await pool.query('checkpoint');
  const { rows } = await pool.query<{ name: string }>(
    `select relation.oid::regclass::text as name
     from pg_class as relation
     cross join lateral pg_relation_filepath(relation.oid) as path
     cross join lateral (
       select pg_read_binary_file(path, 0, greatest(pg_relation_size(relation.oid), 1), true) as bytes
     ) as file
     where relation.relkind in ('r', 'i', 't', 'm', 'S')
       and relation.relisshared is false
       and relation.relname not in ('contacts', 'contacts_pkey', 'contacts_organisation_id_id_key')
       and exists (
         select
         from unnest($1::text[]) as wanted (text)
         where position(convert_to(wanted.text, 'UTF8') in file.bytes) > 0
           or (
             wanted.text ~ '^[0-9a-f]{8}-'
             and position(decode(replace(wanted.text, '-', ''), 'hex') in file.bytes) > 0
           )
       )
     order by 1`,
    [texts],
  );
  return rows.map(({ name }) => name);
}

/** The statements that docs/operations/erasure.md gives to analyse, and to rewrite the tables. */
async function statementsOfThePage(): Promise<string[]> {
  const blocks = (await codeBlocks('docs/operations/erasure.md')).map(({ text }) => text);
  const analyses = blocks.find((text) => text.startsWith('analyze ')) ?? '';
  const rewrites = blocks.find((text) => text.includes("psql -c 'vacuum (full")) ?? '';
  return [
    ...analyses.split(';').filter((sql) => sql.trim() !== ''),
    ...[...rewrites.matchAll(/^psql -c '([^']*)'/gm)].map(([, sql = '']) =>
      sql.replace(/crm_sync_log_\d{4}_\d\d/, monthName(0)),
    ),
  ];
}

test('no file has an erased person once the tables are analysed and rewritten as the page says', async () => {
  const { organisationId, ottoline, duplicate, hers } = await agencyWithOttoline(pool);
  await pool.query('analyze');
  const before = await relationsWith(hers);
  expect(before).toEqual(
    expect.arrayContaining([
      'contact_external_ids',
      'contact_external_ids_pkey',
      'crm_sync_failures',
      'crm_sync_conflicts',
      monthName(0),
    ]),
  );
  await eraseContacts(pool, organisationId, [ottoline, duplicate]);
  for (const text of hers) expect(await placesOf(pool, text)).toEqual([]);

  // A vacuum is not enough: that is what the page says.
  await pool.query('vacuum');
  expect(await relationsWith(hers)).not.toEqual([]);

  await pool.query('delete from contacts where id = any($1)', [[ottoline, duplicate]]);
  // As the page says: nobody else may still see rows that are dead, nor write statistics of what it has read before.
  await vi.waitFor(async () => {
    const { rowCount } = await pool.query(
      "select from pg_stat_activity where backend_type = 'autovacuum worker' and datname = current_database()",
    );
    expect(rowCount).toBe(0);
  }, waiting);
  await pool.query('analyze contacts');
  for (const sql of await statementsOfThePage()) await pool.query(sql);
  expect(await relationsWith(hers)).toEqual([]);
  const { rows } = await pool.query(
    'select tablename, attname from pg_stats where most_common_vals::text ~ $1 or histogram_bounds::text ~ $1',
    [hers.join('|')],
  );
  expect(rows).toEqual([]);
});
