import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  type ConnectionKey,
  connectionConnect,
  connectionDisconnect,
  contactExternalIdLinkMany,
  contactExternalIdListByContact,
  contactExternalIdMatchMany,
  contactExternalIdRepoint,
  contactExternalIdUnlink,
  contactIdentityChangeList,
  contactMerge,
  contactMergeUndo,
  externalRecordCheckMany,
  externalRecordMergeMany,
  outboundChangeListWaiting,
  outboundChangeRecord,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { tenantWithIds } from '../support/identity.js';

const { pool } = useDatabase();

/** Connects an account at Reapit. */
async function connectAccount(organisationId: string, account: string): Promise<ConnectionKey> {
  const key = { organisationId, connectionId: randomUUID(), provider: 'reapit' } as const;
  await connectionConnect(pool, { ...key, account, credentials: await encryptCredentials(key) });
  return key;
}

describe('contactMerge', () => {
  test('moves ids where the remaining contact has none, and makes aliases of the others', async () => {
    const tenant = await tenantWithIds(
      pool,
      ['reapit contact 1', 'reapit landlord 1', 'alto contact 7'],
      ['reapit contact 2'],
    );
    const { operationId, records } = await contactMerge(pool, tenant.merge(0, 1));
    expect(records.map((record) => [tenant.nameOf(record), record.outcome])).toEqual([
      ['alto contact 7', 'moved'],
      ['reapit contact 1', 'became_alias'],
      ['reapit landlord 1', 'alias_moved'],
    ]);
    expect(operationId).toMatch(/^[0-9a-f-]{36}$/);
    expect(await tenant.ids(0)).toEqual([]);
    expect(await tenant.ids(1)).toEqual([
      '*alto contact 7',
      '*reapit contact 2',
      'reapit contact 1',
      'reapit landlord 1',
    ]);
  });

  test('lets the host delete the contact that is merged away, and its records find the other one', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1', 'reapit landlord 1'], ['reapit contact 2']);
    await contactMerge(pool, tenant.merge(0, 1));
    await pool.query('delete from contacts where id = $1', [tenant.contact(0)]);
    const { organisationId } = tenant;
    expect(
      await contactExternalIdMatchMany(pool, {
        organisationId,
        provider: 'reapit',
        entityType: 'contact',
        externalIds: ['1', '2'],
      }),
    ).toMatchObject([
      { externalId: '1', contactId: tenant.contact(1), matchedBy: 'alias' },
      { externalId: '2', contactId: tenant.contact(1), matchedBy: 'primary' },
    ]);
    // A worker that sees the record again confirms it instead of being refused.
    const links = [{ ...tenant.record('reapit contact 1'), contactId: tenant.contact(1) }];
    expect(await contactExternalIdLinkMany(pool, { organisationId, links })).toEqual([
      { outcome: 'already_linked' },
    ]);
  });

  test('of a contact without ids moves nothing, and can be undone', async () => {
    const tenant = await tenantWithIds(pool, [], ['reapit contact 2']);
    const { operationId, records } = await contactMerge(pool, tenant.merge(0, 1));
    expect(records).toEqual([]);
    expect(await contactMergeUndo(pool, tenant.undo(operationId))).toMatchObject({
      outcome: 'undone',
      records: [],
    });
  });

  test('prefers the record that exists to one that the CRM has deleted, and undo restores both', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    await tenant.setPrimaryState('reapit contact 2', 'deleted');
    const { operationId, records } = await contactMerge(pool, tenant.merge(0, 1));
    expect(records.map((record) => [tenant.nameOf(record), record.outcome])).toEqual([
      ['reapit contact 1', 'moved'],
      ['reapit contact 2', 'became_alias'],
    ]);
    expect(await tenant.ids(1)).toEqual(['*reapit contact 1', 'reapit contact 2']);
    expect((await contactMergeUndo(pool, tenant.undo(operationId))).outcome).toBe('undone');
    expect([await tenant.ids(0), await tenant.ids(1)]).toEqual([
      ['*reapit contact 1'],
      ['*reapit contact 2'],
    ]);
  });

  test('keeps the state of every record, and since when it is known, but no content that another has taken', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const known = `first_seen_at, last_seen_at, remote_state, remote_version, remote_modified_at, content_hash,
      pushed_at`;
    await pool.query(
      `update contact_external_ids
       set first_seen_at = '2026-01-02Z', last_seen_at = '2026-03-04Z', remote_state = 'archived',
         remote_version = '"7"', remote_modified_at = '2026-03-03Z', content_hash = sha256('x'),
         pushed_at = '2026-03-02Z'
       where contact_id = $1`,
      [tenant.contact(0)],
    );
    const state = async () =>
      (
        await pool.query(
          `select ${known} from contact_external_records where organisation_id = $1 and external_id = '1'`,
          [tenant.organisationId],
        )
      ).rows;
    const before = await state();
    expect(before[0]).toMatchObject({ remote_state: 'archived', pushed_at: new Date('2026-03-02Z') });
    const forgotten = [{ ...before[0], remote_version: null, content_hash: null, pushed_at: null }];
    const { operationId } = await contactMerge(pool, tenant.merge(0, 1));
    expect(await state()).toEqual(forgotten);
    // What the remaining contact takes meanwhile is not what the other one holds.
    await pool.query(
      `update contact_external_id_aliases set remote_version = '"8"', content_hash = sha256('y'), pushed_at = now()
       where organisation_id = $1`,
      [tenant.organisationId],
    );
    await contactMergeUndo(pool, tenant.undo(operationId));
    expect(await state()).toEqual(forgotten);
  });

  test.each([
    ['moves', ['reapit contact 1'], []],
    ['makes an alias', ['reapit contact 1'], ['reapit contact 2']],
    ['moves an alias', ['reapit contact 0', 'reapit contact 1'], ['reapit contact 2']],
  ])(
    'lets no record that it %s be unchanged, because the contact has not taken it',
    async (_, from, into) => {
      const tenant = await tenantWithIds(pool, from, into);
      const { organisationId } = tenant;
      for (const table of ['contact_external_ids', 'contact_external_id_aliases'])
        await pool.query(
          `update ${table} set remote_version = '"7"', content_hash = sha256('x') where organisation_id = $1`,
          [organisationId],
        );
      const decisions = () =>
        externalRecordCheckMany(pool, {
          organisationId,
          provider: 'reapit',
          records: ['1', '2'].map((externalId) => ({ entityType: 'contact', externalId, version: '"7"' })),
        });
      expect(await decisions()).toMatchObject([{ decision: 'unchanged' }, {}]);
      const { operationId } = await contactMerge(pool, tenant.merge(0, 1));
      expect(await decisions()).toMatchObject([
        { contactId: tenant.contact(1), decision: 'changed' },
        { decision: into.length > 0 ? 'unchanged' : 'unknown' },
      ]);
      await contactMergeUndo(pool, tenant.undo(operationId));
      expect(await decisions()).toMatchObject([{ contactId: tenant.contact(0), decision: 'changed' }, {}]);
    },
  );

  test('drops what was still to be pushed of the contact, but not of the other', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const { organisationId, contactIds } = tenant;
    const key = await connect(pool, organisationId, 'reapit');
    await outboundChangeRecord(pool, { organisationId, contactIds });
    const failures = async () =>
      (
        await pool.query('select record_id from crm_sync_failures where organisation_id = $1', [
          organisationId,
        ])
      ).rows;
    for (const contactId of contactIds) {
      await pool.query(
        `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, error, first_failed_at, last_failed_at, next_attempt_at, attempts)
         values ($1, $2, 'outbound', 'contact', $3, '{"kind":"timeout","retryable":true,"message":"No answer."}', now(), now(), now(), 1)`,
        [organisationId, key.connectionId, contactId],
      );
    }
    await contactMerge(pool, tenant.merge(0, 1));
    const waiting = await outboundChangeListWaiting(pool, { ...key, contactIds });
    expect(waiting.map(({ contactId }) => contactId)).toEqual([tenant.contact(1)]);
    expect(await failures()).toEqual([{ record_id: tenant.contact(1) }]);
  });

  test('moves the archived ids of another account, and undo moves them back', async () => {
    const tenant = await tenantWithIds(pool, ['alto contact 1'], []);
    const { organisationId } = tenant;
    const key = await connect(pool, organisationId, 'reapit');
    const archive = async () =>
      (
        await pool.query(
          `select external_id, contact_id, is_primary from contact_external_id_archive
           where organisation_id = $1 order by external_id`,
          [organisationId],
        )
      ).rows.map((row) => [row.external_id, tenant.contactIds.indexOf(row.contact_id), row.is_primary]);
    for (const [externalId, contact, isPrimary] of [
      ['1', 0, true],
      ['2', 1, true],
      ['3', 0, false],
    ] as const) {
      await pool.query(
        `insert into contact_external_id_archive
           (organisation_id, connection_id, entity_type, external_id, contact_id, is_primary, first_seen_at, last_seen_at, remote_state)
         values ($1, $2, 'contact', $3, $4, $5, now(), now(), 'active')`,
        [organisationId, key.connectionId, externalId, tenant.contact(contact), isPrimary],
      );
    }
    const before = await archive();
    const { operationId, records } = await contactMerge(pool, tenant.merge(0, 1));
    expect(records.map((record) => [tenant.nameOf(record), record.outcome])).toEqual([
      ['alto contact 1', 'moved'],
      ['reapit contact 1', 'archived_moved'],
      ['reapit contact 3', 'archived_moved'],
    ]);
    expect(await archive()).toEqual([
      ['1', 1, false],
      ['2', 1, true],
      ['3', 1, false],
    ]);
    expect((await contactMergeUndo(pool, tenant.undo(operationId))).outcome).toBe('undone');
    expect(await archive()).toEqual(before);
  });

  test('is refused across organisations, for unknown contacts and into itself, and notes nothing', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1']);
    const stranger = (await createTenant(pool, 1)).contactIds[0] as string;
    const { organisationId } = tenant;
    for (const other of [stranger, randomUUID()]) {
      for (const [fromContactId, intoContactId] of [
        [tenant.contact(0), other],
        [other, tenant.contact(0)],
      ] as const) {
        await expect(
          contactMerge(pool, { organisationId, fromContactId, intoContactId }),
        ).rejects.toMatchObject({ code: 'wrong_tenant' });
      }
    }
    await expect(contactMerge(pool, tenant.merge(0, 0))).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await tenant.ids(0)).toEqual(['*reapit contact 1']);
    expect(await contactIdentityChangeList(pool, { organisationId, contactId: tenant.contact(0) })).toEqual(
      [],
    );
  });

  test('is refused at REPEATABLE READ', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], []);
    const client = await pool.connect();
    try {
      await client.query('begin isolation level repeatable read');
      await expect(contactMerge(client, tenant.merge(0, 1))).rejects.toMatchObject({ code: '0A000' });
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});

