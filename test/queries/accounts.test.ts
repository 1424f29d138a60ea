import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type ConnectedCrm,
  type ConnectionConnectParams,
  type ConnectionKey,
  connectionConnect,
  connectionDisconnect,
  connectionGet,
  connectionGetLive,
  connectionListWithHealth,
  connectionSetAccount,
  contactExternalIdLinkMany,
  contactExternalIdListByContact,
  contactExternalIdResolve,
  externalRecordCheck,
  type Queryable,
  withOrganisation,
} from '../../src/index.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool, url } = database;
const app = useMember(database, 'crm_app');
const worker = useMember(database, 'crm_worker');
const reader = useMember(database, 'crm_reader');

// A session keeps the plan that it made after an analysis of a few rows: it reads a table of one page as a whole.
beforeAll(async () => {
  for (const table of [
    'contacts',
    'contact_external_ids',
    'contact_external_id_aliases',
    'contact_external_id_archive',
  ])
    await pool.query(`alter table ${table} set (autovacuum_enabled = off)`);
});

interface Agency {
  organisationId: string;
  ottoline: string;
  barnaby: string;
  zebedee: string;
}

async function agency(): Promise<Agency> {
  const { organisationId, contactIds } = await createTenant(pool, 3);
  const [ottoline, barnaby, zebedee] = contactIds as [string, string, string];
  return { organisationId, ottoline, barnaby, zebedee };
}

type Choice = Pick<ConnectionConnectParams, 'idsOfUnknownAccount'>;

async function connect(
  organisationId: string,
  account: string | null,
  choice: Choice = {},
  client: Queryable = pool,
): Promise<ConnectionKey & ConnectedCrm> {
  const key = { organisationId, connectionId: randomUUID() };
  const credentials = await encryptCredentials({ ...key, provider: 'reapit' });
  const connected = await connectionConnect(client, {
    ...key,
    provider: 'reapit',
    credentials,
    account,
    ...choice,
  });
  return { ...key, ...connected };
}

/** Disconnects the live connection, and connects an account. */
async function reconnect(
  organisationId: string,
  account: string | null,
  choice: Choice = {},
): Promise<ConnectionKey & ConnectedCrm> {
  const live = await connectionGetLive(pool, { organisationId, provider: 'reapit' });
  if (live !== null) await connectionDisconnect(pool, live);
  return connect(organisationId, account, choice);
}

async function link(
  { organisationId }: { organisationId: string },
  externalIds: Record<string, string>,
  client: Queryable = pool,
): Promise<void> {
  const outcomes = await contactExternalIdLinkMany(client, {
    organisationId,
    links: Object.entries(externalIds).map(([externalId, contactId]) => ({
      provider: 'reapit',
      entityType: 'contact',
      externalId,
      contactId,
    })),
  });
  for (const { outcome } of outcomes) expect(outcome).toBe('linked');
}

async function addAlias(
  { organisationId }: { organisationId: string },
  contactId: string,
  externalId: string,
  state = 'active',
): Promise<void> {
  await pool.query(
    `insert into contact_external_id_aliases (organisation_id, provider, entity_type, external_id, contact_id, remote_state, remote_version)
     values ($1, 'reapit', 'landlord', $2, $3, $4, '"1"')`,
    [organisationId, externalId, contactId, state],
  );
}

/** What each id of an organisation at Reapit means: `=` marks a primary id, `~` an alias. */
async function ids({ organisationId }: { organisationId: string }): Promise<Record<string, string>> {
  const { rows } = await pool.query(
    `select external_id, case when is_primary then '=' else '~' end || contact_id as meaning
     from contact_external_records where organisation_id = $1 and provider = 'reapit'`,
    [organisationId],
  );
  return Object.fromEntries(rows.map(({ external_id, meaning }) => [external_id, meaning]));
}

/** The decision on a record that Reapit sends. */
async function decisionOn(organisationId: string, externalId: string, entityType = 'contact') {
  const record = { organisationId, provider: 'reapit', entityType, externalId } as const;
  return (await externalRecordCheck(pool, record)).decision;
}

/** The ids in the archive, by account and id. */
async function archive({
  organisationId,
}: {
  organisationId: string;
}): Promise<Record<string, string | null>> {
  const { rows } = await pool.query(
    `select coalesce(account, '?') || ' ' || external_id as id, contact_id
     from contact_external_id_archive as archive
     inner join crm_connections on crm_connections.organisation_id = archive.organisation_id and id = connection_id
     where archive.organisation_id = $1`,
    [organisationId],
  );
  return Object.fromEntries(rows.map(({ id, contact_id }) => [id, contact_id]));
}

