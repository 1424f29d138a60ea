import { randomBytes, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import {
  connectionConnect,
  connectionDisconnect,
  contactExternalIdLinkMany,
  contactExternalIdRepoint,
  contactExternalIdUnlink,
  contactExternalIdUnlinkMany,
  contactIdentityChangeList,
  contactMerge,
  contactMergeUndo,
  externalRecordCheck,
  externalRecordMergeMany,
} from '../../src/index.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { tenantWithIds } from '../support/identity.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const owner = { changedBy: expect.any(String), changedAt: expect.any(String) };

describe('contactIdentityChangeList', () => {
  test('says what was unlinked and promoted, since when it was linked, by whom and why', async () => {
    const { organisationId, contact, link } = await tenantWithIds(pool, [
      'reapit contact 1',
      'reapit landlord 1',
    ]);
    await contactExternalIdUnlink(pool, {
      organisationId,
      ...link(0, 'reapit contact 1'),
      changedBy: 'support-tool',
      reason: 'Linked to the wrong person.',
    });
    const same = {
      changedBy: 'support-tool',
      reason: 'Linked to the wrong person.',
      undoneBy: null,
      fromContactId: contact(0),
      provider: 'reapit',
      externalId: '1',
      linkedAt: expect.stringMatching(/^2\d{3}-/),
    };
    const changes = await contactIdentityChangeList(pool, { organisationId, contactId: contact(0) });
    expect(changes.toSorted((left, right) => left.kind.localeCompare(right.kind))).toMatchObject([
      {
        ...same,
        kind: 'promoted',
        entityType: 'landlord',
        toContactId: contact(0),
        wasPrimary: false,
        isPrimary: true,
      },
      {
        ...same,
        kind: 'unlinked',
        entityType: 'contact',
        toContactId: null,
        wasPrimary: true,
        isPrimary: null,
      },
    ]);
    expect(new Set(changes.map(({ operationId }) => operationId)).size).toBe(1);
  });

  test('says which id was re-pointed, to the contact that it left and to that which has it', async () => {
    const { organisationId, contact, record } = await tenantWithIds(pool, ['reapit contact 1'], []);
    await contactExternalIdRepoint(pool, {
      organisationId,
      ...record('reapit contact 1'),
      fromContactId: contact(0),
      toContactId: contact(1),
      reason: 'The id was used again.',
    });
    for (const contactId of [contact(0), contact(1)]) {
      expect(await contactIdentityChangeList(pool, { organisationId, contactId })).toMatchObject([
        {
          ...owner,
          kind: 'repointed',
          externalId: '1',
          fromContactId: contact(0),
          toContactId: contact(1),
          wasPrimary: true,
          isPrimary: true,
          reason: 'The id was used again.',
        },
      ]);
    }
  });

  test('notes nothing of a call that is refused or finds nothing', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const { organisationId, contact, record, link } = tenant;
    await contactExternalIdRepoint(pool, {
      organisationId,
      ...record('reapit contact 1'),
      fromContactId: contact(0),
      toContactId: contact(1),
    }).catch(() => {});
    await contactExternalIdUnlinkMany(pool, { organisationId, links: [link(1, 'reapit contact 1')] });
    await contactExternalIdLinkMany(pool, {
      organisationId,
      links: [link(0, 'reapit landlord 1')],
      ifContactTaken: 'alias',
    });
    expect(await contactIdentityChangeList(pool, { organisationId, contactId: contact(0) })).toEqual([]);
  });

  test('names both contacts of a merge in a row without a record, and says that it was undone', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    const { organisationId, contact } = tenant;
    const { operationId } = await contactMerge(pool, {
      ...tenant.merge(0, 1),
      changedBy: 'crm-desk',
      reason: 'Entered twice.',
    });
    const contacts = { fromContactId: contact(0), toContactId: contact(1) };
    const [record, lineage] = await contactIdentityChangeList(pool, {
      organisationId,
      contactId: contact(1),
    });
    const merge = {
      ...contacts,
      operationId,
      kind: 'contacts_merged',
      changedBy: 'crm-desk',
      reason: 'Entered twice.',
    };
    expect(record).toMatchObject({ ...merge, externalId: '1', undoneBy: null });
    expect(lineage).toMatchObject({ ...merge, provider: null, externalId: null, undoneBy: null });
    const undo = await contactMergeUndo(pool, { organisationId, operationId, reason: 'They are two.' });
    const after = await contactIdentityChangeList(pool, { organisationId, contactId: contact(1) });
    expect(after.map(({ kind, externalId, undoneBy }) => [kind, externalId, undoneBy])).toEqual([
      ['undone', null, null],
      ['undone', '1', null],
      ['contacts_merged', '1', undo.operationId],
      ['contacts_merged', null, undo.operationId],
    ]);
    expect(after[0]).toMatchObject({
      fromContactId: contact(1),
      toContactId: contact(0),
      reason: 'They are two.',
    });
  });

  test('notes a merge of records with the contact that the record meant, if any', async () => {
    const { organisationId, contact, recordMerge } = await tenantWithIds(pool, [
      'reapit contact 1',
      'reapit contact 2',
    ]);
    await externalRecordMergeMany(pool, {
      organisationId,
      provider: 'reapit',
      merges: [
        recordMerge('reapit contact 1', 'reapit contact 2'),
        recordMerge('reapit contact 9', 'reapit contact 2'),
      ],
      changedBy: 'reapit-adapter',
    });
    const rows = await contactIdentityChangeList(pool, { organisationId, contactId: contact(0) });
    expect(rows).toMatchObject([
      {
        kind: 'records_merged',
        externalId: '9',
        fromContactId: null,
        wasPrimary: null,
        changedBy: 'reapit-adapter',
      },
      {
        kind: 'records_merged',
        externalId: '1',
        fromContactId: contact(0),
        wasPrimary: true,
        isPrimary: false,
      },
      { kind: 'promoted', externalId: '2', wasPrimary: false, isPrimary: true },
    ]);
  });

  test('pages through the changes, newest first, each once', async () => {
    const { organisationId, contact, link } = await tenantWithIds(pool, []);
    const links = [link(0, 'reapit contact 1')];
    for (let round = 0; round < 5; round += 1) {
      await contactExternalIdLinkMany(pool, { organisationId, links });
      await contactExternalIdUnlinkMany(pool, { organisationId, links });
    }
    const params = { organisationId, contactId: contact(0) };
    const all = (await contactIdentityChangeList(pool, params)).map(({ id }) => BigInt(id));
    expect(all).toHaveLength(5);
    expect(all).toEqual(all.toSorted((left, right) => Number(right - left)));
    const paged: string[] = [];
    for (;;) {
      const last = paged.at(-1);
      const before = last === undefined ? null : { id: last };
      const page = await contactIdentityChangeList(pool, { ...params, before, limit: 2 });
      if (page.length === 0) break;
      paged.push(...page.map(({ id }) => id));
    }
    expect(paged.map(BigInt)).toEqual(all);
  });

  test('returns nothing of another organisation, and refuses invalid input', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    await contactMerge(pool, tenant.merge(0, 1));
    const { organisationId } = await createTenant(pool);
    const contactId = tenant.contact(0);
    expect(await contactIdentityChangeList(pool, { organisationId, contactId })).toEqual([]);
    for (const wrong of [{ contactId: '1' }, { before: { id: 'x' } }, { limit: 0 }]) {
      await expect(
        contactIdentityChangeList(pool, { organisationId, contactId, ...wrong }),
      ).rejects.toMatchObject({ code: 'invalid_input' });
    }
  });

  test.each([
    ['changedBy', { changedBy: ' ' }],
    ['changedBy', { changedBy: 'x'.repeat(101) }],
    ['reason', { reason: '' }],
    ['reason', { reason: 'x'.repeat(501) }],
  ])('an invalid %s is refused by every operation that notes it', async (field, wrong) => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    const { organisationId, link, record, contact } = tenant;
    const refused = { code: 'invalid_input', message: expect.stringContaining(field) };
    const operations = [
      () => contactMerge(pool, { ...tenant.merge(0, 1), ...wrong }),
      () => contactMergeUndo(pool, { organisationId, operationId: organisationId, ...wrong }),
      () => externalRecordMergeMany(pool, { organisationId, provider: 'reapit', merges: [], ...wrong }),
      () => contactExternalIdUnlink(pool, { organisationId, ...link(0, 'reapit contact 1'), ...wrong }),
      () =>
        contactExternalIdRepoint(pool, {
          organisationId,
          ...record('reapit contact 1'),
          fromContactId: contact(0),
          toContactId: contact(1),
          ...wrong,
        }),
    ];
    for (const operation of operations) await expect(operation()).rejects.toMatchObject(refused);
    await expect(
      pool.query(
        'insert into contact_external_id_changes (organisation_id, kind, changed_by, reason) values ($1, $2, $3, $4)',
        [
          organisationId,
          'unlinked',
          'changedBy' in wrong ? wrong.changedBy : 'test',
          'reason' in wrong ? wrong.reason : null,
        ],
      ),
    ).rejects.toMatchObject({ code: '23514' });
  });
});

