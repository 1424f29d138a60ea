import { randomBytes, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionSetAccount,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdRepoint,
  contactMerge,
  contactMergeUndo,
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
    counts: { crm_sync_log: 7, contact_external_id_aliases: 4 },
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
     values ($1, 'contacts_merged', $2, $3) returning id, operation_id as operation`,
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
      contactIds: expect.arrayContaining([first.ottoline]),
      isHostSearched: true,
      error: {
        code: '40001',
        message: expect.stringMatching(
          `^contact ${first.barnaby} is merged into ${first.ottoline} here, and ${first.barnaby} was not erased. Undo merge ${rows[0].operation}`,
        ),
      },
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
      await pool.query('delete from crm_erasures where organisation_id = $1', [organisationId]);
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
        { ...(proof as object), subject: 'organisation', finishedAt: '2999-11-01T00:00:00.000000Z' } as never,
      ]),
    ).toMatchObject([{ outcome: 'other_key' }, { outcome: 'organisation_back' }]);
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

/** Fails a record of Reapit, without a contact, so that the log, a failure and a request have its id. */
async function failRecord(
  client: pg.ClientBase,
  { organisationId, connectionId }: ConnectionKey,
  externalId: string,
): Promise<void> {
  await log(client, { organisationId, connectionId }, [{ externalId, error: `${externalId} has no name.` }]);
  await client.query(
    `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
     values ($1, $2, 'inbound', 'contact', $3, 1, '{"kind":"internal","retryable":true,"message":"It failed."}', now(), now(), now())`,
    [organisationId, connectionId, externalId],
  );
  await client.query(
    `insert into crm_record_requests (organisation_id, connection_id, entity_type, external_id, requested_at)
     values ($1, $2, 'contact', $3, now())`,
    [organisationId, connectionId, externalId],
  );
}

test('a person whom the backup knows only by the id of a record is found by its hash, and erased', async () => {
  const { organisationId, reapit, barnaby } = await agencyWithOttoline(pool);
  const nell = randomUUID();
  await pool.query("insert into contacts (id, organisation_id, name) values ($1, $2, 'Test Person')", [
    nell,
    organisationId,
  ]);
  const key = newKey();
  const [externalId, unrelated] = [`LATER-${nell}`, `OTHER-${nell}`];
  await rolledBack(pool, async (client) => {
    await failRecord(client, reapit, externalId);
    await failRecord(client, reapit, unrelated);
    // A program has logged it for Barnaby, who never had it.
    await log(client, reapit, [{ externalId, internalId: barnaby }]);
    await client.query('savepoint backup');
    const link = { organisationId, provider: 'reapit', entityType: 'contact', externalId } as const;
    await contactExternalIdLink(client, { ...link, contactId: nell });
    await contactErase(client, key, { organisationId, contactId: nell });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await client.query('rollback to backup');
    await client.query('commit');
    expect((await placesOf(pool, externalId)).length).toBe(4);
    const others = await placesOf(pool, unrelated);

    expect(await contactEraseAgain(client, key, proofs, { isDryRun: true })).toMatchObject([
      { outcome: 'erased' },
    ]);
    expect((await placesOf(pool, externalId)).length).toBe(4);
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([
      {
        outcome: 'erased',
        contactIds: [nell],
        counts: {
          crm_sync_log: 2,
          crm_sync_failures: 1,
          crm_record_requests: 1,
          contact_external_id_changes: 0,
        },
      },
    ]);
    expect(await placesOf(pool, externalId)).toEqual([]);
    expect(await placesOf(pool, unrelated)).toEqual(others);
    const restored = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    expect(restored.map(({ subjectHashes }) => subjectHashes)).toEqual([
      proofs[0]?.subjectHashes,
      proofs[0]?.subjectHashes,
    ]);
    expect(restored.map(({ counts }) => counts.contact_external_id_changes)).toContain(0);
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'absent' }]);
  });
});

test('a record that the backup links to somebody else stays linked, and in their events', async () => {
  const { organisationId, reapit, barnaby } = await agencyWithOttoline(pool);
  const nell = randomUUID();
  const key = newKey();
  const externalId = `MOVED-${barnaby}`;
  const link = { organisationId, provider: 'reapit', entityType: 'contact', externalId } as const;
  await pool.query("insert into contacts (id, organisation_id, name) values ($1, $2, 'Test Person')", [
    nell,
    organisationId,
  ]);
  await rolledBack(pool, async (client) => {
    await contactExternalIdLinkMany(client, {
      organisationId,
      links: [{ ...link, contactId: barnaby }],
      ifContactTaken: 'alias',
    });
    await log(client, reapit, [{ externalId, internalId: barnaby }]);
    await client.query('savepoint backup');
    await contactExternalIdRepoint(client, { ...link, fromContactId: barnaby, toContactId: nell });
    await contactErase(client, key, { organisationId, contactId: nell });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await client.query('rollback to backup');
    await client.query('commit');
    const before = await placesOf(pool, externalId);
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'absent' }]);
    expect(await placesOf(pool, externalId)).toEqual(before);
  });
});

test('a person whom the backup has merged into somebody who stays is named with the merge to undo', async () => {
  const { organisationId, ottoline, duplicate, barnaby } = await agencyWithOttoline(pool);
  const key = newKey();
  await rolledBack(pool, async (client) => {
    const { operationId } = await contactMerge(client, {
      organisationId,
      fromContactId: ottoline,
      intoContactId: barnaby,
    });
    await client.query('savepoint backup');
    await contactMergeUndo(client, { organisationId, operationId: operationId as string });
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await client.query('rollback to backup');
    await client.query('commit');
    const [failed] = await contactEraseAgain(client, key, proofs);
    expect(failed).toMatchObject({
      outcome: 'failed',
      error: { code: 'CRM04', message: expect.stringContaining(`Undo merge ${operationId} (`) },
    });
    expect(failed?.error?.message).toContain(`${barnaby} was not erased`);

    await contactMergeUndo(client, { organisationId, operationId: operationId as string });
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'erased' }]);
    for (const id of [ottoline, duplicate]) expect(await placesOf(pool, id)).toEqual([]);
    expect(await placesOf(pool, barnaby)).not.toEqual([]);
  });
});

test('a contact that is left in the table of the host alone is named', async () => {
  const { organisationId, ottoline, duplicate } = await agencyWithOttoline(pool);
  const key = newKey();
  await withClient(url, async (client) => {
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await pool.query('delete from contacts where id = $1', [duplicate]);
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([
      { outcome: 'absent', contactIds: [ottoline], isHostSearched: true },
    ]);
    await pool.query('delete from contacts where id = $1', [ottoline]);
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([
      { outcome: 'absent', contactIds: [] },
    ]);
  });
});

test('a person who came back after the erasure that the table has is left alone, and a record that was readmitted stays so', async () => {
  const { organisationId, reapit, ottoline, barnaby, hers } = await agencyWithOttoline(pool);
  const key = newKey();
  const landlord = hers.find((text) => text.startsWith('LANDLORD')) as string;
  const applicant = hers.find((text) => text.startsWith('APPLICANT')) as string;
  await withClient(url, async (client) => {
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    for (const externalId of [landlord, applicant])
      await client.query("select crm_readmit_record($1, 'reapit', 'contact', $2)", [
        organisationId,
        externalId,
      ]);
    // Somebody else's by now.
    await log(pool, reapit, [{ externalId: applicant }]);
    const before = await placesOf(pool, applicant);
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'absent' }]);
    expect(await placesOf(pool, applicant)).toEqual(before);
    const record = { entityType: 'contact', externalId: landlord };
    const link = { organisationId, provider: 'reapit', ...record } as const;
    expect(await contactExternalIdLink(client, { ...link, contactId: ottoline })).toMatchObject({
      outcome: 'linked',
    });

    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([
      { outcome: 'returned', contactIds: [ottoline, expect.any(String)] },
    ]);
    expect(await placesOf(pool, landlord)).toHaveLength(1);
    expect(barnaby).not.toBe(ottoline);

    // Without the proof, the table is from before the erasure, and so is she.
    await pool.query('delete from crm_erased_records where organisation_id = $1', [organisationId]);
    await pool.query('delete from crm_erasures where organisation_id = $1', [organisationId]);
    expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'erased' }]);
    expect(await placesOf(pool, landlord)).toEqual([]);
  });
});

test('a salt that was lost is restored, so that the records are recognised again', async () => {
  const { organisationId, ottoline, hers } = await agencyWithOttoline(pool);
  const key = newKey();
  const landlord = hers.find((text) => text.startsWith('LANDLORD')) as string;
  const decision = async () =>
    (
      await externalRecordCheckMany(pool, {
        organisationId,
        provider: 'reapit',
        records: [{ entityType: 'contact', externalId: landlord }],
      })
    )[0]?.decision;
  await withClient(url, async (client) => {
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await pool.query('delete from crm_erasure_salts where organisation_id = $1', [organisationId]);
    expect(await decision()).toBe('unknown');
    await contactEraseAgain(client, key, proofs);
    expect(await decision()).toBe('contact_deleted');
  });
});

test('an organisation that is back as before its erasure is reported, and one that connects a CRM anew is not', async () => {
  const { organisationId, ottoline } = await agencyWithOttoline(pool);
  const key = newKey();
  await rolledBack(pool, async (client) => {
    await client.query('savepoint backup');
    await contactErase(client, key, { organisationId, contactId: ottoline });
    const { rows } = await client.query(
      "select id from crm_connections where organisation_id = $1 and status <> 'disconnected'",
      [organisationId],
    );
    for (const { id } of rows) await connectionDisconnect(client, { organisationId, connectionId: id });
    await client.query(
      "insert into crm_erasures (organisation_id, subject, key_id, subject_hashes, finished_at, counts) values ($1, 'organisation', $2, array[$3::bytea], clock_timestamp() + interval '1 minute', '{}')",
      [organisationId, key.id, key.hashOrganisation(organisationId)],
    );
    const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    await client.query('rollback to backup');
    await client.query('commit');

    const again = async () =>
      (await contactEraseAgain(client, key, proofs)).map(({ outcome }) => outcome).sort();
    expect(await again()).toEqual(['erased', 'organisation_back']);
    // The organisation is here: what recognises its records is restored, and so are both proofs.
    const stored = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
    expect(stored.map(({ subject }) => subject).sort()).toEqual(['contact', 'contact', 'organisation']);
    expect(stored.flatMap(({ records }) => records)).not.toEqual([]);
    expect(await again()).toEqual(['absent', 'organisation_back']);

    await client.query(
      "update crm_connections set connected_at = now() + interval '1 hour', disconnected_at = now() + interval '2 hours', status = 'disconnected', credentials = null where organisation_id = $1",
      [organisationId],
    );
    expect(await again()).toContain('organisation');
  });
});