describe('connecting another account of the same CRM', () => {
  test('starts empty: an id of the old account means nobody, and no contact has one', async () => {
    const { organisationId, ottoline, barnaby, zebedee } = await agency();
    await connect(organisationId, 'AAA');
    await link({ organisationId }, { OXF1: ottoline, OXF2: barnaby });

    expect(await reconnect(organisationId, 'BBB')).toMatchObject({ archivedIds: 2, restoredIds: 0 });

    const oxf1 = { organisationId, provider: 'reapit', entityType: 'contact', externalId: 'OXF1' } as const;
    expect(await contactExternalIdResolve(pool, oxf1)).toBeNull();
    // So a push of Barnaby creates a record, and does not overwrite BBB's OXF2.
    expect(await contactExternalIdListByContact(pool, { organisationId, contactId: barnaby })).toEqual([]);
    await link({ organisationId }, { OXF1: zebedee });
    expect(await ids({ organisationId })).toEqual({ OXF1: `=${zebedee}` });
    expect(await archive({ organisationId })).toEqual({ 'AAA OXF1': ottoline, 'AAA OXF2': barnaby });
  });

  test('and the old account again restores its ids, aliases and states, but not versions, and archives the others', async () => {
    const { organisationId, ottoline, barnaby, zebedee } = await agency();
    await connect(organisationId, 'AAA');
    await link({ organisationId }, { OXF1: ottoline, OXF2: barnaby });
    await addAlias({ organisationId }, ottoline, 'RPT1');
    await pool.query(
      `update contact_external_ids set remote_state = 'deleted', remote_version = '"7"', last_seen_at = last_seen_at + interval '1 hour'
       where organisation_id = $1 and external_id = 'OXF2'`,
      [organisationId],
    );
    const all = () =>
      pool.query('select * from contact_external_records where organisation_id = $1 order by external_id', [
        organisationId,
      ]);
    const before = (await all()).rows;
    await reconnect(organisationId, 'BBB');
    await link({ organisationId }, { OXF1: zebedee });

    expect(await reconnect(organisationId, 'AAA')).toMatchObject({ archivedIds: 1, restoredIds: 3 });

    // But not the versions and contents: contacts may have changed meanwhile, so what is read is not unchanged.
    expect((await all()).rows).toEqual(
      before.map((row) => ({ ...row, remote_version: null, content_hash: null, pushed_at: null })),
    );
    expect(await archive({ organisationId })).toEqual({ 'BBB OXF1': zebedee });
    expect(await reconnect(organisationId, 'BBB')).toMatchObject({ archivedIds: 3, restoredIds: 1 });
    expect(await ids({ organisationId })).toEqual({ OXF1: `=${zebedee}` });
  });

  test('leaves the ids at other CRMs and of other organisations alone', async () => {
    const [one, other] = [await agency(), await agency()];
    // Two offices of different agencies share the name of an account.
    await connect(one.organisationId, 'AAA');
    await connect(other.organisationId, 'AAA');
    await link(one, { OXF1: one.ottoline });
    await link(other, { OXF1: other.ottoline });
    await contactExternalIdLinkMany(pool, {
      organisationId: one.organisationId,
      links: [{ provider: 'street', entityType: 'person', externalId: 'S1', contactId: one.ottoline }],
    });
    expect(await reconnect(one.organisationId, 'BBB')).toMatchObject({ archivedIds: 1 });
    expect(await ids(other)).toEqual({ OXF1: `=${other.ottoline}` });
    expect(await contactExternalIdListByContact(pool, { ...one, contactId: one.ottoline })).toMatchObject([
      { provider: 'street', externalId: 'S1' },
    ]);
    expect(await archive(other)).toEqual({});
  });

  test('under a name that the caller chose is the same account for two codes of one database', async () => {
    const { organisationId, ottoline } = await agency();
    await connect(organisationId, 'shared database');
    await link({ organisationId }, { OXF1: ottoline });
    expect(await reconnect(organisationId, 'shared database')).toMatchObject({
      archivedIds: 0,
      restoredIds: 0,
    });
    expect(await ids({ organisationId })).toEqual({ OXF1: `=${ottoline}` });
  });

  test('does not restore an id whose contact was deleted meanwhile, and says so when its record comes', async () => {
    const { organisationId, ottoline, barnaby } = await agency();
    await connect(organisationId, 'AAA');
    await link({ organisationId }, { OXF1: ottoline, OXF2: barnaby });
    await reconnect(organisationId, 'BBB');
    await pool.query('delete from contacts where id = $1', [ottoline]);
    expect(await reconnect(organisationId, 'AAA')).toMatchObject({ restoredIds: 1 });
    expect(await ids({ organisationId })).toEqual({ OXF2: `=${barnaby}` });
    expect(await archive({ organisationId })).toEqual({});
    expect(await decisionOn(organisationId, 'OXF1')).toBe('contact_deleted');
  });

  test('orders the connections of one transaction', async () => {
    const { organisationId, ottoline } = await agency();
    const client = await pool.connect();
    try {
      await client.query('begin');
      for (const account of ['AAA', 'BBB', 'AAA', 'CCC']) {
        const { connectionId } = await connect(organisationId, account, {}, client);
        if (account === 'BBB') await link({ organisationId }, { OXF1: ottoline }, client);
        await connectionDisconnect(client, { organisationId, connectionId });
      }
      await client.query('commit');
    } finally {
      client.release();
    }
    expect(await archive({ organisationId })).toEqual({ 'BBB OXF1': ottoline });
    expect(await connect(organisationId, 'BBB')).toMatchObject({ archivedIds: 0, restoredIds: 1 });
  });
});