describe('a contact that the host deletes', () => {
  const decisionOn = async (organisationId: string, entityType: string, externalId: string) =>
    (await externalRecordCheck(pool, { organisationId, provider: 'reapit', entityType, externalId }))
      .decision;

  test('leaves a change for each of its ids, primary ids and aliases', async () => {
    const { organisationId, contact } = await tenantWithIds(
      pool,
      ['reapit contact 1', 'reapit landlord 1', 'alto contact 7'],
      ['reapit contact 2'],
    );
    await pool.query('delete from contacts where id = $1', [contact(0)]);
    const changes = await contactIdentityChangeList(pool, { organisationId, contactId: contact(0) });
    expect(
      changes
        .map((change) => [
          change.kind,
          change.provider,
          change.entityType,
          change.externalId,
          change.wasPrimary,
        ])
        .toSorted(),
    ).toEqual([
      ['contact_deleted', 'alto', 'contact', '7', true],
      ['contact_deleted', 'reapit', 'contact', '1', true],
      ['contact_deleted', 'reapit', 'landlord', '1', false],
    ]);
    expect(changes[0]).toMatchObject({ ...owner, toContactId: null, isPrimary: null });
    expect(await decisionOn(organisationId, 'contact', '1')).toBe('contact_deleted');
    expect(await decisionOn(organisationId, 'landlord', '1')).toBe('contact_deleted');
    expect(await decisionOn(organisationId, 'contact', '2')).toBe('changed');
    // Neighbours in the index.
    for (const id of ['0', '1 ', '10', 'never seen']) {
      expect(await decisionOn(organisationId, 'contact', id)).toBe('unknown');
    }
    expect(await decisionOn(organisationId, 'landlord', '2')).toBe('unknown');
    expect(await decisionOn((await createTenant(pool)).organisationId, 'contact', '1')).toBe('unknown');
  });

  test('leaves them also if a user without any privilege on the history deletes it', async () => {
    const { organisationId, contact } = await tenantWithIds(pool, ['reapit contact 1']);
    // Roles belong to the cluster, which other tests use.
    const host = `crm_test_${randomBytes(6).toString('hex')}`;
    await pool.query(`create role ${host}`);
    await pool.query(`grant select, delete on contacts to ${host}`);
    const client = await pool.connect();
    try {
      await client.query(`set role ${host}`);
      await client.query('delete from contacts where id = $1', [contact(0)]);
    } finally {
      await client.query('reset role');
      client.release();
      await pool.query(`drop owned by ${host}`);
      await pool.query(`drop role ${host}`);
    }
    expect(await contactIdentityChangeList(pool, { organisationId, contactId: contact(0) })).toMatchObject([
      { kind: 'contact_deleted' },
    ]);
  });

  test('is not one whose id alone is unlinked, by a statement or by a trigger of the host', async () => {
    const { organisationId, contact, link } = await tenantWithIds(
      pool,
      ['reapit contact 1'],
      ['reapit contact 2'],
    );
    await contactExternalIdUnlink(pool, { organisationId, ...link(0, 'reapit contact 1') });
    await pool.query(`
      create function unlink_test_contact() returns trigger language plpgsql as $$
      begin
        delete from contact_external_ids where contact_id = new.id;
        return new;
      end $$;
      create trigger unlink_test_contact after update on contacts for each row execute function unlink_test_contact()`);
    try {
      await pool.query("update contacts set name = 'Test Name' where id = $1", [contact(1)]);
    } finally {
      await pool.query('drop function unlink_test_contact cascade');
    }
    expect(await decisionOn(organisationId, 'contact', '1')).toBe('unknown');
    expect(await decisionOn(organisationId, 'contact', '2')).toBe('unknown');
  });

  test('is forgotten once its id is linked again and unlinked', async () => {
    const { organisationId, contact, link } = await tenantWithIds(pool, ['reapit contact 1'], []);
    await pool.query('delete from contacts where id = $1', [contact(0)]);
    const links = [link(1, 'reapit contact 1')];
    expect(await decisionOn(organisationId, 'contact', '1')).toBe('contact_deleted');
    await contactExternalIdLinkMany(pool, { organisationId, links });
    expect(await decisionOn(organisationId, 'contact', '1')).toBe('changed');
    await contactExternalIdUnlinkMany(pool, { organisationId, links });
    expect(await decisionOn(organisationId, 'contact', '1')).toBe('unknown');
  });

  test('while another account is connected is known once its account is connected again', async () => {
    const { organisationId, contact, link } = await tenantWithIds(pool, []);
    const connectAccount = async (account: string) => {
      const key = { organisationId, connectionId: randomUUID(), provider: 'reapit' } as const;
      await connectionConnect(pool, { ...key, account, credentials: await encryptCredentials(key) });
      return key;
    };
    const first = await connectAccount('AAA');
    await contactExternalIdLinkMany(pool, { organisationId, links: [link(0, 'reapit contact 1')] });
    await connectionDisconnect(pool, first);
    const other = await connectAccount('BBB');
    await pool.query('delete from contacts where id = $1', [contact(0)]);
    expect(await decisionOn(organisationId, 'contact', '1')).toBe('unknown');
    await connectionDisconnect(pool, other);
    await connectAccount('AAA');
    expect(await decisionOn(organisationId, 'contact', '1')).toBe('contact_deleted');
  });

  test('leaves no change if the contact was merged into another before', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    await contactMerge(pool, tenant.merge(0, 1));
    await pool.query('delete from contacts where id = $1', [tenant.contact(0)]);
    expect(await decisionOn(tenant.organisationId, 'contact', '1')).toBe('changed');
    expect(await tenant.ids(1)).toEqual(['*reapit contact 1']);
  });
});

