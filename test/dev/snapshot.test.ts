import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { leaveMonthsOut, withSnapshotDatabase } from '../../dev/snapshot/database.js';
import { text } from '../../dev/snapshot/markdown.js';
import { snapshot, staleFiles } from '../../dev/snapshot.js';
import { catalog } from '../migrations/catalog.js';
import { useDatabase } from '../support/database.js';

const migrated = useDatabase();
const restored = useDatabase('host');

type Files = Record<'sql' | 'json' | 'markdown' | 'svg', string>;

/** The snapshot after the migrations; with more months; and after a migration that creates objects of many kinds. */
let now: Files;
let later: Files;
let changed: Files;

const migration = `
  create role crm_test_app;
  comment on role crm_test_app is 'A role for this test.';
  create table crm_test_notes (
    organisation_id uuid not null,
    provider text not null,
    entity_type text not null,
    external_id text not null,
    note text,
    constraint crm_test_notes_fkey
      foreign key (organisation_id, provider, entity_type, external_id)
      references contact_external_ids (organisation_id, provider, entity_type, external_id)
      on delete cascade
  );
  create table crm_test_alone (days integer not null default 7);
  comment on table crm_test_notes is 'A table with a | and a *star*.';
  comment on column crm_test_notes.note is 'Two
lines.';
  alter table crm_test_notes enable row level security;
  create policy crm_test_notes_tenant on crm_test_notes for select to crm_test_app using (note = 'a|b');
  comment on policy crm_test_notes_tenant on crm_test_notes is 'Its own alone.';
  grant select, insert on crm_test_notes to crm_test_app;
  grant update (note) on crm_test_notes to crm_test_app;
  grant select (organisation_id, id, provider, status) on crm_connections to crm_test_app;
  grant execute on function crm_sync_log_ensure_partitions to crm_test_app;
`;

beforeAll(async () => {
  await withSnapshotDatabase(async (database) => {
    const read = async (): Promise<Files> => {
      const files = await snapshot(database);
      const [sql, json, markdown, svg] = [
        'schema.sql',
        'schema.json',
        'docs/schema.md',
        'docs/schema.svg',
      ].map((path) => files.get(path));
      return { sql, json, markdown, svg } as Files;
    };
    now = await read();
    // One call more than in the migrations, and for other months.
    await database.client.exec('select crm_sync_log_ensure_partitions(7)');
    const { rows } = await database.client.query(
      "select from pg_inherits where inhparent = 'crm_sync_log'::regclass",
    );
    expect(rows).toHaveLength(9);
    await database.client.exec(leaveMonthsOut);
    later = await read();
    await database.client.exec(migration);
    changed = await read();
  });
  // Seconds, on an idle machine.
});

test('the snapshot does not depend on the date or on the number of months', () => {
  expect(later).toEqual(now);
  expect(now.sql + now.json + now.markdown + now.svg).not.toMatch(/crm_sync_log_\d|20\d\d-\d\d/);
});

test('schema.sql creates the same database as the migrations', async () => {
  await withClient(restored.url, async (client) => {
    const { rows } = await client.query(
      "select current_setting('server_version_num')::integer < 170000 as old",
    );
    // Its only setting that older servers do not have.
    await client.query(rows[0].old ? now.sql.replace('SET transaction_timeout = 0;', '') : now.sql);
  });
  // The first call creates a new catch-all, without traces of the restore.
  await restored.pool.query('select crm_sync_log_ensure_partitions()');
  await restored.pool.query(leaveMonthsOut);
  await migrated.pool.query(leaveMonthsOut);
  expect(await catalog(restored.pool)).toEqual(await catalog(migrated.pool));
});

test('schema.sql has no host object except the index on contacts', () => {
  const ofHost = now.sql.match(/^-- Name: .*\b(organisations|contacts)\b.*$/gm) ?? [];
  expect(ofHost).toEqual([]);
  expect(now.sql).toContain('CREATE UNIQUE INDEX contacts_organisation_id_id_key ON public.contacts');
  expect(now.sql).not.toMatch(/OWNER TO|pgmigrations|pg_dump version/);
});

test('schema.md has every comment', async () => {
  const { rows } = await migrated.pool.query<{ description: string }>(`
    select distinct description
    from pg_description
    left join pg_class on classoid = 'pg_class'::regclass and pg_class.oid = objoid
    left join pg_trigger on classoid = 'pg_trigger'::regclass and pg_trigger.oid = objoid
    where (
        objoid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
        or objoid in (select oid from pg_constraint where connamespace = 'public'::regnamespace)
        or objoid in (select oid from pg_proc where pronamespace = 'public'::regnamespace)
        or pg_trigger.oid is not null
      )
      and not coalesce(relispartition, false)`);
  expect(rows.length).toBeGreaterThan(150);
  expect(rows.filter(({ description }) => !now.markdown.includes(text(description)))).toEqual([]);
});

