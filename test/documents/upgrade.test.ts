import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { contactExternalIdLinkMany, externalRecordListByContacts } from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';
import { monthName } from '../support/log-partitions.js';
import { migrations } from '../support/migrations.js';
import { waiting } from '../support/waiting.js';
import { migrateTo, useInstallation, useLogins } from '../upgrades/installation.js';
import { releases } from '../upgrades/releases.js';
import { codeBlocks } from './blocks.js';

const { pool } = useDatabase();

/** The strongest lock that a text names first; `none` if it names none. */
function lockIn(text: string): string {
  return /ACCESS EXCLUSIVE|SHARE ROW EXCLUSIVE|SHARE UPDATE EXCLUSIVE|\bSHARE\b/.exec(text)?.[0] ?? 'none';
}

test('each table of locks in upgrade.md since 0013 names the lock in each header', async () => {
  const page = await readFile(projectPath('docs/operations/upgrade.md'), 'utf8');
  const shown = new Map(
    [...page.matchAll(/^ *\| (00\d\d) \| ([^|]*) \|/gm)].map(([, file, lock = '']) => [file, lock]),
  );
  expect(shown.size).toBeGreaterThan(7);
  for (const { file, up } of migrations.slice(12)) {
    const [, header = ''] = /^-- Locks:\s+([\s\S]*?)^-- Scans:/m.exec(up) ?? [];
    expect(lockIn(shown.get(file.slice(0, 4)) ?? ''), file).toBe(lockIn(header));
  }
});

/** The header of a migration, each paragraph on one line. */
function headerOf(number: string): string {
  const { up = '' } = migrations.find(({ file }) => file.startsWith(number)) ?? {};
  return up.replaceAll(/\n--\s+/g, ' ');
}

/** Runs a query of 1.3.1. */
async function run(name: string, params: Record<string, unknown>) {
  const query = releases
    .find(({ version }) => version === '1.3.1')
    ?.queries.find((each) => each.name === name);
  if (query === undefined) return expect.unreachable(`1.3.1 has no ${name}`);
  const values = query.parameterNames.map((parameter) => {
    expect(params, parameter).toHaveProperty(parameter);
    return params[parameter];
  });
  return (await pool.query(query.text, values)).rows;
}

/** An organisation with a contact that has a primary id and an alias at Reapit, and a contact without ids. */
async function createAlias() {
  const { organisationId, contactIds } = await createTenant(pool, 2);
  const [contactId = '', other = ''] = contactIds;
  const ids = ['OXF1', 'OXF2'];
  const links = ids.map(
    (externalId) => ({ provider: 'reapit', entityType: 'contact', externalId, contactId }) as const,
  );
  await contactExternalIdLinkMany(pool, { organisationId, links, ifContactTaken: 'alias' });
  const record = (externalId: string, contact: string) => ({
    organisationId,
    providers: ['reapit'],
    entityTypes: ['contact'],
    externalIds: [externalId],
    contactIds: [contact],
  });
  return { organisationId, contactId, other, record };
}

test('1.3.1 beside 1.4.0 does not find an alias, and cannot link it to another contact', async () => {
  const { organisationId, other, record } = await createAlias();
  const asked = { organisationId, provider: 'reapit', entityType: 'contact', externalIds: ['OXF1', 'OXF2'] };
  expect(await run('contactExternalIdResolve', asked)).toMatchObject([{ externalId: 'OXF1' }]);
  expect(await run('contactExternalIdLink', record('OXF2', other))).toMatchObject([{ outcome: 'retry' }]);
});

test('1.3.1 beside 1.4.0 promotes no alias when it unlinks a primary id', async () => {
  const { organisationId, contactId, record } = await createAlias();
  await run('contactExternalIdUnlink', record('OXF1', contactId));
  expect(await externalRecordListByContacts(pool, { organisationId, contactIds: [contactId] })).toMatchObject(
    [{ externalId: 'OXF2', isPrimary: false }],
  );
});