describe('connecting again', () => {
  /** What is known of the ids of an organisation at Reapit: true where a version, a content or a push is. */
  async function known(organisationId: string) {
    const { rows } = await pool.query(
      `select external_id, num_nonnulls(remote_version, content_hash, pushed_at) > 0 as is_known
       from contact_external_records where organisation_id = $1 order by external_id`,
      [organisationId],
    );
    return Object.fromEntries(rows.map(({ external_id, is_known }) => [external_id, is_known]));
  }
  async function learn(organisationId: string) {
    for (const table of ['contact_external_ids', 'contact_external_id_aliases'])
      await pool.query(
        `update ${table} set remote_version = '"7"', content_hash = sha256('x'), pushed_at = now()
         where organisation_id = $1`,
        [organisationId],
      );
  }

  test.each([
    ['the same account', 'AAA', 'AAA', {}],
    ['without an account', null, null, {}],
    ['an account, keeping ids of an unknown one', null, 'AAA', { idsOfUnknownAccount: 'keep' }],
    ['without an account after one', 'AAA', null, {}],
  ] as const)(
    '%s keeps the ids, and what is known of their records: what changed here meanwhile waits to be pushed',
    async (_, before, after, choice) => {
      const { organisationId, ottoline, barnaby } = await agency();
      await connect(organisationId, before);
      await link({ organisationId }, { OXF1: ottoline, OXF2: barnaby });
      await addAlias({ organisationId }, ottoline, 'RPT1');
      await learn(organisationId);
      expect(await known(organisationId)).toEqual({ OXF1: true, OXF2: true, RPT1: true });
      await reconnect(organisationId, after, choice);
      expect(await known(organisationId)).toEqual({ OXF1: true, OXF2: true, RPT1: true });
    },
  );

  test.each([
    ['an account', 'AAA'],
    ['none', null],
  ] as const)(
    'with %s forgets versions and contents if what changed here meanwhile was not kept',
    async (_, account) => {
      const { organisationId, ottoline } = await agency();
      const { connectionId } = await connect(organisationId, account);
      await link({ organisationId }, { OXF1: ottoline });
      await addAlias({ organisationId }, ottoline, 'RPT1');
      await learn(organisationId);
      await connectionDisconnect(pool, { organisationId, connectionId });
      await pool.query(
        'update crm_connections set kept_changes = null, changes_expire_at = null where id = $1',
        [connectionId],
      );
      await connect(organisationId, account);
      expect(await known(organisationId)).toEqual({ OXF1: false, RPT1: false });
    },
  );

  test('leaves what is known at other CRMs and of other organisations alone', async () => {
    const [one, other] = [await agency(), await agency()];
    for (const { organisationId, ottoline } of [one, other]) {
      await connect(organisationId, 'AAA');
      await link({ organisationId }, { OXF1: ottoline });
      await contactExternalIdLinkMany(pool, {
        organisationId,
        links: [{ provider: 'street', entityType: 'person', externalId: 'S1', contactId: ottoline }],
      });
      await learn(organisationId);
    }
    const live = await connectionGetLive(pool, { ...one, provider: 'reapit' });
    await connectionDisconnect(pool, live ?? expect.unreachable('not connected'));
    await pool.query(
      'update crm_connections set kept_changes = null, changes_expire_at = null where organisation_id = $1',
      [one.organisationId],
    );
    await connect(one.organisationId, 'AAA');
    expect(await known(one.organisationId)).toEqual({ OXF1: false, S1: true });
    expect(await known(other.organisationId)).toEqual({ OXF1: true, S1: true });
  });

  test('is not learning the account of a live connection, which keeps what was read in it', async () => {
    const { organisationId, ottoline } = await agency();
    await connect(organisationId, null);
    const { connectionId } = await reconnect(organisationId, null);
    await link({ organisationId }, { OXF1: ottoline });
    await learn(organisationId);
    await connectionSetAccount(pool, { organisationId, connectionId, account: 'AAA' });
    expect(await known(organisationId)).toEqual({ OXF1: true });
  });
});