test('schema.md and schema.svg have every column and foreign key', async () => {
  const { rows: columns } = await migrated.pool.query<{ table: string; column: string }>(`
    select relname as table, attname as column
    from pg_class
    join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
      and relname !~ '^(organisations|contacts|pgmigrations)$'`);
  for (const { table, column } of columns) {
    const section = now.markdown.split(/^## /m).find((candidate) => candidate.startsWith(`${table}\n`));
    expect(section).toContain(`| \`${column}\` |`);
    const box = now.svg
      .split('<rect class="box"')
      .find((candidate) => candidate.includes(`>${table}</text>`));
    expect(box).toContain(`>${column}</text>`);
  }
  const { rows: keys } = await migrated.pool.query<{ name: string }>(
    "select conname as name from pg_constraint where contype = 'f' and conparentid = 0 and conname ~ '^(crm|contact_external_ids)_'",
  );
  expect(keys.length).toBeGreaterThan(7);
  for (const { name } of keys) expect(now.svg).toContain(`<title>${name}</title>`);
});

test('schema.sql and schema.md show roles, privileges and policies', () => {
  for (const statement of [
    'GRANT SELECT,INSERT ON TABLE public.crm_test_notes TO crm_test_app;',
    'GRANT UPDATE(note) ON TABLE public.crm_test_notes TO crm_test_app;',
    'ALTER TABLE public.crm_test_notes ENABLE ROW LEVEL SECURITY;',
    "CREATE POLICY crm_test_notes_tenant ON public.crm_test_notes FOR SELECT TO crm_test_app USING ((note = 'a|b'::text));",
  ]) {
    expect(now.sql).not.toContain(statement);
    expect(changed.sql).toContain(statement);
  }
  for (const line of [
    '- `crm_test_app`: A role for this test.',
    '| object | everyone | `crm_app` | `crm_reader` | `crm_test_app` | `crm_worker` |',
    '| [`crm_test_notes`](#crm_test_notes) | – | – | – | insert, select, update (`note`) | – |',
    '| select (`organisation_id`, `id`, `provider`, `status`) |',
    '| [`crm_sync_log_ensure_partitions`](#crm_sync_log_ensure_partitions) | – | – | – | execute | – |',
    "- `crm_test_notes_tenant`: Its own alone.\\\n  `FOR SELECT TO crm_test_app USING (note = 'a|b'::text)`",
    '| `note` | `text` | null |  | Two lines. |',
    '| [`crm_test_notes`](#crm_test_notes) | A table with a \\| and a \\*star\\*. |',
  ]) {
    expect(now.markdown).not.toContain(line);
    expect(changed.markdown).toContain(line);
  }
});

test.each(['now', 'changed'] as const)('no table overlaps another in schema.svg (%s)', (which) => {
  const { svg } = which === 'now' ? now : changed;
  const boxes = [
    ...svg.matchAll(
      /<g[^>]* transform="translate\(([\d.-]+) ([\d.-]+)\)">\s*<rect class="box" width="(\d+)" height="(\d+)"/g,
    ),
  ].map((match) => match.slice(1).map(Number) as [number, number, number, number]);
  const { sql } = which === 'now' ? now : changed;
  const partitions = [...sql.matchAll(/ ATTACH PARTITION (\S+)/g)].map(([, name]) => name);
  const tables = [...sql.matchAll(/^CREATE TABLE (\S+)/gm)].filter(([, name]) => !partitions.includes(name));
  const hostTables = 2;
  expect(boxes.length).toBe(tables.length + hostTables);
  for (const [index, [x, y, width, height]] of boxes.entries()) {
    expect(Math.min(x, y)).toBeGreaterThanOrEqual(-1);
    for (const [otherX, otherY, otherWidth, otherHeight] of boxes.slice(index + 1)) {
      const apart =
        x + width < otherX || otherX + otherWidth < x || y + height < otherY || otherY + otherHeight < y;
      expect(apart).toBe(true);
    }
  }
});

test('staleFiles returns missing and outdated files', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-test-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const fresh = new Map([
    ['schema.sql', now.sql],
    ['docs/schema.md', now.markdown],
  ]);
  expect(await staleFiles(fresh, folder)).toEqual(['schema.sql', 'docs/schema.md']);
  await mkdir(join(folder, 'docs'));
  for (const [path, content] of fresh) await writeFile(join(folder, path), content);
  expect(await staleFiles(fresh, folder)).toEqual([]);
  await writeFile(join(folder, 'schema.sql'), changed.sql);
  expect(await staleFiles(fresh, folder)).toEqual(['schema.sql']);
});

test('schema.sql and schema.md escape control characters in literals', () => {
  expect(now.sql).toContain(String.raw`btrim(external_id, E' \t\n\r\f\x0b'::text)`);
  expect(now.sql + now.markdown).not.toMatch(/[\t\r\f\v]/);
});