describe('contactMergeUndo', () => {
  const before = [['*alto contact 7', '*reapit contact 1', 'reapit landlord 1'], ['*reapit contact 2']];
  async function merged() {
    const tenant = await tenantWithIds(
      pool,
      ['reapit contact 1', 'reapit landlord 1', 'alto contact 7'],
      ['reapit contact 2'],
      [],
    );
    const { operationId } = await contactMerge(pool, tenant.merge(0, 1));
    const undo = () => contactMergeUndo(pool, tenant.undo(operationId));
    const all = async () => [await tenant.ids(0), await tenant.ids(1)];
    /** The outcome of each record, as `undo` reports it. */
    const outcomes = async () => {
      const { outcome, records } = await undo();
      return [outcome, Object.fromEntries(records.map((record) => [tenant.nameOf(record), record.outcome]))];
    };
    return { ...tenant, operationId, undoIt: undo, outcomes, all };
  }

  test('restores what each id meant, once', async () => {
    const { all, undoIt, outcomes, nameOf } = await merged();
    const { outcome, records, staying } = await undoIt();
    expect(outcome).toBe('undone');
    expect(records.map((record) => [nameOf(record), record.outcome])).toEqual([
      ['alto contact 7', 'undone'],
      ['reapit contact 1', 'undone'],
      ['reapit landlord 1', 'undone'],
    ]);
    expect(staying).toEqual([]);
    expect(await all()).toEqual(before);
    const again = 'undone_before';
    expect(await outcomes()).toEqual([
      again,
      { 'alto contact 7': again, 'reapit contact 1': again, 'reapit landlord 1': again },
    ]);
    expect(await all()).toEqual(before);
  });

  test.each<[string, (tenant: Awaited<ReturnType<typeof merged>>) => Promise<unknown>, string]>([
    [
      'an id was unlinked',
      (tenant) =>
        contactExternalIdUnlink(pool, {
          organisationId: tenant.organisationId,
          ...tenant.link(1, 'reapit contact 1'),
        }),
      'reapit contact 1',
    ],
    [
      'an id was moved on',
      (tenant) =>
        contactExternalIdRepoint(pool, {
          organisationId: tenant.organisationId,
          ...tenant.record('alto contact 7'),
          fromContactId: tenant.contact(1),
          toContactId: tenant.contact(2),
        }),
      'alto contact 7',
    ],
    [
      'the CRM merged its record',
      (tenant) =>
        externalRecordMergeMany(pool, {
          organisationId: tenant.organisationId,
          provider: 'reapit',
          merges: [tenant.recordMerge('reapit contact 1', 'reapit contact 2')],
        }),
      'reapit contact 1',
    ],
    [
      'an alias has become the primary id',
      (tenant) =>
        contactExternalIdUnlink(pool, {
          organisationId: tenant.organisationId,
          ...tenant.link(1, 'reapit contact 2'),
        }),
      'reapit contact 1',
    ],
  ])('changes nothing if %s since', async (_, change, record) => {
    const tenant = await merged();
    await change(tenant);
    const after = await tenant.all();
    const held = { 'alto contact 7': 'held', 'reapit contact 1': 'held', 'reapit landlord 1': 'held' };
    expect(await tenant.outcomes()).toEqual(['refused', { ...held, [record]: 'changed_since' }]);
    expect(await tenant.all()).toEqual(after);
  });

  test('changes nothing if the contact has another primary id at one of the CRMs by now', async () => {
    const tenant = await merged();
    const { organisationId, link, outcomes, all } = tenant;
    await contactExternalIdLinkMany(pool, { organisationId, links: [link(0, 'alto contact 9')] });
    const after = await all();
    expect(await outcomes()).toEqual([
      'refused',
      { 'alto contact 7': 'contact_taken', 'reapit contact 1': 'held', 'reapit landlord 1': 'held' },
    ]);
    expect(await all()).toEqual(after);
  });

  test('changes nothing while the contact does not exist, and works once it does again', async () => {
    const { organisationId, contact, outcomes, all } = await merged();
    await pool.query('delete from contacts where id = $1', [contact(0)]);
    const after = await all();
    const none = 'no_contact';
    expect(await outcomes()).toEqual([
      none,
      { 'alto contact 7': none, 'reapit contact 1': none, 'reapit landlord 1': none },
    ]);
    expect(await all()).toEqual(after);
    await pool.query("insert into contacts (id, organisation_id, name) values ($1, $2, 'Test Person')", [
      contact(0),
      organisationId,
    ]);
    expect((await outcomes())[0]).toBe('undone');
    expect(await all()).toEqual(before);
  });

  test('names the ids that were linked since, leaves them, and gives them a primary id', async () => {
    const { organisationId, contact, link, nameOf, undoIt, all } = await merged();
    await contactExternalIdLinkMany(pool, {
      organisationId,
      links: [link(1, 'alto landlord 8'), link(1, 'reapit vendor 5')],
      ifContactTaken: 'alias',
    });
    const { outcome, staying } = await undoIt();
    expect([outcome, staying.map(nameOf)]).toEqual(['undone', ['alto landlord 8', 'reapit vendor 5']]);
    expect(await all()).toEqual([before[0], ['*alto landlord 8', '*reapit contact 2', 'reapit vendor 5']]);
    expect(
      await contactExternalIdListByContact(pool, { organisationId, contactId: contact(1) }),
    ).toHaveLength(2);
  });

  test('of two merges in a row works in the opposite order alone', async () => {
    const tenant = await merged();
    const second = await contactMerge(pool, tenant.merge(1, 2));
    const changed = 'changed_since';
    expect(await tenant.outcomes()).toEqual([
      'refused',
      { 'alto contact 7': changed, 'reapit contact 1': changed, 'reapit landlord 1': changed },
    ]);
    expect((await contactMergeUndo(pool, tenant.undo(second.operationId))).outcome).toBe('undone');
    expect((await tenant.undoIt()).outcome).toBe('undone');
    expect(await tenant.all()).toEqual(before);
  });

  test('moves back the ids of an account that was left since, and leaves the same ids of another account', async () => {
    const tenant = await tenantWithIds(pool, [], []);
    const { organisationId, link } = tenant;
    const first = await connectAccount(organisationId, 'AAA');
    await contactExternalIdLinkMany(pool, { organisationId, links: [link(0, 'reapit contact 1')] });
    const { operationId } = await contactMerge(pool, tenant.merge(0, 1));
    await connectionDisconnect(pool, first);
    // Another connection to the same account: the ids are archived under this one.
    await connectionDisconnect(pool, await connectAccount(organisationId, 'AAA'));
    const other = await connectAccount(organisationId, 'BBB');
    await contactExternalIdLinkMany(pool, { organisationId, links: [link(1, 'reapit contact 1')] });
    expect((await contactMergeUndo(pool, tenant.undo(operationId))).outcome).toBe('undone');
    expect([await tenant.ids(0), await tenant.ids(1)]).toEqual([[], ['*reapit contact 1']]);
    await connectionDisconnect(pool, other);
    await connectAccount(organisationId, 'AAA');
    expect([await tenant.ids(0), await tenant.ids(1)]).toEqual([['*reapit contact 1'], []]);
  });

  test('is refused for an unknown operation, one of another organisation, and an undo', async () => {
    const { operationId, organisationId, undoIt } = await merged();
    const stranger = (await createTenant(pool)).organisationId;
    const undone = await undoIt();
    for (const params of [
      { organisationId, operationId: randomUUID() },
      { organisationId: stranger, operationId },
      { organisationId, operationId: undone.operationId as string },
    ]) {
      await expect(contactMergeUndo(pool, params)).rejects.toMatchObject({ code: 'invalid_input' });
    }
  });
});
