import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  connectionDisconnect,
  connectionSetAccount,
  contactExternalIdLink,
  contactMerge,
  externalRecordCheckMany,
} from '../../src/index.js';
import {
  contactErase,
  contactEraseAgain,
  ErasureKey,
  erasureList,
  organisationErase,
} from '../../src/migrations.js';
import { connect } from '../support/connection.js';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { placesOf } from '../support/erasure.js';
import { useMember } from '../support/roles.js';
import { agencyWithOttoline, log } from './agency.js';

const database = useDatabase();
const { pool, url } = database;
const worker = useMember(database, 'crm_worker');

const newKey = () => ErasureKey.parse(randomBytes(32).toString('base64'));

test('contactErase erases everyone merged into the contact, whatever the case of the ids', async () => {
  const { organisationId, ottoline, duplicate, hers } = await agencyWithOttoline(pool);
  const key = newKey();
  const erased = await withClient(url, (client) =>
    contactErase(client, key, {
      organisationId: organisationId.toUpperCase(),
      contactId: ottoline.toUpperCase(),
    }),
  );
  expect(erased).toMatchObject({
    erasureId: expect.stringMatching(/^\d+$/),
    contactIds: [ottoline, duplicate].sort(),
    counts: { crm_sync_log: 7, contact_external_id_aliases: 3 },
  });
  for (const text of hers) expect(await placesOf(pool, text)).toEqual([]);
  const [proof] = (await withClient(url, erasureList)).filter(
    (each) => each.organisationId === organisationId,
  );
  expect(proof).toMatchObject({
    subject: 'contact',
    erasureId: erased.erasureId,
    keyId: key.id,
    counts: erased.counts,
    finishedAt: proof?.erasedAt,
    erasedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
  });
  expect([...(proof?.subjectHashes ?? [])].sort()).toEqual(
    [ottoline, duplicate].map((id) => key.hashContact(organisationId, id).toString('hex')).sort(),
  );
  // Seven records, and two contacts.
  expect(proof?.records).toHaveLength(9);
  for (const text of hers) expect(JSON.stringify(proof)).not.toContain(text);
});

test('contactErase and the deletion of the contact can be one transaction', async () => {
  const { organisationId, ottoline, hers } = await agencyWithOttoline(pool);
  await withClient(url, async (client) => {
    await client.query('begin');
    const { contactIds } = await contactErase(client, newKey(), { organisationId, contactId: ottoline });
    await client.query('delete from contacts where organisation_id = $1 and id = any($2)', [
      organisationId,
      contactIds,
    ]);
    await client.query('commit');
  });
  for (const text of hers) expect(await placesOf(pool, text)).toEqual([]);
});

test('contactErase is refused to anybody but the owner', async () => {
  const { organisationId, ottoline } = await agencyWithOttoline(pool);
  const client = await worker.connect();
  try {
    await expect(
      contactErase(client, newKey(), { organisationId, contactId: ottoline }),
    ).rejects.toMatchObject({
      code: 'not_permitted',
    });
    await expect(erasureList(client)).rejects.toMatchObject({ code: 'not_permitted' });
  } finally {
    client.release();
  }
});

test('an erasure is repeated after a restore, and the records that came after the backup stay known', async () => {
  const { organisationId, reapit, ottoline, duplicate, hers } = await agencyWithOttoline(pool);
  const key = newKey();
  // The backup is what a savepoint goes back to.
  await rolledBack(pool, async (client) => {
    await client.query('savepoint backup');
    await log(client, reapit, [{ externalId: 'AFTER-THE-BACKUP', internalId: ottoline }]);
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await client.query('rollback to backup');
    await client.query('commit');
    expect(await placesOf(pool, ottoline)).not.toEqual([]);

    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([
      { organisationId, outcome: 'erased', counts: { crm_sync_log: 7 } },
    ]);
    for (const text of hers) expect(await placesOf(pool, text)).toEqual([]);
    const records = [...hers.slice(2), 'AFTER-THE-BACKUP'].map((externalId) => ({
      entityType: 'contact',
      externalId,
    }));
    const checked = await externalRecordCheckMany(pool, { organisationId, provider: 'reapit', records });
    const of = (name: string) =>
      checked[records.findIndex(({ externalId }) => externalId.startsWith(name))]?.decision;
    expect(of('AFTER')).toBe('contact_deleted');
    expect(of('LANDLORD')).toBe('contact_deleted');
    // The proof is back, with its own time, beside that of the repetition.
    const restored = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    expect(restored).toHaveLength(2);
    expect(restored.map(({ erasedAt }) => erasedAt)).toContain(proofs[0]?.erasedAt);

    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'absent' }]);
    expect(await erasureList(client)).toHaveLength((await erasureList(client)).length);
    expect(
      (await erasureList(client)).filter((proof) => proof.organisationId === organisationId),
    ).toHaveLength(2);
    expect(duplicate).not.toBe(ottoline);
  });
});