describe('that the host deleted the contact of an id', () => {
  test('is known only in the account of the id, however often accounts are switched', async () => {
    const { organisationId, ottoline, barnaby, zebedee } = await agency();
    await connect(organisationId, 'AAA');
    await link({ organisationId }, { OXF1: ottoline, OXF2: barnaby });
    await addAlias({ organisationId }, ottoline, 'RPT1');
    await pool.query('delete from contacts where id = $1', [ottoline]);
    const all = async () => [
      await decisionOn(organisationId, 'OXF1'),
      await decisionOn(organisationId, 'RPT1', 'landlord'),
    ];
    for (const round of [1, 2, 3]) {
      expect([round, ...(await all())]).toEqual([round, 'contact_deleted', 'contact_deleted']);
      // Only ids that mean a contact are counted.
      expect(await reconnect(organisationId, 'BBB')).toMatchObject({ archivedIds: 1 });
      expect(await archive({ organisationId })).toMatchObject({ 'AAA OXF1': null, 'AAA RPT1': null });
      expect([round, ...(await all())]).toEqual([round, round === 1 ? 'unknown' : 'changed', 'unknown']);
      if (round === 1) await link({ organisationId }, { OXF1: zebedee });
      expect(await reconnect(organisationId, 'AAA')).toMatchObject({ archivedIds: 1, restoredIds: 1 });
      expect(await archive({ organisationId })).toEqual({ 'BBB OXF1': zebedee });
    }
  });

  test('does not follow an id that was linked again since to the other account', async () => {
    const { organisationId, ottoline, barnaby, zebedee } = await agency();
    await connect(organisationId, 'AAA');
    await link({ organisationId }, { OXF1: ottoline });
    await pool.query('delete from contacts where id = $1', [ottoline]);
    await link({ organisationId }, { OXF1: barnaby });
    await reconnect(organisationId, 'BBB');
    expect(await archive({ organisationId })).toEqual({ 'AAA OXF1': barnaby });
    expect(await decisionOn(organisationId, 'OXF1')).toBe('unknown');
    await link({ organisationId }, { OXF1: zebedee });
    await pool.query('delete from contacts where id = $1', [zebedee]);
    expect(await decisionOn(organisationId, 'OXF1')).toBe('contact_deleted');
    await reconnect(organisationId, 'AAA');
    expect(await ids({ organisationId })).toEqual({ OXF1: `=${barnaby}` });
    expect(await archive({ organisationId })).toEqual({ 'BBB OXF1': null });
  });

  test.each([
    ['stays known if the ids of an unknown account are kept', 'keep', 'contact_deleted', 'unknown'],
    ['is not known if the ids of an unknown account are archived', 'archive', 'unknown', 'unknown'],
  ] as const)('%s', async (_, idsOfUnknownAccount, inBbb, inCcc) => {
    const { organisationId, ottoline, barnaby } = await agency();
    await connect(organisationId, null);
    await link({ organisationId }, { OXF1: ottoline, OXF2: barnaby });
    await pool.query('delete from contacts where id = $1', [ottoline]);
    await reconnect(organisationId, null);
    expect(await decisionOn(organisationId, 'OXF1')).toBe('contact_deleted');
    await reconnect(organisationId, 'BBB', { idsOfUnknownAccount });
    expect(await decisionOn(organisationId, 'OXF1')).toBe(inBbb);
    await reconnect(organisationId, 'CCC');
    expect(await decisionOn(organisationId, 'OXF1')).toBe(inCcc);
    await reconnect(organisationId, 'BBB');
    expect(await decisionOn(organisationId, 'OXF1')).toBe(inBbb);
  });

  test('stays known in a connection whose account is learned, if the id was linked for it', async () => {
    const { organisationId, ottoline, barnaby } = await agency();
    await connect(organisationId, 'AAA');
    await link({ organisationId }, { OXF1: ottoline });
    await pool.query('delete from contacts where id = $1', [ottoline]);
    const key = await reconnect(organisationId, null);
    await link({ organisationId }, { OXF2: barnaby });
    await pool.query('delete from contacts where id = $1', [barnaby]);
    await connectionSetAccount(pool, { ...key, account: 'BBB' });
    expect(await decisionOn(organisationId, 'OXF1')).toBe('unknown');
    expect(await decisionOn(organisationId, 'OXF2')).toBe('contact_deleted');
    expect(await archive({ organisationId })).toEqual({ 'AAA OXF1': null });
  });

  test('can be erased by the owner, in the history and in the archive', async () => {
    const { organisationId, ottoline, barnaby } = await agency();
    await connect(organisationId, 'AAA');
    await link({ organisationId }, { OXF1: ottoline, OXF2: barnaby });
    await pool.query('delete from contacts where id = any($1)', [[ottoline, barnaby]]);
    await pool.query(
      "delete from contact_external_id_changes where organisation_id = $1 and external_id = 'OXF2'",
      [organisationId],
    );
    expect(await decisionOn(organisationId, 'OXF2')).toBe('unknown');
    await reconnect(organisationId, 'BBB');
    for (const table of ['contact_external_id_archive', 'contact_external_id_changes']) {
      await pool.query(`delete from ${table} where organisation_id = $1`, [organisationId]);
    }
    await reconnect(organisationId, 'AAA');
    expect(await decisionOn(organisationId, 'OXF1')).toBe('unknown');
  });
});

