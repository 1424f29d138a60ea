import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { withClient } from '../../dev/database.js';
import { contactExternalIdUnlinkMany, syncRunClaim } from '../../src/index.js';
import {
  contactErase,
  contactEraseAgain,
  ErasureKey,
  type ErasureProof,
  erasureList,
} from '../../src/migrations.js';
import { codeBlocks } from '../documents/blocks.js';
import { type Agency, agencyWithOttoline } from '../erasure/agency.js';
import { createSamples, queries, queryNames } from '../queries/every-query.js';
import { connect } from '../support/connection.js';
import { createTenant } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';
import { tenantWithIds } from '../support/identity.js';
import { insertEvents, monthName } from '../support/log-partitions.js';
import { waiting } from '../support/waiting.js';
import { caughtUp, type Side, startSide } from './sides.js';
import { contents, deleteWhatMigrationsWrote, fill, tablesOf } from './support.js';

let publisher: Side;
let subscriber: Side;
let subscriberLog = '';

beforeAll(async () => {
  publisher = await startSide({ wal_level: 'logical' }, () => {});
  subscriber = await startSide({ wal_retrieve_retry_interval: '100ms' }, (text) => {
    subscriberLog += text;
  });
  await fill(publisher.pool);
});
afterAll(async () => {
  for (const { pool, server } of [publisher, subscriber]) {
    await pool.end();
    await server.stop();
  }
});

/** The replicated tables: all except those that each side keeps itself, such as the migrations table. */
async function published(): Promise<string[]> {
  return (await tablesOf(publisher.pool)).filter((table) => !/(migrations|_emptied)$/.test(table));
}

/** The rows of every table that is replicated, whatever partition holds them. */
async function replicated({ pool }: Side): Promise<Record<string, string[]>> {
  const tables = await published();
  return Object.fromEntries(
    Object.entries(await contents(pool))
      .filter(([table]) => tables.includes(table))
      .map(([table, lines]) => [table, lines.map((line) => line.slice(line.indexOf(' '))).sort()]),
  );
}

async function expectSame(): Promise<void> {
  await caughtUp(publisher, subscriber);
  expect(await replicated(subscriber)).toEqual(await replicated(publisher));
}

test('every table has a replica identity', async () => {
  const { rows } = await publisher.pool.query(
    `select oid::regclass::text as name
     from pg_class
     where oid = any ($1::regclass[])
       and not (relreplident = 'd' and exists (select from pg_index where indrelid = pg_class.oid and indisprimary))`,
    [await published()],
  );
  expect(rows).toEqual([]);
});

/** The statements of back-up.md for the publisher that contain a text, without comments and one at a time. */
async function statementsWith(text: string): Promise<string[]> {
  const blocks = (await codeBlocks('docs/operations/back-up.md')).filter((block) =>
    block.text.includes(text),
  );
  expect(blocks).toHaveLength(1);
  const [publishers = ''] = blocks[0]?.text.split('-- On the subscriber') ?? [];
  return publishers
    .replaceAll(/^--.*$/gm, '')
    .split(';')
    .map((statement) => statement.trim())
    .filter(Boolean);
}

