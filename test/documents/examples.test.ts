import { readFile } from 'node:fs/promises';
import { beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { columns } from '../../examples/contact-fields.js';
import { type Crm, CrmError, type CrmPage, type CrmPosition, type CrmRecord } from '../../examples/crm.js';
import { syncNext } from '../../examples/sync-worker.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionListWithHealth,
  connectionRequestSync,
  syncFailureList,
  syncRunListByConnection,
  withOrganisation,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const app = useMember(database, 'crm_app');
const worker = useMember(database, 'crm_worker');
// The owner of contacts grants this to users that write them.
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_app, crm_worker');
});

/** Creates the trigger of the example for the duration of a test. */
async function createTrigger(): Promise<void> {
  await pool.query(await readFile(projectPath('examples/contacts-trigger.sql'), 'utf8'));
  onTestFinished(async () => {
    await pool.query('drop function note_contact_change cascade');
    await pool.query('delete from crm_outbound_changes');
  });
}

test.each(Object.values(columns))('the trigger records an edit of the %s alone', async (column) => {
  await createTrigger();
  const { organisationId, contactIds } = await createTenant(pool, 1);
  await connect(pool, organisationId);
  const edit = () =>
    pool.query(`update contacts set ${column} = 'ottoline@example.com' where id = $1`, contactIds);
  const changes = async () => (await pool.query('select contact_id from crm_outbound_changes')).rows;
  expect(await changes()).toEqual([]);
  await edit();
  expect(await changes()).toEqual([{ contact_id: contactIds[0] }]);
  await pool.query('delete from crm_outbound_changes');
  await edit();
  expect(await changes()).toEqual([]);
});

test('the trigger records a change once for each connection except the one it came from, also for a time after it was disconnected', async () => {
  await createTrigger();
  const { organisationId } = await createTenant(pool);
  await connect(pool, (await createTenant(pool)).organisationId);
  const reapit = await connect(pool, organisationId, 'reapit');
  const alto = await connect(pool, organisationId, 'alto');
  const street = await connect(pool, organisationId, 'street');
  const loop = await connect(pool, organisationId, 'loop');
  for (const left of [street, loop]) await connectionDisconnect(pool, left);
  await pool.query("update crm_connections set kept_changes = 'expired' where id = $1", [loop.connectionId]);
  const contactId = '00000000-0000-4000-8000-00000000000c';
  const noted = async () => {
    const { rows } = await pool.query(
      'select connection_id, version from crm_outbound_changes where contact_id = $1 order by connection_id',
      [contactId],
    );
    return new Map(rows.map(({ connection_id, version }) => [connection_id, version]));
  };
  const asApp = (statement: string, values: string[]) =>
    withOrganisation(app, organisationId, (client) => client.query(statement, values));
  const rename = (name: string) => asApp('update contacts set name = $2 where id = $1', [contactId, name]);

  await asApp('insert into contacts (id, organisation_id, name) values ($1, $2, $3)', [
    contactId,
    organisationId,
    'Test Person',
  ]);
  const first = await noted();
  expect([...first.keys()].toSorted()).toEqual(
    [reapit, alto, street].map(({ connectionId }) => connectionId).toSorted(),
  );

  await rename('Test Person');
  expect(await noted()).toEqual(first);

  await withClient(worker.options.connectionString as string, async (client) => {
    await client.query('begin');
    await client.query("select set_config('crm_schema.from_connection_id', $1, true)", [reapit.connectionId]);
    await client.query("update contacts set name = 'Test Person 2' where id = $1", [contactId]);
    await client.query('commit');
  });
  const second = await noted();
  expect(second.get(reapit.connectionId)).toBe(first.get(reapit.connectionId));
  expect(second.get(alto.connectionId)).not.toBe(first.get(alto.connectionId));

  await rename('Test Person 3');
  expect((await noted()).get(reapit.connectionId)).not.toBe(first.get(reapit.connectionId));
});