describe('connecting an account while the account of some ids is unknown', () => {
  /** AAA, then a connection of an earlier release, which knows no accounts: one id was linked at each. */
  async function afterUnknown(): Promise<Agency> {
    const tenant = await agency();
    await connect(tenant.organisationId, 'AAA');
    await link(tenant, { OXF1: tenant.ottoline });
    expect(await reconnect(tenant.organisationId, null)).toMatchObject({ archivedIds: 0, restoredIds: 0 });
    await link(tenant, { OXF2: tenant.barnaby });
    return tenant;
  }

  test('fails unless the call says what becomes of them, and changes nothing', async () => {
    const tenant = await afterUnknown();
    const { organisationId } = tenant;
    await expect(reconnect(organisationId, 'BBB')).rejects.toMatchObject({
      code: 'account_unknown',
      message: expect.stringContaining('idsOfUnknownAccount'),
      cause: { code: 'CRM06' },
    });
    expect(await connectionGetLive(pool, { organisationId, provider: 'reapit' })).toBeNull();
    expect(await ids(tenant)).toEqual({ OXF1: `=${tenant.ottoline}`, OXF2: `=${tenant.barnaby}` });
  });

  test('archives the ids that are known to be of another account, and keeps the others if told so', async () => {
    const tenant = await afterUnknown();
    expect(await reconnect(tenant.organisationId, 'BBB', { idsOfUnknownAccount: 'keep' })).toMatchObject({
      archivedIds: 1,
      restoredIds: 0,
    });
    expect(await ids(tenant)).toEqual({ OXF2: `=${tenant.barnaby}` });
    expect(await archive(tenant)).toEqual({ 'AAA OXF1': tenant.ottoline });
    // From now on they are BBB's.
    expect(await reconnect(tenant.organisationId, 'AAA')).toMatchObject({ archivedIds: 1, restoredIds: 1 });
    expect(await archive(tenant)).toEqual({ 'BBB OXF2': tenant.barnaby });
  });

  test('archives them all if told so', async () => {
    const tenant = await afterUnknown();
    expect(await reconnect(tenant.organisationId, 'BBB', { idsOfUnknownAccount: 'archive' })).toMatchObject({
      archivedIds: 2,
    });
    expect(await ids(tenant)).toEqual({});
    expect(await archive(tenant)).toEqual({ 'AAA OXF1': tenant.ottoline, '? OXF2': tenant.barnaby });
  });

  test('keeps the known ids of the same account', async () => {
    const tenant = await afterUnknown();
    expect(await reconnect(tenant.organisationId, 'AAA', { idsOfUnknownAccount: 'archive' })).toMatchObject({
      archivedIds: 1,
    });
    expect(await ids(tenant)).toEqual({ OXF1: `=${tenant.ottoline}` });
  });

  test('needs no choice if there is none of them', async () => {
    const tenant = await agency();
    await connect(tenant.organisationId, null);
    expect(await reconnect(tenant.organisationId, 'AAA')).toMatchObject({ archivedIds: 0, restoredIds: 0 });
  });

  test('takes ids from before the first connection for those of its account', async () => {
    const tenant = await agency();
    await link(tenant, { OXF1: tenant.ottoline });
    await connect(tenant.organisationId, 'AAA', { idsOfUnknownAccount: 'archive' });
    expect(await ids(tenant)).toEqual({ OXF1: `=${tenant.ottoline}` });
    expect(await reconnect(tenant.organisationId, 'BBB')).toMatchObject({ archivedIds: 1 });
  });
});

