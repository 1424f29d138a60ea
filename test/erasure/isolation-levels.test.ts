import { expect, test } from 'vitest';
import { outboundFillContinue, outboundFillStart, recordRequestAdd, syncLogRecord } from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';
import { agencyWithOttoline } from './agency.js';

const { pool } = useDatabase();

const levels = ['repeatable read', 'serializable'];

test.each(levels)(
  'a transaction at %s that is older than an erasure does not write the person back',
  async (level) => {
    const { organisationId, reapit, ottoline, duplicate, hers } = await agencyWithOttoline(pool);
    const record = {
      entityType: 'contact',
      externalId: hers.find((text) => text.startsWith('LANDLORD')) ?? '',
    };
    await outboundFillStart(pool, reapit);
    const attempts = [
      () =>
        syncLogRecord(client, {
          ...reapit,
          events: [{ ...record, direction: 'inbound', internalId: ottoline, status: 'success' }],
        }),
      () => recordRequestAdd(client, { ...reapit, records: [record] }),
      () => outboundFillContinue(client, { ...reapit, limit: 100, maxWaiting: 1000 }),
    ];
    const client = await pool.connect();
    try {
      await client.query(`begin isolation level ${level}; select from crm_connections; savepoint before`);
      await eraseContacts(pool, organisationId, [ottoline, duplicate]);
      for (const attempt of attempts) {
        await expect(attempt()).rejects.toMatchObject({
          code: '0A000',
          hint: 'Use READ COMMITTED.',
        });
        await client.query('rollback to before');
      }
      await client.query('commit');
    } finally {
      client.release(true);
    }
    expect(await placesOf(pool, record.externalId)).toEqual([]);
    expect(await placesOf(pool, ottoline)).toEqual([]);
  },
);
