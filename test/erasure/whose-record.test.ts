import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionSetAccount,
  contactExport,
  contactExternalIdLinkMany,
  contactExternalIdRepoint,
  contactExternalIdUnlink,
  contactMerge,
  contactMergeUndo,
  externalRecordCheckMany,
  recordRequestAdd,
  syncLogRecord,
} from '../../src/index.js';
import { contactErase, contactEraseAgain, ErasureKey, erasureList } from '../../src/migrations.js';
import { connect } from '../support/connection.js';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';

// Whose a record is, and when: erasures, exports and what recognises the records of erased people agree.

const { pool } = useDatabase();

type Client = pg.Pool | pg.PoolClient;

let organisationId: string;
let ottoline: string;
let barnaby: string;
let cosima: string;
let nell: string;
/** The id of the record. */
let x: string;

beforeEach(async () => {
  const tenant = await createTenant(pool, 4);
  organisationId = tenant.organisationId;
  [ottoline, barnaby, cosima, nell] = tenant.contactIds as [string, string, string, string];
  x = `X-${organisationId.slice(0, 8)}`;
});

const record = () => ({ organisationId, provider: 'reapit', entityType: 'contact', externalId: x }) as const;

/** Links the record, or another one: the second of a contact is an alias. */
async function link(contactId: string, client: Client = pool, externalId = x) {
  const [linked] = await contactExternalIdLinkMany(client, {
    organisationId,
    links: [{ ...record(), externalId, contactId }],
    ifContactTaken: 'alias',
  });
  return linked?.outcome;
}

const repoint = (fromContactId: string, toContactId: string, client: Client = pool) =>
  contactExternalIdRepoint(client, { ...record(), fromContactId, toContactId });

const unlink = (contactId: string) => contactExternalIdUnlink(pool, { ...record(), contactId });

const deleteInHost = (contactId: string) => pool.query('delete from contacts where id = $1', [contactId]);

/** What the check of the record says. */
async function decision(client: Client = pool) {
  const [checked] = await externalRecordCheckMany(client, {
    organisationId,
    provider: 'reapit',
    records: [{ entityType: 'contact', externalId: x }],
  });
  return checked?.decision;
}

/** Connects to an account, or to one that nobody knows, instead of the one before. */
async function connectTo(account: string | null, before?: ConnectionKey, client: Client = pool) {
  if (before !== undefined) await connectionDisconnect(client, before);
  const key = await connect(client, organisationId, 'reapit');
  if (account !== null) await connectionSetAccount(client, { ...key, account });
  return key;
}

const inbound = () => ({ direction: 'inbound', entityType: 'contact', externalId: x }) as const;

const logSuccess = (key: ConnectionKey, contactId: string, client: Client = pool) =>
  syncLogRecord(client, { ...key, events: [{ ...inbound(), internalId: contactId, status: 'success' }] });

const logFailure = (key: ConnectionKey, message = 'It has no name.') =>
  syncLogRecord(pool, {
    ...key,
    events: [{ ...inbound(), status: 'error', error: { kind: 'validation', retryable: false, message } }],
  });

const request = (key: ConnectionKey) =>
  recordRequestAdd(pool, { ...key, records: [{ entityType: 'contact', externalId: x }] });

/** The tables in which the record is named. */
const tables = async () =>
  (await placesOf(pool, x)).map((place) =>
    place.split(' ')[0]?.replace(/^crm_sync_log_\d.*/, 'crm_sync_log'),
  );

/** Whom the record is linked to. */
const linkedTo = async (client: Client = pool) =>
  (
    await client.query(
      'select contact_id as id from contact_external_records where organisation_id = $1 and external_id = $2',
      [organisationId, x],
    )
  ).rows.map(({ id }) => id);

/** The messages of the events that the export of a contact has. */
async function exportedMessages(contactId: string): Promise<string[]> {
  let text = '';
  for await (const part of contactExport(pool, { organisationId, contactId })) text += part;
  return JSON.parse(text).events.flatMap(
    ({ error }: { error: { message: string } | null }) => error?.message ?? [],
  );
}

