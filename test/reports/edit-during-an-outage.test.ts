/**
 * Symptom: a CRM cannot be reached for a night. In the morning it is back and its changes arrive, but what was edited
 * here in the evening reaches it only hours later.
 *
 * Source: tried on 1.5.0 with the example worker. Of the same kind: jobs that are put off again and again while a
 * server is away, as users of Mautic and of pg-boss report of exponential delays without a reset.
 *
 * Input: each run of an outage claims the edit, or a failed push, which postpones it, and ends with a network error;
 * then a run succeeds. Or the runs were abandoned, or failed in the worker itself; or there was one failure only; or the
 * CRM asked for a longer wait.
 *
 * Right: the first success makes what was postponed due at once, and the connection with it, also for workers of earlier
 * releases. What may have stopped the workers itself keeps its own delay.
 */
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import {
  type ConnectionKey,
  outboundChangeClaim,
  outboundChangeRecord,
  type SyncErrorKind,
  syncBatchRecord,
  syncFailureClaim,
  syncRunFinish,
  syncRunSweep,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, makeDue, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);
const { atNine } = syncSetup(database);

test.each(['reapit', 'alto'] as const)(
  'an edit that waited through an outage of %s is pushed by the first sync that works',
  async (provider) => {
    const { agency } = world;
    const { crm } = await agency.startAndConnect(provider);
    crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await agency.rename(contactId, 'Ottoline Spratt');
    const isDown = () => Promise.reject(new CrmError('network', 'The line is down.', { retryable: true }));
    agency.meddle = (client) => ({ ...client, read: isDown, readPage: isDown, write: isDown });
    for (let count = 0; count < 10; count += 1) {
      // As time does.
      await pool.query('update crm_outbound_changes set next_attempt_at = crm_now()');
      await agency.tick();
    }
    agency.meddle = undefined;
    await agency.tick();
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt' }]);
  },
);

describe('a sync that works after others have failed', () => {
  let key: ConnectionKey;
  let failing: string;
  beforeEach(async () => {
    await pool.query('truncate crm_outbound_changes, crm_sync_failures, crm_sync_runs');
    const { organisationId, contactIds } = await createTenant(pool, 2);
    const [first = '', second = ''] = contactIds;
    key = await connect(pool, organisationId);
    await outboundChangeRecord(pool, { organisationId, contactIds: [first] });
    failing = second;
  });

  const pass = (client: pg.Client, time: string) =>
    client.query("select set_config('crm_schema.now', (crm_now() + $1::interval)::text, false)", [time]);

  /** How the runs before it ended: an error's kind, or `abandoned`. */
  async function delaysAfter(
    client: pg.Client,
    ends: readonly (SyncErrorKind | 'abandoned')[],
    retryAfterSeconds?: number,
  ) {
    await makeDue(client, key);
    const first = await claimOne(client);
    const error = { kind: 'provider', retryable: true, message: 'Not now.' } as const;
    const event = {
      direction: 'outbound',
      entityType: 'contact',
      internalId: failing,
      status: 'error',
    } as const;
    await syncBatchRecord(client, {
      ...first,
      batchNumber: 1,
      events: [{ ...event, error, retryAfterSeconds }],
    });
    await syncRunFinish(client, { ...first, outcome: 'success' });
    for (const [index, end] of [...ends, 'success'].entries()) {
      await pass(client, '30 minutes');
      await makeDue(client, key);
      const run = await claimOne(client);
      await outboundChangeClaim(client, run);
      await syncFailureClaim(client, run);
      // As if each claim had postponed them for hours already.
      await client.query(
        "update crm_outbound_changes set next_attempt_at = next_attempt_at + interval '3 hours'",
      );
      if (end === 'abandoned') {
        await pass(client, '10 minutes');
        expect(await syncRunSweep(client)).toHaveLength(1);
      } else if (index === ends.length) await syncRunFinish(client, { ...run, outcome: 'success' });
      else {
        const stopped = { kind: end as SyncErrorKind, retryable: true, message: 'Stopped.' };
        await syncRunFinish(client, { ...run, outcome: 'failed', error: stopped });
      }
    }
    const { rows } = await client.query(
      `select
         (select next_attempt_at <= crm_now() from crm_outbound_changes) as "isChangeDue",
         (select next_attempt_at <= crm_now() from crm_sync_failures) as "isFailureDue",
         next_sync_at <= crm_now() as "isConnectionDue"
       from crm_connections
       where id = $1`,
      [key.connectionId],
    );
    return rows[0];
  }

  test.each([
    [['network', 'network']],
    [['network', 'timeout', 'provider', 'rate_limited']],
    [['auth', 'auth']],
  ] as const)('makes due what waits, after %j', async (ends) => {
    await atNine(async (client) => {
      expect(await delaysAfter(client, ends)).toEqual({
        isChangeDue: true,
        isFailureDue: true,
        isConnectionDue: true,
      });
    });
  });

  test.each([
    [[]],
    [['network']],
    [['network', 'abandoned', 'network']],
    [['internal', 'network', 'network']],
  ] as const)('leaves what waits as it is, after %j', async (ends) => {
    await atNine(async (client) => {
      expect(await delaysAfter(client, ends)).toMatchObject({ isChangeDue: false, isConnectionDue: false });
    });
  });

  test('leaves a failed push alone for as long as the CRM asked', async () => {
    await atNine(async (client) => {
      expect(await delaysAfter(client, ['network', 'network'], 86_400)).toMatchObject({
        isFailureDue: false,
      });
    });
  });
});
