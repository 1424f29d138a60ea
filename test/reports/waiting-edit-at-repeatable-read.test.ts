/**
 * Symptom: a worker runs its transactions at REPEATABLE READ. It locks a contact, asks what waits to be pushed, and is
 * told nothing, although the contact was edited a moment ago; so it overwrites the edit with what the CRM holds.
 *
 * Source: tried on 1.5.0 through the public API. Of the same kind: rails/rails and Django users' reports of locks that are
 * granted on rows which an old snapshot still shows.
 *
 * Input: transactions at each isolation level that have taken their snapshot; then a change is recorded, an id is linked,
 * or a record is read with another version; then each asks.
 *
 * Right: what was recorded is seen, or the call is refused and says what to do. Nothing is decided by an old snapshot.
 */
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type ConnectionKey,
  contactExternalIdLinkMany,
  externalRecordCheckMany,
  outboundChangeListWaiting,
  outboundChangeRecord,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

let key: ConnectionKey;
let contactId: string;
const record = { entityType: 'contact', externalId: 'OXF1' } as const;
beforeEach(async () => {
  const { organisationId, contactIds } = await createTenant(pool, 1);
  contactId = contactIds[0] ?? expect.unreachable();
  key = await connect(pool, organisationId);
});

/** What a transaction gets, or the code and hint of its refusal, if others write after it has taken its snapshot. */
async function afterOthers<Answer>(
  level: string,
  others: () => Promise<unknown>,
  ask: (client: pg.PoolClient) => Promise<Answer>,
) {
  const client = await pool.connect();
  try {
    await client.query(`begin isolation level ${level}`);
    await client.query('select from contacts limit 1');
    await others();
    await client.query('select from contacts where id = $1 for update', [contactId]);
    return await ask(client).catch(({ code, cause }) => `${code ?? cause?.code}`);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

const edit = () => outboundChangeRecord(pool, { ...key, contactIds: [contactId] });
const linkIt = () =>
  contactExternalIdLinkMany(pool, { ...key, links: [{ ...record, provider: 'reapit', contactId }] });

describe('outboundChangeListWaiting', () => {
  const list = (client: pg.PoolClient) =>
    outboundChangeListWaiting(client, { ...key, contactIds: [contactId] });

  test('lists a change that was recorded since the transaction began, at READ COMMITTED', async () => {
    for (const level of ['read committed', 'read uncommitted'])
      expect(await afterOthers(level, edit, list)).toMatchObject([{ contactId }]);
  });

  test.each(['repeatable read', 'serializable'])('is refused at %s, and says what to do', async (level) => {
    expect(await afterOthers(level, edit, list)).toBe('0A000');
    const client = await pool.connect();
    try {
      await client.query(`begin isolation level ${level}`);
      await expect(list(client)).rejects.toMatchObject({
        message: `waiting changes cannot be listed at ${level.toUpperCase()}: what others have written since would not be seen`,
        hint: 'Use READ COMMITTED.',
      });
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});

describe.each(['repeatable read', 'serializable'])('externalRecordCheckMany at %s', (level) => {
  const check = (client: pg.PoolClient) =>
    externalRecordCheckMany(client, { ...key, provider: 'reapit', records: [{ ...record, version: '"1"' }] });

  test('is refused if the record was written since the transaction began', async () => {
    await linkIt();
    const write = () =>
      pool.query(`update contact_external_ids set remote_version = '"2"' where contact_id = $1`, [contactId]);
    expect(await afterOthers(level, write, check)).toBe('40001');
  });

  test('takes a record for unknown that was linked since, but then nothing can be linked', async () => {
    const checkAndLink = async (client: pg.PoolClient) => {
      expect(await check(client)).toMatchObject([{ decision: 'unknown' }]);
      return contactExternalIdLinkMany(client, {
        ...key,
        links: [{ ...record, provider: 'reapit', contactId }],
      });
    };
    expect(await afterOthers(level, linkIt, checkAndLink)).toBe('0A000');
  });
});