describe('sync-worker.ts, with an untrustworthy CRM,', () => {
  let key: ConnectionKey;
  beforeEach(async () => {
    // The worker reports what it cannot store; these tests look at the database instead.
    vi.spyOn(console, 'error').mockImplementation(() => {});
    await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
    key = await connect(pool, (await createTenant(pool)).organisationId, 'custom');
  });

  const named = (externalId: string, name: string, rest: Partial<CrmRecord> = {}): CrmRecord => ({
    entityType: 'contact',
    externalId,
    name,
    state: 'active',
    ...rest,
  });
  /** The only page of a pass. */
  const pass = (records: CrmRecord[], syncedTo = '2026-11-16T09:00:00Z'): CrmPage => ({
    records,
    isLast: true,
    next: null,
    syncedTo,
  });

  /** Syncs once with a CRM that has these pages. Returns the position that each was requested from. */
  async function sync(pages: CrmPage[], rest: Partial<Crm> = {}): Promise<CrmPosition[]> {
    await connectionRequestSync(pool, { ...key, connectionIds: [key.connectionId], isUrgent: true });
    const asked: CrmPosition[] = [];
    const crm: Crm = {
      entityTypes: ['contact', 'contact'],
      async readPage(_, from) {
        asked.push(from);
        return pages[asked.length - 1] ?? pass([]);
      },
      read: async () => null,
      write: async () => null,
      ...rest,
    };
    expect(await syncNext({ name: 'test', pool: worker, openCrm: async () => crm, leaseSeconds: 60 })).toBe(
      true,
    );
    return asked;
  }

  async function people(): Promise<string[]> {
    const { rows } = await pool.query(
      `select coalesce(external_id, '-') || ' ' || name as text
       from contacts left join contact_external_ids on contact_id = contacts.id
       where contacts.organisation_id = $1 order by 1`,
      [key.organisationId],
    );
    return rows.map(({ text }) => text);
  }

  test('keeps the contact of a merged record when the surviving record is on the same page', async () => {
    await sync([pass([named('a', 'Test Person 1')])]);
    const merged = named('a', '', { state: 'merged', mergedInto: 'b' });
    await sync([pass([merged, named('b', 'Test Person 2'), named('b', 'Test Person 3')])]);
    expect(await people()).toEqual(['b Test Person 3']);
  });

  test('records a page without its broken records, and keeps those as failures', async () => {
    const records = [
      named('1', 'Test Person 1'),
      named('x'.repeat(600), 'Test Person 2'),
      named('3', null as unknown as string),
      named('4', 'Test Person 4'),
    ];
    await sync([pass(records)]);
    expect(await people()).toEqual(['1 Test Person 1', '4 Test Person 4']);
    expect(await syncFailureList(pool, key)).toMatchObject([{ recordId: '3', error: { kind: 'internal' } }]);
    const [run] = await syncRunListByConnection(pool, key);
    expect(run).toMatchObject({ outcome: 'success', successCount: '2', errorCount: '2' });
  });

  test('repeats the page after a deadlock, and records no failure', async () => {
    await pool.query(`
      create sequence inserts;
      grant usage on sequence inserts to crm_worker;
      create function first_deadlocks() returns trigger language plpgsql as $$
      begin
        if nextval('inserts') = 1 then raise exception using errcode = '40P01'; end if;
        return new;
      end $$;
      create trigger first_deadlocks before insert on contacts for each row execute function first_deadlocks()`);
    onTestFinished(async () => {
      await pool.query('drop function first_deadlocks cascade; drop sequence inserts');
    });
    const records = [named('1', 'Test Person 1'), named('2', 'Test Person 2')];
    await sync([pass(records)]);
    expect(await people()).toEqual(['1 Test Person 1', '2 Test Person 2']);
    expect(await syncFailureList(pool, key)).toEqual([]);
  });

  test('does not change a contact that is linked to another record', async () => {
    await sync([pass([named('1', 'Test Person 1')])]);
    const { rows } = await pool.query('select id from contacts where organisation_id = $1', [
      key.organisationId,
    ]);
    await sync([pass([named('2', 'Taken Over', { reference: rows[0].id })])]);
    expect(await people()).toEqual(['1 Test Person 1']);
    expect(await syncFailureList(pool, key)).toMatchObject([{ recordId: '2', error: { kind: 'conflict' } }]);
  });

  test('does not move the cursor into the future, and stops at a page that repeats', async () => {
    await sync([pass([], '9998-01-01T00:00:00Z')]);
    expect(await sync([])).toEqual([{ changedSince: expect.stringMatching(/^20/) }]);
    const [health] = await connectionListWithHealth(pool, { ...key, failuresSince: new Date() });
    expect(health?.lagSeconds).toBeGreaterThanOrEqual(0);
    const pages = Array.from({ length: 5 }, (): CrmPage => ({ records: [], next: 'same', isLast: false }));
    expect(await sync(pages)).toHaveLength(2);
    const [run] = await syncRunListByConnection(pool, key);
    expect(run).toMatchObject({ outcome: 'failed', error: { kind: 'provider' } });
  });

  test.each([Number.NaN, 200.5, 1e9])(
    'finishes its run when the CRM asks to retry after %s seconds',
    async (seconds) => {
      await sync([], {
        readPage() {
          throw new CrmError('provider', `\0${'x'.repeat(600)}`, {
            retryable: true,
            retryAfterSeconds: seconds,
            code: ' ',
          });
        },
      });
      const [run] = await syncRunListByConnection(pool, key);
      expect(run).toMatchObject({ outcome: 'failed', error: { kind: 'provider', message: 'x'.repeat(500) } });
    },
  );
});