describe.each([
  ['0049', 'external_id_idx', '(organisation_id, external_id)', 'crm_sync_log_external_id_idx'],
  ['0056', 'contact_idx', 'btree (internal_id)', 'crm_sync_log_contact_idx'],
])('the index that upgrade.md builds before %s', (number, suffix, columns, parent) => {
  const logins = useLogins();
  const database = useInstallation(logins);
  const file = migrations.findIndex((migration) => migration.file.startsWith(number));
  const month = monthName(0);

  /** What the query of the page makes for this month. */
  async function statementOfThePage(): Promise<string> {
    const block = (await codeBlocks('docs/operations/upgrade.md')).find(({ text }) =>
      text.includes('\\gexec'),
    );
    const query = block?.text.split('\\gexec').find((text) => text.includes(`'_${suffix}'`)) ?? '';
    const { rows } = await database.pool.query<{ format: string }>(query);
    return rows.find(({ format }) => format.includes(` on ${month} `))?.format ?? '';
  }

  /** The indexes of this month on these columns alone. */
  async function indexes() {
    const { rows } = await database.pool.query(
      `select index.indexrelid::regclass::text as name, parent.inhparent::regclass::text as parent
       from pg_index as index
       left join pg_inherits as parent on parent.inhrelid = index.indexrelid
       where index.indrelid = $1::regclass
         and strpos(pg_get_indexdef(index.indexrelid), $2) > 0`,
      [month, columns],
    );
    return rows;
  }

  beforeAll(() => migrateTo(database, logins, file));

  test('is the one in the header', async () => {
    expect(headerOf(number)).toContain(
      (await statementOfThePage()).replaceAll(month, 'crm_sync_log_2026_11'),
    );
  });

  test('is refused if its build was interrupted, and the error says what to drop', async () => {
    await interrupt(await statementOfThePage(), month);
    const dropping = `drop index concurrently public.${month}_${suffix}`;
    await expect(migrateTo(database, logins, file + 1)).rejects.toMatchObject({
      code: 'CRM01',
      message: expect.stringContaining(`${month}_${suffix}`),
      hint: expect.stringContaining(`${dropping};`),
    });
    await withClient(database.url, (client) => client.query(dropping));
  });

  test('is taken over, instead of building one', async () => {
    const statement = await statementOfThePage();
    await withClient(database.url, (client) => client.query(statement));
    expect(await indexes()).toEqual([{ name: `${month}_${suffix}`, parent: null }]);
    await migrateTo(database, logins, file + 1);
    expect(await indexes()).toEqual([{ name: `${month}_${suffix}`, parent }]);
  });

  /** Cancels the build of an index while it waits for somebody who writes to the table. */
  async function interrupt(build: string, table: string): Promise<void> {
    await withClient(database.url, async (writer) => {
      await writer.query('begin');
      await writer.query(`lock table ${table} in row exclusive mode`);
      await withClient(database.url, async (builder) => {
        const { rows } = await builder.query('select pg_backend_pid() as pid');
        const refusal = expect(builder.query(build)).rejects.toMatchObject({ code: '57014' });
        await vi.waitFor(async () => {
          const { rowCount } = await database.pool.query(
            'select from pg_index where indrelid = $1::regclass and not indisvalid',
            [table],
          );
          expect(rowCount).toBe(1);
        }, waiting);
        await database.pool.query('select pg_cancel_backend($1)', [rows[0].pid]);
        await refusal;
      });
    });
  }
});

test.each([
  ['upgrade.md', '0056', 'contact_idx'],
  ['erasure.md', '0049', 'external_id_idx'],
])('%s builds the index of %s for the months that it does not reach', async (page, number, suffix) => {
  const [, statement = ''] =
    new RegExp(`psql -c '(create index concurrently \\w+_${suffix} [^']*)'`).exec(
      await readFile(projectPath(`docs/operations/${page}`), 'utf8'),
    ) ?? [];
  expect(statement).toContain('crm_sync_log_2026_05');
  expect(headerOf(number)).toContain(statement.replaceAll('2026_05', '2026_11'));
});

test('migrations.md lists each file, in order', async () => {
  const page = await readFile(projectPath('docs/migrations.md'), 'utf8');
  const listed = [...page.matchAll(/^\| `(\d{4}_\w+)` \|/gm)].map(([, name]) => `${name}.sql`);
  expect(listed).toEqual(migrations.map(({ file }) => file));
});