describe('restoring ids beside ids that were kept', () => {
  test('adds an alias to a contact that has an id, and leaves an id that means another contact by now in the archive', async () => {
    const tenant = await agency();
    const { organisationId, ottoline, barnaby, zebedee } = tenant;
    await connect(organisationId, 'AAA');
    await link(tenant, { OXF1: ottoline, OXF2: barnaby });
    await addAlias(tenant, barnaby, 'RPT2');
    await addAlias(tenant, barnaby, 'RPT3', 'deleted');
    await reconnect(organisationId, 'BBB');
    await reconnect(organisationId, null);
    await link(tenant, { OXF9: ottoline, OXF2: zebedee });

    expect(await reconnect(organisationId, 'AAA', { idsOfUnknownAccount: 'keep' })).toMatchObject({
      restoredIds: 3,
    });

    expect(await ids(tenant)).toEqual({
      OXF1: `~${ottoline}`,
      OXF9: `=${ottoline}`,
      OXF2: `=${zebedee}`,
      // The alias takes the place of the primary id that Barnaby has lost.
      RPT2: `=${barnaby}`,
      RPT3: `~${barnaby}`,
    });
    expect(await archive(tenant)).toEqual({ 'AAA OXF2': barnaby });
  });
});

describe('connectionSetAccount', () => {
  test('sets an account that is unknown, as after an upgrade, and keeps the ids', async () => {
    const tenant = await agency();
    const key = await connect(tenant.organisationId, null);
    await link(tenant, { OXF1: tenant.ottoline });
    expect((await connectionGet(pool, key))?.account).toBeNull();
    for (const _ of ['the first sign-in', 'the next']) {
      expect(await connectionSetAccount(pool, { ...key, account: 'AAA' })).toEqual({
        archivedIds: 0,
        restoredIds: 0,
        droppedChanges: 0,
      });
    }
    const { organisationId } = key;
    const health = await connectionListWithHealth(pool, { organisationId, failuresSince: new Date() });
    const live = await connectionGetLive(pool, { organisationId, provider: 'reapit' });
    for (const row of [await connectionGet(pool, key), live, ...health]) expect(row?.account).toBe('AAA');
    expect(await ids(tenant)).toEqual({ OXF1: `=${tenant.ottoline}` });
  });

  test('archives ids that are known to be of another account, and keeps those linked since', async () => {
    const tenant = await agency();
    const { organisationId, ottoline, barnaby, zebedee } = tenant;
    await connect(organisationId, 'AAA');
    await link(tenant, { OXF1: ottoline, OXF2: barnaby });
    await reconnect(organisationId, 'BBB');
    await link(tenant, { OXF7: barnaby });
    await reconnect(organisationId, 'AAA');
    const key = await reconnect(organisationId, null);
    await link(tenant, { OXF3: zebedee });
    expect(await connectionSetAccount(pool, { ...key, account: 'BBB' })).toEqual({
      archivedIds: 2,
      restoredIds: 1,
      droppedChanges: 0,
    });
    expect(await ids(tenant)).toEqual({ OXF3: `=${zebedee}`, OXF7: `=${barnaby}` });
  });

  test('refuses another account, and changes nothing', async () => {
    const tenant = await agency();
    const key = await connect(tenant.organisationId, 'SBOX');
    await link(tenant, { OXF1: tenant.ottoline });
    await expect(connectionSetAccount(pool, { ...key, account: 'AAA' })).rejects.toMatchObject({
      code: 'account_changed',
    });
    expect((await connectionGet(pool, key))?.account).toBe('SBOX');
    expect(await ids(tenant)).toEqual({ OXF1: `=${tenant.ottoline}` });
  });

  test('refuses a disconnected connection, a blank account, and one of another organisation', async () => {
    const tenant = await agency();
    const key = await connect(tenant.organisationId, null);
    const { organisationId } = await agency();
    for (const [params, code] of [
      [{ ...key, account: ' ' }, 'invalid_input'],
      [{ ...key, account: 'A'.repeat(513) }, 'invalid_input'],
      [{ ...key, organisationId, account: 'AAA' }, 'connection_not_live'],
    ] as const) {
      await expect(connectionSetAccount(pool, params)).rejects.toMatchObject({ code });
    }
    await connectionDisconnect(pool, key);
    await expect(connectionSetAccount(pool, { ...key, account: 'AAA' })).rejects.toMatchObject({
      code: 'connection_not_live',
    });
    expect((await connectionGet(pool, key))?.account).toBeNull();
  });
});