test('an erasure is repeated where the backup is from before a merge, and finds both contacts', async () => {
  const { organisationId, ottoline, barnaby } = await agencyWithOttoline(pool);
  const key = newKey();
  await rolledBack(pool, async (client) => {
    await client.query('savepoint backup');
    await contactMerge(client, { organisationId, fromContactId: barnaby, intoContactId: ottoline });
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await client.query('rollback to backup');
    await client.query('commit');
    await contactEraseAgain(client, key, proofs);
    for (const id of [ottoline, barnaby]) expect(await placesOf(pool, id)).toEqual([]);
  });
});

test('a proof that cannot be repeated, because the backup has somebody merged into the person, is reported, and the others are repeated', async () => {
  const first = await agencyWithOttoline(pool);
  const second = await agencyWithOttoline(pool);
  const key = newKey();
  const { rows } = await pool.query(
    `insert into contact_external_id_changes (organisation_id, kind, from_contact_id, to_contact_id)
     values ($1, 'contacts_merged', $2, $3) returning id`,
    [first.organisationId, first.barnaby, first.ottoline],
  );
  const proofOf = async ({ organisationId, ottoline, duplicate }: typeof first) => ({
    organisationId,
    erasureId: '1',
    subject: 'contact' as const,
    erasedAt: '2026-11-01T00:00:00.000000Z',
    erasedBy: 'test',
    keyId: key.id,
    subjectHashes: [ottoline, duplicate].map((id) => key.hashContact(organisationId, id).toString('hex')),
    counts: {},
    records: [],
  });
  const proofs = [await proofOf(first), await proofOf(second)] as never;
  expect(await withClient(url, (client) => contactEraseAgain(client, key, proofs))).toEqual([
    {
      organisationId: first.organisationId,
      erasureId: '1',
      outcome: 'failed',
      error: { code: '40001', message: expect.stringContaining(first.barnaby) },
    },
    expect.objectContaining({ organisationId: second.organisationId, outcome: 'erased' }),
  ]);
  expect(await placesOf(pool, first.ottoline)).not.toEqual([]);
  expect(await placesOf(pool, second.ottoline)).toEqual([]);
  const proven = async () =>
    (await withClient(url, erasureList)).filter(
      ({ organisationId }) => organisationId === first.organisationId,
    );
  expect(await proven()).toEqual([]);

  await pool.query('delete from contact_external_id_changes where id = $1', [rows[0].id]);
  expect(await withClient(url, (client) => contactEraseAgain(client, key, proofs))).toMatchObject([
    { outcome: 'erased' },
    { outcome: 'absent' },
  ]);
});

test('a record that was erased in several accounts stays known in each after a restore from before the second', async () => {
  const { organisationId, contactIds } = await createTenant(pool, 1);
  const [ottoline] = contactIds as [string];
  const key = newKey();
  const record = { entityType: 'contact', externalId: 'X' };
  const linkIn = async (client: pg.PoolClient, account: string) => {
    const connection = await connect(client, organisationId, 'alto');
    await connectionSetAccount(client, { ...connection, account });
    await contactExternalIdLink(client, { organisationId, provider: 'alto', ...record, contactId: ottoline });
    await log(client, connection, [{ externalId: record.externalId, internalId: ottoline }]);
    return connection;
  };
  await rolledBack(pool, async (client) => {
    await connectionDisconnect(client, await linkIn(client, 'first'));
    await client.query('savepoint backup');
    await linkIn(client, 'second');
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    // The record, and the contact.
    expect(proofs[0]?.records).toMatchObject([{ account: null }, { account: null }]);
    await client.query('rollback to backup');
    await client.query('commit');

    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'erased' }]);
    const connection = await connect(client, organisationId, 'alto');
    await connectionSetAccount(client, { ...connection, account: 'second' });
    expect(
      await externalRecordCheckMany(client, { organisationId, provider: 'alto', records: [record] }),
    ).toMatchObject([{ decision: 'contact_deleted' }]);
  });
});