describe('a member of', () => {
  const app = useMember(database, 'crm_app');
  const worker = useMember(database, 'crm_worker');
  const reader = useMember(database, 'crm_reader');

  async function inOrganisation<Result>(
    organisationId: string,
    work: (client: pg.PoolClient) => Promise<Result>,
  ) {
    const client = await app.connect();
    try {
      await client.query('begin');
      await client.query('select crm_set_organisation($1)', [organisationId]);
      const result = await work(client);
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  }

  test('crm_app merges, undoes and lists in its own organisation, and is refused in another', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const { organisationId } = tenant;
    const { operationId } = await inOrganisation(organisationId, (client) =>
      contactMerge(client, tenant.merge(0, 1)),
    );
    const list = (client: pg.PoolClient) =>
      contactIdentityChangeList(client, { organisationId, contactId: tenant.contact(1) });
    expect(await inOrganisation(organisationId, list)).toHaveLength(2);
    const other = (await createTenant(pool)).organisationId;
    const merges = [tenant.recordMerge('reapit contact 1', 'reapit contact 2')];
    const calls: ((client: pg.PoolClient) => Promise<unknown>)[] = [
      (client: pg.PoolClient) => contactMerge(client, tenant.merge(0, 1)),
      (client: pg.PoolClient) => contactMergeUndo(client, tenant.undo(operationId)),
      (client: pg.PoolClient) =>
        externalRecordMergeMany(client, { organisationId, provider: 'reapit', merges }),
    ];
    for (const call of calls) {
      await expect(inOrganisation(other, call)).rejects.toMatchObject({ code: 'organisation_not_set' });
    }
    expect(await inOrganisation(other, list)).toEqual([]);
    const undo = (client: pg.PoolClient) => contactMergeUndo(client, tenant.undo(operationId));
    expect((await inOrganisation(organisationId, undo)).outcome).toBe('undone');
  });

  test('crm_worker merges, and crm_reader only reads the history', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const { organisationId } = tenant;
    const { operationId } = await contactMerge(worker, tenant.merge(0, 1));
    const params = { organisationId, contactId: tenant.contact(0) };
    expect(await contactIdentityChangeList(reader, params)).toHaveLength(2);
    for (const call of [
      () => contactMerge(reader, tenant.merge(0, 1)),
      () => contactMergeUndo(reader, tenant.undo(operationId)),
      () => externalRecordMergeMany(reader, { organisationId, provider: 'reapit', merges: [] }),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'not_permitted' });
    }
  });

  test.each([
    ['crm_app', app],
    ['crm_worker', worker],
  ])('%s can neither rewrite nor delete the history', async (_, member) => {
    for (const statement of [
      "update contact_external_id_changes set reason = 'Another.'",
      'delete from contact_external_id_changes',
      'truncate contact_external_id_changes',
    ]) {
      await expect(member.query(statement)).rejects.toMatchObject({ code: '42501' });
    }
  });
});
