import { randomBytes } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { organisationRows } from '../../src/erasure/organisation-erasure.js';
import { connectionDisconnect, contactExport } from '../../src/index.js';
import { contactErase, ErasureKey, erasureList } from '../../src/migrations.js';
import { useDatabase } from '../support/database.js';
import { monthName } from '../support/log-partitions.js';
import { type Agency, agencyWithOttoline } from './agency.js';
import { asOwner } from './owner.js';

// FORCE ROW LEVEL SECURITY holds the owner as well. What it hides must not be taken for nothing.

const { pool } = useDatabase();
const key = ErasureKey.parse(randomBytes(32).toString('base64'));

let agency: Agency;
let tables: string[];

beforeAll(async () => {
  agency = await agencyWithOttoline(pool);
  const { organisationId } = agency;
  const { rows: live } = await pool.query("select id from crm_connections where status <> 'disconnected'");
  for (const { id } of live) await connectionDisconnect(pool, { organisationId, connectionId: id });
  const { rows } = await pool.query(
    `select relname as name
     from pg_class
     where relnamespace = 'public'::regnamespace
       and relkind in ('r', 'p')
       and not relispartition
       and relrowsecurity
       and relname <> 'crm_retention'
     order by relname`,
  );
  tables = [...rows.map(({ name }) => name), monthName(0)];
});

test('nobody is erased, counted or exported by an owner whom row-level security holds on any table', async () => {
  const { organisationId, ottoline } = agency;
  const contact = { organisationId, contactId: ottoline };
  expect(tables.length).toBeGreaterThan(15);
  await asOwner(pool, async (client) => {
    await client.query('savepoint unforced');
    for (const table of tables) {
      await client.query(`alter table ${table} force row level security; savepoint forced`);
      const attempts: Record<string, () => Promise<unknown>> = {
        contactErase: () => contactErase(client, key, contact),
        erasureList: () => erasureList(client),
        organisationRows: () => organisationRows(client, organisationId),
        contactExport: async () => {
          for await (const _ of contactExport(client, contact));
        },
        crm_contact_records: () =>
          client.query('select crm_contact_records($1, $2)', [organisationId, [ottoline]]),
        crm_erase_organisation: () =>
          client.query("select crm_erase_organisation($1, '', repeat('0', 16), 1)", [organisationId]),
        crm_readmit_record: () =>
          client.query("select crm_readmit_record($1, 'reapit', 'contact', '1')", [organisationId]),
      };
      for (const [name, attempt] of Object.entries(attempts)) {
        const error = await attempt().then(
          () => null,
          (reason: unknown) => reason,
        );
        expect(error, `${name} ${table}`).toMatchObject({
          code: 'CRM01',
          message: expect.stringMatching(
            new RegExp(`^row-level security may hide rows from user .*: .*${table}`),
          ),
          hint: expect.stringContaining(`alter table public.${table} no force row level security`),
        });
        await client.query('rollback to forced');
      }
      await client.query('rollback to unforced');
    }
    // Without it, the owner sees everything.
    expect(await contactErase(client, key, contact)).toMatchObject({ counts: { crm_sync_log: 7 } });
    expect(await erasureList(client)).toHaveLength(1);
  });
});

test.each(['crm_erasure_salts', 'crm_erased_records'])(
  'an owner whom row-level security holds on %s does not take an erased record for another one',
  async (table) => {
    const { organisationId, ottoline, hers } = agency;
    await asOwner(pool, async (client) => {
      await contactErase(client, key, { organisationId, contactId: ottoline });
      await client.query(`alter table ${table} force row level security; savepoint forced`);
      for (const [sql, value] of [
        ["select crm_find_erased_records($1, '{reapit}', '{contact}', array[$2])", hers.at(-1)],
        ['select crm_find_erased_contacts($1, array[$2::uuid])', ottoline],
        ["select crm_note_unlinked_record($1, 'reapit', 'contact', $2)", hers.at(-1)],
      ] as const) {
        await expect(client.query(sql, [organisationId, value])).rejects.toMatchObject({
          code: '42501',
          message: expect.stringContaining('row-level security'),
        });
        await client.query('rollback to forced');
      }
    });
  },
);
