import type pg from 'pg';
import { beforeEach, expect, test } from 'vitest';
import {
  contactExternalIdLink,
  contactExternalIdLock,
  contactMerge,
  externalRecordListByContacts,
} from '../../src/index.js';
import { blockWith } from '../documents/blocks.js';
import { useDatabase } from '../support/database.js';
import { recordOf, tenantWithIds } from '../support/identity.js';
import { waitUntilBlocked } from '../support/locks.js';
import { releases } from './releases.js';

// What docs/operations/upgrade.md says that 1.3.1 does not know on the schema of 1.4.0, and the way back.

const { pool, url } = useDatabase();
const released = releases.find(({ version }) => version === '1.3.1');

let tenant: Awaited<ReturnType<typeof tenantWithIds>>;
beforeEach(async () => {
  tenant = await tenantWithIds(pool, ['reapit contact 1', 'reapit landlord 1'], []);
});

/** Runs a statement of 1.3.1 for one external id. */
async function run(
  name: string,
  id: string,
  params: Record<string, unknown>,
  client: pg.Pool | pg.PoolClient = pool,
): Promise<unknown[]> {
  const { provider, entityType, externalId } = recordOf(id);
  const all: Record<string, unknown> = {
    organisationId: tenant.organisationId,
    providers: [provider],
    entityTypes: [entityType],
    externalIds: [externalId],
    ...params,
  };
  const query = released?.queries.find((each) => each.name === name);
  if (query === undefined) throw new Error(`1.3.1 has no query ${name}.`);
  const { rows } = await client.query(
    query.text,
    query.parameterNames.map((parameter) => all[parameter]),
  );
  return rows;
}

test('a contact whose primary id 1.3.1 unlinked is listed, and linking its alias again promotes it', async () => {
  const { organisationId, contact, ids, link } = tenant;
  const without = await blockWith('upgrade.md', 'from contact_external_id_aliases as alias');
  const listed = async () => (await pool.query(without)).rows.map(({ contact_id }) => contact_id);
  expect(await listed()).not.toContain(contact(0));
  expect(await run('contactExternalIdUnlink', 'reapit contact 1', { contactIds: [contact(0)] })).toHaveLength(
    1,
  );
  expect(await ids(0)).toEqual(['reapit landlord 1']);
  expect(await listed()).toContain(contact(0));
  await contactExternalIdLink(pool, { organisationId, ...link(0, 'reapit landlord 1') });
  expect(await ids(0)).toEqual(['*reapit landlord 1']);
  expect(await listed()).not.toContain(contact(0));
});

test('1.3.1 re-points a deleted record as an active one, and promotes nothing', async () => {
  const { organisationId, contact, ids } = tenant;
  await pool.query(
    `update contact_external_ids set remote_state = 'deleted', remote_version = '"7"' where organisation_id = $1`,
    [organisationId],
  );
  const move = { fromContactIds: [contact(0)], toContactIds: [contact(1)] };
  expect(await run('contactExternalIdRepoint', 'reapit contact 1', move)).toEqual([
    { position: 1, outcome: 'moved' },
  ]);
  expect([await ids(0), await ids(1)]).toEqual([['reapit landlord 1'], ['*reapit contact 1']]);
  const records = await externalRecordListByContacts(pool, { organisationId, contactIds: [contact(1)] });
  expect(records).toMatchObject([{ remoteState: 'active', remoteVersion: null }]);
});

test('1.3.1 that locks a contact before it links an id is rolled back by a merge, or rolls it back, and can repeat', async () => {
  const { organisationId, contact, ids, merge } = tenant;
  const worker = await pool.connect();
  const merger = await pool.connect();
  const code = (error: { code: string }) => error.code;
  try {
    await worker.query('begin');
    await merger.query('begin');
    await worker.query('select from contacts where id = $1 for update', [contact(0)]);
    const providers = ['reapit', 'alto'] as const;
    await contactExternalIdLock(merger, { organisationId, providers });
    const merged = contactMerge(merger, merge(0, 1)).then(() => 'merged', code);
    await waitUntilBlocked(url, merger);
    const link = () => run('contactExternalIdLink', 'alto contact 5', { contactIds: [contact(0)] }, worker);
    const linked = link().then(() => 'linked', code);
    const first = await Promise.race([merged, linked]);
    expect(first).toBe('40P01');
  } finally {
    for (const client of [worker, merger]) {
      await client.query('rollback');
      client.release();
    }
  }
  expect(await run('contactExternalIdLink', 'alto contact 5', { contactIds: [contact(0)] })).toMatchObject([
    { outcome: 'linked' },
  ]);
  expect(await ids(0)).toEqual(['*alto contact 5', '*reapit contact 1', 'reapit landlord 1']);
});