describe('a record that is linked to the person, and that the archive has for somebody else', () => {
  test.each([
    ['as primary id', 'while the account was unknown', false, ['one', 'two', null]],
    ['as alias', 'while the account was unknown', true, ['one', 'two', null]],
    ['as primary id', 'in a second account, before the account became unknown', false, ['one', 'two']],
    ['as alias', 'in a second account, before the account became unknown', true, ['one', 'two']],
  ] as const)('%s, linked %s, is erased, and stays in the archive', async (_, __, isAlias, accounts) => {
    let present = await connectTo('one');
    await link(barnaby);
    for (const account of accounts.slice(1)) present = await connectTo(account, present);
    if (isAlias) await link(ottoline, pool, 'HERS');
    expect(await link(ottoline)).toBe(isAlias ? 'linked_as_alias' : 'linked');
    if (accounts.at(-1) !== null) present = await connectTo(null, present);
    await logFailure(present);
    await request(present);

    await eraseContacts(pool, organisationId, [ottoline]);
    await deleteInHost(ottoline);
    expect(await tables()).toEqual(['contact_external_id_archive']);
    expect(await decision()).toBe('contact_deleted');
    expect(await link(cosima)).toBe('erased');

    // In the account of the archive, it is Barnaby's.
    await connectTo('one', present);
    expect(await linkedTo()).toEqual([barnaby]);
  });

  test.each(['present', 'archived'])(
    'of the same account, which became known after the link, is erased from the archive, too, while her link is %s',
    async (state) => {
      const first = await connectTo('one');
      await link(barnaby);
      await logSuccess(first, barnaby);
      let present = await connectTo(null, await connectTo('two', first));
      await link(ottoline);
      await connectionSetAccount(pool, { ...present, account: 'one' });
      expect(await linkedTo()).toEqual([ottoline]);
      await logFailure(present);
      if (state === 'archived') present = await connectTo('two', present);
      else await request(present);

      await eraseContacts(pool, organisationId, [ottoline]);
      await deleteInHost(ottoline);
      expect(await tables()).toEqual([]);
      if (state === 'archived') await connectTo('one', present);
      expect(await decision()).toBe('contact_deleted');
      expect(await link(cosima)).toBe('erased');
    },
  );
});

test('a record that the archive of a known account has for the person is theirs, whoever is linked to it in an unknown one', async () => {
  const first = await connectTo('one');
  await link(ottoline);
  await logFailure(first, 'In account one.');
  const present = await connectTo(null, await connectTo('two', first));
  await link(barnaby);
  await logFailure(present, 'In an unknown account.');
  await request(present);

  await eraseContacts(pool, organisationId, [ottoline]);
  expect(await linkedTo()).toEqual([barnaby]);
  expect((await placesOf(pool, x)).join()).not.toContain('In account one.');
  expect((await placesOf(pool, x)).join()).toContain('In an unknown account.');
  expect(await tables()).toContain('crm_record_requests');
  await unlink(barnaby);
  await connectTo('one', await connectTo('two', present));
  expect(await decision()).toBe('contact_deleted');
});

test('what was logged of a record under an unknown account is erased, if the same id means somebody else only in another one', async () => {
  const one = await connectTo('one');
  await link(ottoline);
  const unknown = await connectTo(null, one);
  await logFailure(unknown);
  await connectTo('two', unknown);
  await link(barnaby);
  await eraseContacts(pool, organisationId, [ottoline]);
  expect(await tables()).toEqual(['contact_external_ids']);
  expect(await linkedTo()).toEqual([barnaby]);
});

test('a record that is linked in an unknown account is exported with that contact, not with the one of a later archive', async () => {
  const one = await connectTo('one');
  await link(ottoline);
  const two = await connectTo('two', one);
  await link(barnaby);
  // Her link is back, and older than his.
  const present = await connectTo(null, await connectTo('one', two));
  expect(await linkedTo()).toEqual([ottoline]);
  await logFailure(present, 'It is hers.');
  expect(await exportedMessages(ottoline)).toEqual(['It is hers.']);
  expect(await exportedMessages(barnaby)).toEqual([]);
  await eraseContacts(pool, organisationId, [barnaby]);
  expect(await exportedMessages(ottoline)).toEqual(['It is hers.']);
  expect(await linkedTo()).toEqual([ottoline]);
});

describe('an erased holder in the middle of the history of a record', () => {
  test.each<[string, (key: ConnectionKey) => Promise<unknown>]>([
    [
      'who passed it on',
      async () => {
        await repoint(barnaby, cosima);
        await repoint(cosima, ottoline);
      },
    ],
    [
      'whom the host deleted',
      async () => {
        await repoint(barnaby, cosima);
        await deleteInHost(cosima);
        await link(ottoline);
      },
    ],
    [
      'who was unlinked',
      async () => {
        await repoint(barnaby, cosima);
        await unlink(cosima);
        await link(ottoline);
      },
    ],
    [
      'whose merge into somebody was undone',
      async (key) => {
        await repoint(barnaby, cosima);
        const { operationId } = await contactMerge(pool, {
          organisationId,
          fromContactId: cosima,
          intoContactId: nell,
        });
        await logSuccess(key, nell);
        await contactMergeUndo(pool, { organisationId, operationId: operationId as string });
        await repoint(cosima, ottoline);
      },
    ],
    [
      'who passed it on by way of one who is erased as well',
      async () => {
        await repoint(barnaby, cosima);
        await repoint(cosima, nell);
        await repoint(nell, ottoline);
        await eraseContacts(pool, organisationId, [nell]);
      },
    ],
  ])('%s hides no earlier holder from the next erasure', async (_, arrange) => {
    const key = await connectTo('one');
    await link(barnaby);
    await logSuccess(key, barnaby);
    await arrange(key);
    await eraseContacts(pool, organisationId, [cosima]);
    expect(await placesOf(pool, cosima)).toEqual([]);
    expect(await linkedTo()).toEqual([ottoline]);

    await eraseContacts(pool, organisationId, [ottoline]);
    expect(await tables()).toEqual([]);
    // The event stays Barnaby's.
    expect((await placesOf(pool, barnaby)).map((place) => place.split('_20')[0])).toEqual(['crm_sync_log']);
  });

  test('leaves of a change only the contact who had the record before', async () => {
    const key = await connectTo('one');
    await link(barnaby);
    await repoint(barnaby, cosima);
    await repoint(cosima, ottoline);
    await logSuccess(key, ottoline);
    await eraseContacts(pool, organisationId, [cosima]);
    const { rows } = await pool.query(
      `select kind, external_id as id, from_contact_id as "from", was_primary as "wasPrimary", to_contact_id as "to", is_primary as "isPrimary"
       from contact_external_id_changes
       where organisation_id = $1`,
      [organisationId],
    );
    expect(rows).toEqual([
      { kind: 'repointed', id: x, from: barnaby, wasPrimary: true, to: null, isPrimary: null },
    ]);
  });
});