test('the account of a connection is checked as the database checks it', async () => {
  const { organisationId } = await agency();
  for (const account of ['', ' \t', 'A'.repeat(513), 'é'.repeat(257)]) {
    await expect(connect(organisationId, account)).rejects.toMatchObject({
      code: 'invalid_input',
      message: expect.stringMatching(/^account /),
    });
    const { connectionId } = await connect(organisationId, null);
    await expect(
      pool.query('update crm_connections set account = $1 where id = $2', [account, connectionId]),
    ).rejects.toMatchObject({ constraint: 'crm_connections_account_check' });
    await connectionDisconnect(pool, { organisationId, connectionId });
  }
  await connect(organisationId, 'é'.repeat(256));
  await expect(
    connect(organisationId, 'AAA', { idsOfUnknownAccount: 'lose' as 'keep' }),
  ).rejects.toMatchObject({ code: 'invalid_input' });
});

/** Runs `work` on a client of its own, in a transaction that it must end. */
async function inTransaction(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await work(client);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

describe('at the same time', () => {
  test('of several connects to different accounts, one succeeds, and the ids are in one place', async () => {
    const tenant = await agency();
    await connect(tenant.organisationId, 'AAA');
    await link(tenant, { OXF1: tenant.ottoline });
    const live = await connectionGetLive(pool, { ...tenant, provider: 'reapit' });
    await connectionDisconnect(pool, live as ConnectionKey);
    const accounts = ['AAA', 'BBB', 'CCC', 'DDD'];
    const attempts = await Promise.allSettled(
      accounts.map((account) => connect(tenant.organisationId, account)),
    );
    const refused = attempts.filter(({ status }) => status === 'rejected');
    expect(refused.map((attempt) => (attempt as PromiseRejectedResult).reason.code)).toEqual(
      Array(3).fill('live_connection_exists'),
    );
    const won = accounts[attempts.findIndex(({ status }) => status === 'fulfilled')];
    expect(Object.keys({ ...(await ids(tenant)), ...(await archive(tenant)) })).toEqual([
      won === 'AAA' ? 'OXF1' : 'AAA OXF1',
    ]);
  });

  test('of two workers that set different accounts, one is refused', async () => {
    const { organisationId } = await agency();
    const key = await connect(organisationId, null);
    const attempts = await Promise.allSettled(
      ['AAA', 'BBB'].map((account) => connectionSetAccount(pool, { ...key, account })),
    );
    const refused = attempts.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    expect(refused.map(({ reason }) => reason.code)).toEqual(['account_changed']);
  });

  test('a link that is not committed yet is waited for, and archived', async () => {
    const tenant = await agency();
    await connect(tenant.organisationId, 'AAA');
    await inTransaction(async (linking) => {
      await link(tenant, { OXF1: tenant.ottoline }, linking);
      const live = await connectionGetLive(pool, { ...tenant, provider: 'reapit' });
      await connectionDisconnect(pool, live as ConnectionKey);
      await withClient(url, async (connecting) => {
        const connected = connect(tenant.organisationId, 'BBB', {}, connecting);
        await waitUntilBlocked(url, connecting);
        await linking.query('commit');
        expect(await connected).toMatchObject({ archivedIds: 1 });
      });
    });
    expect(await archive(tenant)).toEqual({ 'AAA OXF1': tenant.ottoline });
  });

  test.each([
    ['archived', 'BBB'],
    ['restored', 'AAA'],
  ])(
    'a contact that the host deletes while its id is %s is left out, by an application that may not lock contacts',
    async (_, account) => {
      const tenant = await agency();
      const { organisationId } = tenant;
      const ended = await connect(organisationId, 'AAA');
      await link(tenant, { OXF1: tenant.ottoline, OXF2: tenant.barnaby });
      await connectionDisconnect(pool, ended);
      if (account === 'AAA') await connectionDisconnect(pool, await connect(organisationId, 'BBB'));
      await inTransaction(async (deleting) => {
        await deleting.query('delete from contacts where id = $1', [tenant.ottoline]);
        const client = await app.connect();
        try {
          await client.query('begin');
          await client.query('select crm_set_organisation($1)', [organisationId]);
          const connected = connect(organisationId, account, {}, client);
          await waitUntilBlocked(url, client);
          await deleting.query('commit');
          await expect(connected).resolves.toMatchObject(
            account === 'AAA' ? { archivedIds: 0, restoredIds: 1 } : { archivedIds: 1, restoredIds: 0 },
          );
          await client.query('commit');
        } finally {
          client.release();
        }
      });
      expect(Object.values({ ...(await ids(tenant)) })).toEqual(
        account === 'AAA' ? [`=${tenant.barnaby}`] : [],
      );
    },
  );

  test('a switch at REPEATABLE READ, which would not see what others have linked, is refused', async () => {
    const { organisationId } = await agency();
    await connectionDisconnect(pool, await connect(organisationId, 'AAA'));
    await inTransaction(async (client) => {
      await client.query('set transaction isolation level repeatable read');
      await expect(connect(organisationId, 'BBB', {}, client)).rejects.toMatchObject({ code: '0A000' });
    });
  });
});

test('a switch reads as many pages for each of 3,000 ids as of 300, although no table was analysed', async () => {
  const pagesPerId = async (count: number) => {
    const { organisationId, contactIds } = await createTenant(pool, count);
    await connectionDisconnect(pool, await connect(organisationId, 'AAA'));
    const { connectionId } = await connect(organisationId, null);
    for (const [table, entityType] of [
      ['contact_external_ids', 'contact'],
      ['contact_external_id_aliases', 'landlord'],
    ]) {
      await pool.query(
        `insert into ${table} (organisation_id, provider, entity_type, external_id, contact_id, first_seen_at)
         select $1, 'reapit', $3, id::text, id, '2026-11-16T09:00:00Z' from unnest($2::uuid[]) as id`,
        [organisationId, contactIds, entityType],
      );
    }
    /** The pages of one switch that moves all ids. */
    const pages = async (account: string) => {
      await pool.query('update crm_connections set account = $2 where id = $1', [connectionId, account]);
      const { rows } = await pool.query(
        `explain (analyze, buffers, format json) select from crm_switch_account('${organisationId}', '${connectionId}')`,
      );
      const [{ Plan: plan }] = rows[0]['QUERY PLAN'];
      return (plan['Shared Hit Blocks'] + plan['Shared Read Blocks']) / (count * 2);
    };
    const archiving = await pages('BBB');
    expect(Object.keys(await ids({ organisationId }))).toHaveLength(0);
    const restoring = await pages('AAA');
    expect(Object.keys(await archive({ organisationId }))).toHaveLength(0);
    return { archiving, restoring };
  };
  const [few, many] = [await pagesPerId(300), await pagesPerId(3000)];
  expect(many.archiving).toBeLessThan(few.archiving * 1.5);
  expect(many.restoring).toBeLessThan(few.restoring * 1.5);
});

describe('row-level security', () => {
  test('lets the application switch the accounts of its own organisation', async () => {
    const tenant = await agency();
    const { organisationId } = tenant;
    await withOrganisation(app, organisationId, async (client) => {
      const { connectionId } = await connect(organisationId, 'AAA', {}, client);
      await link(tenant, { OXF1: tenant.ottoline }, client);
      await connectionDisconnect(client, { organisationId, connectionId });
      expect(await connect(organisationId, 'BBB', {}, client)).toMatchObject({ archivedIds: 1 });
      const archived = await client.query('select organisation_id from contact_external_id_archive');
      expect(archived.rows).toEqual([{ organisation_id: organisationId }]);
    });
    const { organisationId: other } = await agency();
    await withOrganisation(app, other, async (client) => {
      expect((await client.query('select from contact_external_id_archive')).rowCount).toBe(0);
    });
  });

  test('lets the worker set an account, and the reader only see the archive', async () => {
    const tenant = await agency();
    const { organisationId } = tenant;
    await connect(organisationId, 'AAA');
    await link(tenant, { OXF1: tenant.ottoline });
    const key = await reconnect(organisationId, null);
    expect(await connectionSetAccount(worker, { ...key, account: 'BBB' })).toMatchObject({ archivedIds: 1 });
    const archived = await reader.query(
      'select external_id from contact_external_id_archive where organisation_id = $1',
      [organisationId],
    );
    expect(archived.rows).toEqual([{ external_id: 'OXF1' }]);
    expect((await connectionGet(reader, key))?.account).toBe('BBB');
    await expect(
      reader.query('select crm_switch_account($1, $2)', [organisationId, key.connectionId]),
    ).rejects.toMatchObject({
      code: '42501',
      message: 'permission denied for function crm_switch_account',
    });
    await expect(connectionSetAccount(reader, { ...key, account: 'BBB' })).rejects.toMatchObject({
      code: 'not_permitted',
    });
  });
});