test.each(['the table', 'the file'])(
  'a person of an organisation that was erased later, as a proof in %s says, gets no hashes again',
  async (place) => {
    const { organisationId, ottoline, barnaby } = await agencyWithOttoline(pool);
    const key = newKey();
    const ofThisOrganisation = async (client: pg.Client) =>
      (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    const kept = async () =>
      (
        await pool.query(
          `select
           (select count(*)::integer from crm_erasure_salts where organisation_id = $1) as salts,
           (select count(*)::integer from crm_erased_records where organisation_id = $1) as records,
           (select count(*)::integer from crm_erasures where organisation_id = $1 and subject = 'contact') as proofs`,
          [organisationId],
        )
      ).rows[0];
    await withClient(url, async (client) => {
      await contactErase(client, key, { organisationId, contactId: ottoline });
      const before = await ofThisOrganisation(client);
      const { rows: connections } = await pool.query(
        "select id from crm_connections where organisation_id = $1 and status <> 'disconnected'",
        [organisationId],
      );
      for (const { id } of connections)
        await connectionDisconnect(pool, { organisationId, connectionId: id });
      await organisationErase(client, key, { organisationId });
      const after = await ofThisOrganisation(client);
      if (place === 'the file')
        await pool.query('delete from crm_erasures where organisation_id = $1', [organisationId]);

      const repeated = await contactEraseAgain(client, key, place === 'the file' ? after : before);
      expect(repeated.filter(({ outcome }) => outcome !== 'organisation')).toMatchObject([
        { outcome: 'organisation_erased' },
      ]);
      expect(await kept()).toEqual({ salts: 0, records: 0, proofs: 1 });

      // Who is erased after the organisation has come back is recognised.
      await connect(pool, organisationId, 'reapit');
      await contactExternalIdLink(pool, {
        organisationId,
        provider: 'reapit',
        entityType: 'contact',
        externalId: 'LATER',
        contactId: barnaby,
      });
      await contactErase(client, key, { organisationId, contactId: barnaby });
      const later = await ofThisOrganisation(client);
      await pool.query('delete from crm_erased_records where organisation_id = $1', [organisationId]);
      expect(await contactEraseAgain(client, key, later)).toContainEqual(
        expect.objectContaining({ outcome: 'absent' }),
      );
      expect(await kept()).toMatchObject({ salts: 1, records: 2 });
    });
  },
);

test('a failing push that was written with the contact in upper case is erased, also again', async () => {
  const { organisationId, reapit, ottoline } = await agencyWithOttoline(pool);
  const key = newKey();
  const fail = () =>
    pool.query(
      `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
       values ($1, $2, 'outbound', 'contact', $3, 1, '{"kind":"internal","retryable":true,"message":"It failed."}', now(), now(), now())`,
      [organisationId, reapit.connectionId, ottoline.toUpperCase()],
    );
  await fail();
  await withClient(url, async (client) => {
    const { counts } = await contactErase(client, key, { organisationId, contactId: ottoline });
    expect(counts).toMatchObject({ crm_sync_failures: 3 });
    expect(await placesOf(pool, ottoline.toUpperCase())).toEqual([]);
    await fail();
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'erased' }]);
    expect(await placesOf(pool, ottoline.toUpperCase())).toEqual([]);
  });
});

test('proofs of another key and of organisations are reported, and change nothing', async () => {
  const { organisationId, ottoline, hers } = await agencyWithOttoline(pool);
  const client = await pool.connect();
  try {
    const proof = {
      organisationId,
      erasureId: '1',
      subject: 'contact',
      erasedAt: '2026-11-01T00:00:00.000000Z',
      erasedBy: 'test',
      keyId: '0123456789abcdef',
      subjectHashes: [newKey().hashContact(organisationId, ottoline).toString('hex')],
      counts: {},
      records: [],
    } as never;
    expect(
      await contactEraseAgain(client, newKey(), [
        proof,
        { ...(proof as object), subject: 'organisation' } as never,
      ]),
    ).toMatchObject([{ outcome: 'other_key' }, { outcome: 'organisation' }]);
  } finally {
    client.release();
  }
  for (const text of hers) expect(await placesOf(pool, text)).not.toEqual([]);
});

test.each(['', 'short', 'c2hvcnQ=', '!'.repeat(44), `${'A'.repeat(42)} A`])(
  'a key must be at least 32 bytes in base64, and %j is refused without being shown',
  (text) => {
    let message = '';
    try {
      ErasureKey.parse(text);
    } catch (error) {
      message = (error as Error).message;
      expect(error).toMatchObject({ code: 'invalid_key_ring' });
    }
    expect(message).toMatch(/32 random bytes/);
    if (text !== '') expect(message).not.toContain(text);
  },
);

test('a key shows neither itself nor its secret when it is printed', () => {
  const text = randomBytes(32).toString('base64');
  const key = ErasureKey.parse(text);
  expect(JSON.stringify(key)).toBe(JSON.stringify({ id: key.id }));
});