describe('what was logged of a record alone', () => {
  test('is erased with whoever had the record then, and stays if that is another', async () => {
    const key = await connectTo('one');
    await logFailure(key, 'Before there was a link.');
    await link(barnaby);
    await logFailure(key, 'While it was his.');
    await repoint(barnaby, cosima);
    await logFailure(key, 'While it was hers.');
    await repoint(cosima, barnaby);
    await logFailure(key, 'Since it is his again.');
    const his = ['Since it is his again.', 'While it was his.', 'Before there was a link.'];
    expect(await exportedMessages(barnaby)).toEqual(his);
    expect(await exportedMessages(cosima)).toEqual(['While it was hers.']);

    await eraseContacts(pool, organisationId, [cosima]);
    expect(await exportedMessages(barnaby)).toEqual(his);
    expect(await placesOf(pool, 'While it was hers.')).toEqual([]);
    expect((await placesOf(pool, x)).join()).not.toContain('Erased.');
    await eraseContacts(pool, organisationId, [barnaby]);
    expect(await tables()).toEqual([]);
  });

  test('of a month that is detached is erased in the same way', async () => {
    const key = await connectTo('one');
    await pool.query('select crm_sync_log_ensure_partitions(1)');
    await link(barnaby);
    await logFailure(key, 'While it was his.');
    await repoint(barnaby, cosima);
    await logFailure(key, 'While it was hers.');
    await repoint(cosima, barnaby);
    const { rows } = await pool.query(
      "select 'crm_sync_log_' || to_char(now() at time zone 'UTC', 'YYYY_MM') as month",
    );
    await rolledBack(pool, async (client) => {
      await client.query(`alter table crm_sync_log detach partition ${rows[0].month}`);
      await eraseContacts(client, organisationId, [cosima]);
      expect(await placesOf(client, 'While it was his.')).toHaveLength(1);
      expect(await placesOf(client, 'While it was hers.')).toEqual([]);
    });
  });
});

describe('after a restore', () => {
  /** Links the record to Barnaby, erases Ottoline, who got it after the backup, and repeats that in the backup. */
  async function repeatInBackup(client: pg.PoolClient, isAlias: boolean, hers?: string) {
    const one = await connectTo('one', undefined, client);
    if (isAlias) await link(barnaby, client, 'HIS');
    await link(barnaby, client);
    await logSuccess(one, barnaby, client);
    if (hers !== undefined) await link(ottoline, client, hers);
    await client.query('savepoint backup');
    if (hers !== undefined)
      await contactExternalIdUnlink(client, { ...record(), externalId: hers, contactId: ottoline });
    await repoint(barnaby, ottoline, client);
    const key = ErasureKey.parse(randomBytes(32).toString('base64'));
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await client.query('rollback to backup');
    await client.query('commit');
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([
      { outcome: hers === undefined ? 'absent' : 'erased' },
    ]);
    return one;
  }

  test.each([
    ['primary id', false],
    ['alias', true],
  ])(
    'a record that the backup links to somebody else, as %s, comes back with its account',
    async (_, isAlias) => {
      await rolledBack(pool, async (client) => {
        const one = await repeatInBackup(client, isAlias);
        const two = await connectTo('two', one, client);
        expect(await linkedTo()).toEqual([]);
        // It is logged late.
        await logFailure(one, `${x} is his.`);
        expect(await placesOf(pool, `${x} is his.`)).toHaveLength(1);
        await connectTo('one', two, client);
        expect(await linkedTo()).toEqual([barnaby]);
        expect(await decision()).not.toBe('contact_deleted');
      });
    },
  );

  test('a record that its archive has for somebody whom the host deletes is recognised', async () => {
    await rolledBack(pool, async (client) => {
      const two = await connectTo('two', await repeatInBackup(client, false), client);
      await deleteInHost(barnaby);
      await connectTo('one', two, client);
      expect(await link(cosima)).toBe('erased');
    });
  });

  test('the history says nothing of a record that means somebody else, though the repetition looked for it', async () => {
    await rolledBack(pool, async (client) => {
      await repeatInBackup(client, false, 'HERS');
      const { rowCount } = await pool.query(
        'select from contact_external_id_changes where organisation_id = $1',
        [organisationId],
      );
      expect(rowCount).toBe(0);
      expect(await linkedTo()).toEqual([barnaby]);
    });
  });
});