/** The tables that a statement names. */
const tablesIn = (statement: string) =>
  statement.replace(/ with \(.*/s, '').match(/\b(organisations|contacts|contact_\w+|crm_\w+)\b/g) ?? [];

test('existing rows are copied', async () => {
  const [role = '', grant = '', publication = ''] = await statementsWith('create publication crm_schema for');
  for (const statement of [grant, publication]) {
    const named = tablesIn(statement).filter((name) => !['crm_replication', 'crm_schema'].includes(name));
    expect(named.sort()).toEqual(await published());
  }
  // As they are with 1.5.1: what 1.6.0 adds is published later.
  const added = /, crm_erasures, crm_erasure_salts, crm_erased_records/;
  expect(role).toContain('bypassrls');
  await publisher.pool.query(role.replace('…', 'test'));
  for (const statement of [grant, publication]) await publisher.pool.query(statement.replace(added, ''));
  await deleteWhatMigrationsWrote(subscriber.pool);
  const { hostname, port } = new URL(publisher.server.url);
  await subscriber.pool.query(
    `create subscription crm_schema
     connection 'host=${hostname} port=${port} dbname=postgres user=crm_replication password=test options=-crow_security=off'
     publication crm_schema
     with (disable_on_error = true)`,
  );
  await caughtUp(publisher, subscriber);
  expect((await replicated(subscriber)).crm_erasures).toEqual([]);

  for (const statement of await statementsWith('add table crm_erasures'))
    await publisher.pool.query(statement);
  await subscriber.pool.query('alter subscription crm_schema refresh publication');
  await expectSame();
  expect((await replicated(subscriber)).crm_erasures?.length).toBeGreaterThan(0);
  const filled = Object.values(await replicated(subscriber)).filter((lines) => lines.length > 0);
  expect(filled.length).toBeGreaterThanOrEqual(9);
});

test('later changes are replicated: every statement, changes of keys, and deletions', async () => {
  const { pool } = publisher;
  const samples = await createSamples(pool);
  for (const name of queryNames) {
    for (const params of samples[name]) await queries[name].run(params, pool);
  }
  const tenant = await tenantWithIds(pool, ['reapit contact 1', 'reapit landlord 1']);
  const { organisationId, link } = tenant;
  await contactExternalIdUnlinkMany(pool, { organisationId, links: [link(0, 'reapit contact 1')] });
  const { rows } = await pool.query(
    `delete from contacts
     where id in (select contact_id from contact_external_ids)
     returning id`,
  );
  expect(rows.length).toBeGreaterThan(0);
  await pool.query("update contact_external_ids set external_id = external_id || '-moved'");
  await expectSame();
  // The history of ids arrives, and is not written a second time by the subscriber's triggers.
  const kinds = await subscriber.pool.query('select distinct kind from contact_external_id_changes');
  expect(kinds.rows.map(({ kind }) => kind)).toEqual(
    expect.arrayContaining([
      'contact_deleted',
      'contacts_merged',
      'promoted',
      'records_merged',
      'repointed',
      'unlinked',
    ]),
  );
});

test('a deleted event is deleted on the subscriber too, despite its append-only triggers', async () => {
  const client = await publisher.pool.connect();
  await client.query("set session_replication_role = 'replica'");
  const { rowCount } = await client.query(
    // The second is in the catch-all, which is empty from now on.
    "delete from crm_sync_log where status = 'skipped' or occurred_at > '2099-01-01'",
  );
  client.release(true);
  expect(rowCount).toBeGreaterThan(0);
  await expectSame();
});

test('an erased person is erased on the subscriber too', async () => {
  const { organisationId, ottoline, duplicate, hers } = await agencyWithOttoline(publisher.pool);
  await caughtUp(publisher, subscriber);
  const before = (await Promise.all(hers.map((text) => placesOf(subscriber.pool, text)))).flat();
  expect(before.filter((place) => place.startsWith('crm_sync_log')).length).toBeGreaterThan(5);

  await eraseContacts(publisher.pool, organisationId, [ottoline, duplicate]);
  await expectSame();
  for (const text of hers) expect(await placesOf(subscriber.pool, text)).toEqual([]);
});

test('a month created on one side does not stop replication', async () => {
  const made = await publisher.pool.query('select crm_sync_log_ensure_partitions(4)');
  expect(made.rows.length).toBeGreaterThan(0);
  const { organisationId } = await createTenant(publisher.pool);
  const key = await connect(publisher.pool, organisationId);
  const inFourMonths = new Date();
  inFourMonths.setUTCMonth(inFourMonths.getUTCMonth() + 4, 1);
  const event = { direction: 'inbound', entityType: 'contact', externalId: '1', status: 'success' } as const;
  await insertEvents(publisher.pool, {
    ...key,
    events: [{ ...event, occurredAt: inFourMonths.toISOString() }],
  });
  await expectSame();
});

test('events that leave the catch-all are replicated twice: skipping the transaction resumes', async () => {
  const { organisationId } = await createTenant(publisher.pool);
  const key = await connect(publisher.pool, organisationId);
  const inSixMonths = new Date();
  inSixMonths.setUTCMonth(inSixMonths.getUTCMonth() + 6, 1);
  const event = { direction: 'inbound', entityType: 'contact', externalId: '1', status: 'success' } as const;
  await insertEvents(publisher.pool, {
    ...key,
    events: [{ ...event, occurredAt: inSixMonths.toISOString() }],
  });
  await expectSame();

  await publisher.pool.query('select crm_sync_log_ensure_partitions(6)');
  const finishedAt = /ERROR: .*(duplicate key|insert_exists)[\s\S]*?finished at ([0-9A-F]+\/[0-9A-F]+)/;
  await vi.waitFor(() => expect(subscriberLog).toMatch(finishedAt), waiting);
  await vi.waitFor(async () => {
    const { rows } = await subscriber.pool.query('select subenabled from pg_subscription');
    expect(rows).toEqual([{ subenabled: false }]);
  }, waiting);
  const position = finishedAt.exec(subscriberLog)?.[2];
  await subscriber.pool.query(`alter subscription crm_schema skip (lsn = '${position}')`);
  await subscriber.pool.query('alter subscription crm_schema enable');
  await expectSame();
});

/** Whose events are in a month that is detached on both sides. */
let detached: { agency: Agency; proofs: ErasureProof[] };
const key = ErasureKey.parse(Buffer.alloc(32, 'test').toString('base64'));

test('an erasure does not reach a month that is detached on the subscriber', async () => {
  const agency = await agencyWithOttoline(publisher.pool);
  await caughtUp(publisher, subscriber);
  for (const { pool } of [publisher, subscriber]) {
    await pool.query(`alter table crm_sync_log detach partition ${monthName(0)}`);
    await pool.query('select crm_sync_log_ensure_past()');
  }
  const { organisationId, ottoline, hers } = agency;
  await withClient(publisher.server.url, async (client) => {
    await contactErase(client, key, { organisationId, contactId: ottoline });
    detached = { agency, proofs: await erasureList(client) };
  });
  await caughtUp(publisher, subscriber);
  const left = async ({ pool }: Side) => (await Promise.all(hers.map((text) => placesOf(pool, text)))).flat();
  expect(await left(publisher)).toEqual([]);
  const tables = new Set((await left(subscriber)).map((place) => place.split(' ')[0]));
  expect([...tables]).toEqual([monthName(0)]);
});

test('the subscriber can take over after its sequences are set', async () => {
  const { pool } = subscriber;
  const last = await publisher.pool.query('select max(id) as id from crm_sync_runs');
  await pool.query('drop subscription crm_schema');
  const { rows } = await pool.query(
    `select format(
       'select setval(%L, coalesce(max(%I), 0) + 1000000) from %s',
       pg_get_serial_sequence(attrelid::regclass::text, attname), attname, attrelid::regclass
     ) as statement
     from pg_attribute
     join pg_class on pg_class.oid = attrelid
     where relnamespace = 'public'::regnamespace
       and relkind in ('r', 'p')
       and not relispartition
       and attidentity <> ''`,
  );
  expect(rows.length).toBeGreaterThanOrEqual(3);
  for (const { statement } of rows) await pool.query(statement);
  await pool.query('update crm_connections set next_sync_at = now() where next_sync_at is not null');
  const [run] = await syncRunClaim(pool, { worker: 'test', limit: 1 });
  expect(BigInt(run?.runId ?? 0)).toBeGreaterThan(BigInt(last.rows[0].id));
  const samples = await createSamples(pool);
  for (const name of queryNames) {
    for (const params of samples[name]) await queries[name].run(params, pool);
  }
  await expect(pool.query('delete from crm_sync_log')).rejects.toMatchObject({ code: 'CRM02' });
  // An alias cannot become a primary id as well.
  const { rowCount } = await pool.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select alias.organisation_id, alias.provider, alias.entity_type, alias.external_id, contacts.id
     from contact_external_id_aliases as alias
     inner join contacts
       on contacts.organisation_id = alias.organisation_id
       and contacts.id <> alias.contact_id`,
  );
  expect(rowCount).toBe(0);
});

test('after the switch-over, the person is erased again from the month that is detached', async () => {
  const { agency, proofs } = detached;
  const repeated = await withClient(subscriber.server.url, (client) =>
    contactEraseAgain(client, key, proofs),
  );
  expect(repeated).toContainEqual(
    expect.objectContaining({ organisationId: agency.organisationId, outcome: 'erased' }),
  );
  for (const text of agency.hers) expect(await placesOf(subscriber.pool, text)).toEqual([]);
});
