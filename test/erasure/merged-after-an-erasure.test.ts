import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { contactExternalIdLink, contactMerge, contactMergeUndo } from '../../src/index.js';
import { contactErase, contactEraseAgain, ErasureKey, erasureList } from '../../src/migrations.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { placesOf } from '../support/erasure.js';

// Ottoline has been erased, and the host still has her contact: somebody merges it with Barnaby's, who is alive. Then the
// erasure is run a second time, as docs/operations/erasure.md has it.

const database = useDatabase();
const { pool, url } = database;
const key = ErasureKey.parse(randomBytes(32).toString('base64'));

let organisationId: string;
let ottoline: string;
let barnaby: string;

const link = (externalId: string, contactId: string) =>
  contactExternalIdLink(pool, {
    organisationId,
    provider: 'reapit',
    entityType: 'contact',
    externalId,
    contactId,
  });

const erase = (contactId: string, before = async (_client: pg.Client) => {}) =>
  withClient(url, async (client) => {
    await before(client);
    return contactErase(client, key, { organisationId, contactId });
  });

const merge = (fromContactId: string, intoContactId: string) =>
  contactMerge(pool, { organisationId, fromContactId, intoContactId });

const eraseAgain = () =>
  withClient(url, async (client) =>
    contactEraseAgain(
      client,
      key,
      (await erasureList(client)).filter((proof) => proof.organisationId === organisationId),
    ),
  );

beforeEach(async () => {
  const tenant = await createTenant(pool, 2);
  organisationId = tenant.organisationId;
  [ottoline, barnaby] = tenant.contactIds as [string, string];
  await connect(pool, organisationId, 'reapit');
  await link('OTTOLINE', ottoline);
  await link('BARNABY', barnaby);
  await erase(ottoline);
});

describe('somebody who was merged into an erased contact', () => {
  test('is not erased by the second run, which says who it is and which merge to undo', async () => {
    const { operationId } = await merge(barnaby, ottoline);
    const before = await placesOf(pool, 'BARNABY');
    await expect(erase(ottoline)).rejects.toMatchObject({
      code: 'CRM04',
      message: `contact ${barnaby} was merged into ${ottoline} after that had been erased`,
      hint: expect.stringContaining(`Undo merge ${operationId}`),
    });
    expect(await eraseAgain()).toMatchObject([
      { outcome: 'failed', error: { code: 'CRM04', message: expect.stringContaining(barnaby) } },
    ]);
    expect(await placesOf(pool, 'BARNABY')).toEqual(before);

    expect(await contactMergeUndo(pool, { organisationId, operationId })).toMatchObject({
      outcome: 'undone',
    });
    expect(await erase(ottoline)).toMatchObject({ contactIds: [ottoline] });
    expect(await placesOf(pool, ottoline)).toEqual([]);
    expect(await placesOf(pool, 'BARNABY')).not.toEqual([]);
  });

  test('is erased with it if the loss is allowed', async () => {
    await merge(barnaby, ottoline);
    const { contactIds } = await erase(ottoline, async (client) => {
      await client.query('set crm_schema.allow_data_loss = on');
    });
    expect(contactIds).toEqual([ottoline, barnaby].sort());
    for (const id of [ottoline, barnaby]) expect(await placesOf(pool, id)).toEqual([]);
  });

  test('is erased with it if that person has been erased, too', async () => {
    await erase(barnaby);
    await merge(barnaby, ottoline);
    expect((await erase(ottoline)).contactIds).toEqual([ottoline, barnaby].sort());
    for (const id of [ottoline, barnaby]) expect(await placesOf(pool, id)).toEqual([]);
  });
});

describe('an erased contact that was merged into somebody', () => {
  test('is erased again by itself, and leaves no trace, if no id came with it', async () => {
    await merge(ottoline, barnaby);
    expect(await placesOf(pool, ottoline)).not.toEqual([]);
    const before = await placesOf(pool, 'BARNABY');
    expect(await erase(ottoline)).toMatchObject({ contactIds: [ottoline] });
    expect(await placesOf(pool, ottoline)).toEqual([]);
    expect(await placesOf(pool, 'BARNABY')).toEqual(before);
  });

  test('is erased again by a proof, also once the host has deleted it', async () => {
    await merge(ottoline, barnaby);
    await pool.query('delete from contacts where id = $1', [ottoline]);
    expect(await eraseAgain()).toMatchObject([{ outcome: 'erased' }]);
    expect(await placesOf(pool, ottoline)).toEqual([]);
  });

  test('is erased with that person only, if an id came with it', async () => {
    await link('NEW-ID', ottoline);
    await merge(ottoline, barnaby);
    await expect(erase(ottoline)).rejects.toMatchObject({
      code: 'CRM04',
      message: `the contact was merged into ${barnaby}`,
    });
    expect((await erase(barnaby)).contactIds).toEqual([ottoline, barnaby].sort());
    for (const text of [ottoline, 'NEW-ID']) expect(await placesOf(pool, text)).toEqual([]);
  });
});
