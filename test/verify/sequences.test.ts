import { beforeAll, expect, test } from 'vitest';
import {
  type ConnectionKey,
  contactExternalIdLink,
  contactMerge,
  outboundChangeRecord,
  syncRunClaim,
} from '../../src/index.js';
import { verify } from '../../src/verify/verify.js';
import { connect } from '../support/connection.js';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { makeDue } from '../support/sync.js';
import { differencesIn } from './support.js';

const { pool } = useDatabase();
let key: ConnectionKey;

beforeAll(async () => {
  // Two agencies: the highest number may be either's.
  for (const _ of [1, 2]) {
    const { organisationId, contactIds } = await createTenant(pool, 2);
    const [fromContactId, intoContactId] = contactIds as [string, string];
    key = await connect(pool, organisationId);
    const record = { provider: 'reapit', entityType: 'contact', externalId: 'OXF1' } as const;
    await contactExternalIdLink(pool, { organisationId, ...record, contactId: fromContactId });
    await outboundChangeRecord(pool, { organisationId, contactIds });
    await contactMerge(pool, { organisationId, fromContactId, intoContactId });
    const values = [organisationId, key.connectionId];
    await pool.query(
      `insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at, ended_at, outcome)
       values ($1, $2, 'test', now(), now(), now() + interval '1 minute', now(), 'cancelled')`,
      values,
    );
    await pool.query(
      `insert into crm_sync_failures
         (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, gave_up_at)
       values ($1, $2, 'inbound', 'contact', 'X', 1, '{"kind": "internal", "retryable": false, "message": "Test."}', now(), now(), now())`,
      values,
    );
    await pool.query(
      `insert into crm_sync_conflicts (organisation_id, connection_id, entity_type, external_id, contact_id, kept, first_seen_at, last_seen_at, occurrences)
       values ($1, $2, 'contact', 'X', $3, 'crm', now(), now(), 1)`,
      [...values, intoContactId],
    );
    await pool.query(
      `insert into crm_erasures (organisation_id, subject, key_id, subject_hashes, counts)
       values ($1, 'contact', '0123456789abcdef', array[decode(repeat('0a', 32), 'hex')], '{}')`,
      [organisationId],
    );
  }
});

async function differences() {
  const client = await pool.connect();
  try {
    return (await verify(client)).differences;
  } finally {
    client.release();
  }
}

test('sequences that are ahead of their tables do not differ', async () => {
  expect(await differences()).toEqual([]);
});

test.each([
  ['crm_sync_runs', 'id'],
  ['crm_sync_failures', 'id'],
  ['crm_sync_conflicts', 'id'],
  ['crm_outbound_changes', 'version'],
  ['crm_erasures', 'id'],
  ['contact_external_id_changes', 'id'],
])('the sequence of %s is behind its table, and the repair sets it', async (table, column) => {
  const sequence = `public.${table}_${column}_seq`;
  const { rows } = await pool.query(`select max(${column})::text as top from ${table}`);
  // As if nothing had been numbered: a restore of the rows alone.
  await pool.query('select setval($1, 1, false)', [sequence]);
  const [difference, ...others] = await differences();
  expect(others).toEqual([]);
  expect(difference).toMatchObject({
    kind: 'sequence',
    name: `numbers of public.${table}.${column}`,
    expected: `at least ${rows[0].top}, which a row has`,
    found: '0: the next rows get numbers that are taken',
    statements: [`select setval('${sequence}', ${rows[0].top})`],
  });
  for (const statement of difference?.statements ?? []) await pool.query(statement);
  expect(await differences()).toEqual([]);
});

test('a user who does not see every row is not told about sequences', async () => {
  await pool.query("select setval('crm_sync_runs_id_seq', 1, false)");
  const seen = await rolledBack(pool, async (client) => {
    await client.query('set local role crm_app');
    return differencesIn(client);
  });
  expect(seen.filter(({ kind }) => kind === 'sequence')).toEqual([]);
  expect(await differences()).toHaveLength(1);
});

test('a sequence is compared also where other tables differ, but not where its own table does', async () => {
  await pool.query(
    "select setval('crm_sync_runs_id_seq', 1, false), setval('crm_sync_failures_id_seq', 1, false)",
  );
  const numbersAfter = (damage: string) =>
    rolledBack(pool, async (client) => {
      await client.query(damage);
      const seen = await differencesIn(client);
      return seen.flatMap(({ kind, name }) => (kind === 'sequence' ? [name] : []));
    });
  const [runs, failures] = ['numbers of public.crm_sync_runs.id', 'numbers of public.crm_sync_failures.id'];
  expect(await numbersAfter('alter table crm_sync_runs set (autovacuum_enabled = off)')).toEqual([
    runs,
    failures,
  ]);
  expect(await numbersAfter('drop table crm_retention')).toEqual([runs, failures]);
  expect(await numbersAfter('alter table crm_sync_runs alter worker type varchar(200)')).toEqual([failures]);
  expect(await numbersAfter('alter table crm_connections rename to crm_theirs')).toEqual([failures]);
});

test('a run that gets a number that is taken fails with the name of the sequence', async () => {
  const { rows } = await pool.query(
    'select id from crm_sync_runs where connection_id = $1 order by id desc limit 1',
    [key.connectionId],
  );
  await pool.query("select setval('crm_sync_runs_id_seq', $1, false)", [rows[0].id]);
  await makeDue(pool, key);
  await expect(syncRunClaim(pool, { worker: 'test', limit: 1 })).rejects.toMatchObject({
    code: 'invalid_input',
    message: expect.stringContaining('crm_sync_runs_id_seq'),
  });
});
