import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import {
  type BatchEvent,
  type ClaimedRun,
  type CursorMove,
  connectionDisconnect,
  connectionGet,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdLock,
  outboundChangeClaim,
  outboundChangeRecord,
  type Queryable,
  type SyncCursor,
  type SyncError,
  syncBatchRecord,
  syncCursorList,
  syncCursorReset,
  syncFailureList,
  syncLogListByConnection,
  syncRunClaim,
  syncRunFinish,
  syncRunListByConnection,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import type { PlanNode } from './explain.js';

const { pool, url } = useDatabase();

let run: ClaimedRun;
let contactIds: string[];
beforeEach(async () => {
  const tenant = await createTenant(pool, 3);
  contactIds = tenant.contactIds;
  const { connectionId } = await connect(pool, tenant.organisationId);
  // Other tests of this file leave due connections behind.
  await pool.query("update crm_connections set next_sync_at = 'tomorrow' where id <> $1", [connectionId]);
  run = (await syncRunClaim(pool, { worker: 'test', limit: 1 }))[0] as ClaimedRun;
});

const noAnswer: SyncError = { kind: 'timeout', retryable: true, message: 'No answer.' };
const hopeless: SyncError = { kind: 'validation', retryable: false, message: 'No name.' };

function seen(externalId: string, rest: Partial<BatchEvent> = {}): BatchEvent {
  return {
    direction: 'inbound',
    entityType: 'contact',
    externalId,
    status: 'success',
    ...rest,
  } as BatchEvent;
}

function pushed(internalId: string, rest: Partial<BatchEvent> = {}): BatchEvent {
  return {
    direction: 'outbound',
    entityType: 'contact',
    internalId,
    status: 'success',
    ...rest,
  } as BatchEvent;
}

/** Returns the plan of the statement that `work` sends. It is executed twice, and only the second time for good. */
async function planOf(work: (client: Queryable) => Promise<unknown>): Promise<PlanNode> {
  let plan: PlanNode | undefined;
  await work({
    query: async ({ text, values, types }) => {
      const explain = `explain (analyze, format json) ${text}`;
      const explained = await rolledBack(pool, (client) => client.query(explain, values));
      plan = explained.rows[0]['QUERY PLAN'][0].Plan;
      return pool.query({ text, values, types });
    },
  });
  return plan as PlanNode;
}

function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
}

const stream = { direction: 'inbound', entityType: 'contact' } as const;
const at = (syncedTo: string) => ({ kind: 'timestamp', syncedTo }) as const;

/** All rows of the tenant that a batch may write, to detect any change. */
async function belongings(): Promise<unknown> {
  const tables = [
    'crm_connections',
    'crm_sync_runs',
    'crm_sync_log',
    'crm_sync_failures',
    'crm_sync_cursors',
    'contact_external_ids',
    'crm_outbound_changes',
  ];
  const contents = await Promise.all(
    tables.map((table) =>
      pool.query(`select row::text from ${table} as row where organisation_id = $1 order by 1`, [
        run.organisationId,
      ]),
    ),
  );
  return contents.map(({ rows }) => rows);
}

/** A batch that writes to every table. */
async function everything() {
  const [contactId = ''] = contactIds;
  await outboundChangeRecord(pool, { ...run, contactIds: [contactId] });
  const [change] = await outboundChangeClaim(pool, run);
  return {
    ...run,
    batchNumber: 1,
    events: [
      seen('1', { internalId: contactId, linksContact: true }),
      seen('2', { status: 'error', error: noAnswer }),
      pushed(contactId, { changeVersion: change?.version }),
    ],
    cursors: [{ ...stream, version: 0, position: at('2026-11-16T09:00:00Z') }],
  };
}

describe('syncBatchRecord', () => {
  test('records events, failures, links, pushes and cursors together, and extends the lease', async () => {
    const batch = await everything();
    const result = await syncBatchRecord(pool, { ...batch, leaseSeconds: 3600 });
    expect(result).toMatchObject({ outcome: 'recorded', conflicts: [] });
    const log = await syncLogListByConnection(pool, run);
    expect(log.map(({ status, error }) => [status, error])).toEqual([
      ['success', null],
      ['error', noAnswer],
      ['success', null],
    ]);
    expect(await syncFailureList(pool, run)).toMatchObject([
      { ...stream, recordId: '2', attempts: 1, error: noAnswer, gaveUpAt: null },
    ]);
    expect(await syncCursorList(pool, run)).toMatchObject([
      { ...stream, version: 1, position: at('2026-11-16T09:00:00.000000Z') },
    ]);
    const { rows: links } = await pool.query(
      'select external_id, contact_id from contact_external_ids where organisation_id = $1',
      [run.organisationId],
    );
    expect(links).toEqual([{ external_id: '1', contact_id: contactIds[0] }]);
    expect(await waiting()).toEqual([]);
    const [recorded] = await syncRunListByConnection(pool, run);
    expect(recorded).toMatchObject({ successCount: '2', errorCount: '1', skippedCount: '0' });
    expect(recorded?.expiresAt).toBe((result as { expiresAt: string }).expiresAt);
    expect(Date.parse(recorded?.expiresAt ?? '')).toBeGreaterThan(Date.now() + 3_500_000);
  });

  test('changes nothing if it is repeated after a lost answer', async () => {
    const batch = await everything();
    await syncBatchRecord(pool, batch);
    const before = await belongings();
    expect(await syncBatchRecord(pool, batch)).toEqual({ outcome: 'repeated' });
    expect(await belongings()).toEqual(before);
  });

  test('records a batch once if identical calls run concurrently', async () => {
    const batch = await everything();
    const results = await Promise.all(Array.from({ length: 8 }, () => syncBatchRecord(pool, batch)));
    expect(results.filter(({ outcome }) => outcome === 'recorded')).toHaveLength(1);
    expect(await syncLogListByConnection(pool, run)).toHaveLength(3);
    expect((await syncFailureList(pool, run))[0]?.attempts).toBe(1);
  });

  test.each<[string, string, () => Promise<unknown>]>([
    [
      'whose lease has expired',
      'lease_lost',
      () =>
        pool.query(
          "update crm_sync_runs set heartbeat_at = now() - interval '2 minutes', expires_at = now() where id = $1",
          [run.runId],
        ),
    ],
    ['that has ended', 'lease_lost', () => syncRunFinish(pool, { ...run, outcome: 'success' })],
    ['whose connection was disconnected', 'lease_lost', () => connectionDisconnect(pool, run)],
    [
      'whose cursor another worker moved',
      'cursor_conflict',
      () =>
        pool.query(
          `insert into crm_sync_cursors (organisation_id, connection_id, direction, entity_type, kind, synced_to_at, moved_at)
           values ($1, $2, 'inbound', 'contact', 'timestamp', '2026-11-16T08:00:00Z', now())`,
          [run.organisationId, run.connectionId],
        ),
    ],
  ])('refuses a run %s, and changes nothing', async (_, code, spoil) => {
    const batch = await everything();
    await spoil();
    const before = await belongings();
    await expect(syncBatchRecord(pool, batch)).rejects.toMatchObject({ code });
    expect(await belongings()).toEqual(before);
  });

  test('refuses a batch that is out of order, and changes nothing', async () => {
    const batch = await everything();
    const before = await belongings();
    await expect(syncBatchRecord(pool, { ...batch, batchNumber: 2 })).rejects.toMatchObject({
      code: 'batch_out_of_order',
    });
    expect(await belongings()).toEqual(before);
  });

  test('refuses the run of another organisation, and a run that does not exist', async () => {
    const batch = await everything();
    const { organisationId } = await createTenant(pool);
    const before = await belongings();
    for (const wrong of [{ organisationId }, { connectionId: randomUUID() }, { runId: '0' }]) {
      await expect(syncBatchRecord(pool, { ...batch, ...wrong })).rejects.toMatchObject({
        code: 'lease_lost',
      });
    }
    expect(await belongings()).toEqual(before);
  });

  test.each<[string, CursorMove[], unknown]>([
    ['recorded', [], { outcome: 'recorded' }],
    [
      'refused',
      [{ ...stream, version: 0, position: at('2026-11-16T08:00:00Z') }],
      { code: 'cursor_conflict' },
    ],
  ])(
    'is %s by the state after the previous batch, even if it was sent before that committed',
    async (_, cursors, expected) => {
      await withClient(url, async (client) => {
        await client.query('begin');
        await syncBatchRecord(client, {
          ...run,
          batchNumber: 1,
          events: [seen('1', { status: 'error', error: noAnswer })],
          cursors: [{ ...stream, version: 0, position: at('2026-11-16T09:00:00Z') }],
        });
        const next = syncBatchRecord(pool, { ...run, batchNumber: 2, events: [seen('1')], cursors }).catch(
          (error) => error,
        );
        await new Promise((resolve) => setTimeout(resolve, 200));
        await client.query('commit');
        expect(await next).toMatchObject(expected as object);
      });
      // The success closed a failure that did not exist yet when the batch was sent.
      expect(await syncFailureList(pool, run)).toHaveLength(cursors.length);
      expect((await syncCursorList(pool, run))[0]?.position).toEqual(at('2026-11-16T09:00:00.000000Z'));
    },
  );

  test('leaves no failures on a connection that is disconnected concurrently', async () => {
    await withClient(url, async (client) => {
      await client.query('begin');
      await syncBatchRecord(client, {
        ...run,
        batchNumber: 1,
        events: [seen('1', { status: 'error', error: noAnswer })],
      });
      const ended = connectionDisconnect(pool, run);
      await new Promise((resolve) => setTimeout(resolve, 200));
      await client.query('commit');
      await ended;
    });
    expect(await syncFailureList(pool, run)).toEqual([]);
  });

  test('records thousands of failing or linked records quickly', async () => {
    const records = Array.from({ length: 3000 }, (_, index) => String(index));
    const errors = records.map((id) => seen(id, { status: 'error', error: noAnswer }));
    const tenant = await pool.query(
      "insert into contacts (id, organisation_id, name) select gen_random_uuid(), $1, 'Test Person' from generate_series(1, 3000) returning id",
      [run.organisationId],
    );
    const links = records.map((id, index) =>
      seen(id, { internalId: tenant.rows[index].id, linksContact: true }),
    );
    for (const [index, events] of [errors, errors, links, links].entries()) {
      await syncBatchRecord(pool, { ...run, batchNumber: index + 1, events });
    }
    expect(await syncFailureList(pool, run)).toEqual([]);
    const { rows } = await pool.query(
      'select count(*)::integer from contact_external_ids where organisation_id = $1',
      [run.organisationId],
    );
    expect(rows).toEqual([{ count: 3000 }]);
  });

  test('is rolled back as a whole with its transaction', async () => {
    const batch = await everything();
    const before = await belongings();
    await withClient(url, async (client) => {
      await client.query('begin');
      await syncBatchRecord(client, batch);
      await client.query('rollback');
    });
    expect(await belongings()).toEqual(before);
    expect(await syncBatchRecord(pool, batch)).toMatchObject({ outcome: 'recorded' });
  });

  test('accepts an empty batch', async () => {
    expect(await syncBatchRecord(pool, { ...run, batchNumber: 1 })).toMatchObject({ outcome: 'recorded' });
    expect(await syncBatchRecord(pool, { ...run, batchNumber: 2 })).toMatchObject({ outcome: 'recorded' });
  });

  test.each<[string, Partial<BatchEvent>, string]>([
    [
      'retryAfterSeconds without an error',
      { retryAfterSeconds: 5 },
      'retryAfterSeconds is only allowed with status error',
    ],
    [
      'retryAfterSeconds that is not a number',
      { status: 'error', error: noAnswer, retryAfterSeconds: 0.5 },
      'retryAfterSeconds',
    ],
    ['linksContact without a contact', { linksContact: true }, 'needs both externalId and internalId'],
    ['changeVersion on an inbound event', { changeVersion: '1' }, 'is only allowed with direction outbound'],
    ['an event without a status', { status: undefined as never }, 'status must be one of'],
    [
      'changeVersion under the name that the claim returns it',
      { direction: 'outbound', internalId: randomUUID(), version: '8' } as object,
      'event has an unknown field: "version"; known fields: direction, entityType, externalId, internalId, occurredAt, status, error, reason, retryAfterSeconds, linksContact, changeVersion, remoteVersion, remoteModifiedAt, remoteState, contentHash, basedOnVersion.',
    ],
  ])('refuses %s before anything is sent', async (_, rest, message) => {
    const events = [seen('1'), seen('2', rest)];
    const attempt = syncBatchRecord(pool, { ...run, batchNumber: 1, events });
    await expect(attempt).rejects.toMatchObject({ code: 'invalid_input', rowIndex: 1 });
    await expect(attempt).rejects.toThrow(message);
  });
});

test('the map of the statement names its CTEs, in order, under their steps', async () => {
  const source = await readFile(projectPath('queries/sync_batches.sql'), 'utf8');
  const mapped = [...source.matchAll(/^-- {3}(\d\. \w+) +(.+)$/gm)].map(([, step, ctes = '']) => [
    step,
    ...ctes.split(', '),
  ]);
  const found: (string | undefined)[][] = [];
  for (const [, step, cte] of source.matchAll(
    /^-- (\d\. \w+) -+$|^(?:with )?(\w+) as (?:materialized )?\($/gm,
  )) {
    if (step !== undefined) found.push([step]);
    else found.at(-1)?.push(cte);
  }
  expect(found.flat()).toHaveLength(9 + 39);
  expect(found).toEqual(mapped);
});

describe('the fields of a batch', () => {
  const unsynced = { kind: 'token', token: 't' } as const;

  test.each<[string, object, string]>([
    [
      'in a move',
      { position: unsynced, syncedTo: '2026-11-16T09:00:00Z' },
      'cursor has an unknown field: "syncedTo"; known fields: direction, entityType, version, position, startsOver.',
    ],
    [
      'in a position',
      { position: { ...unsynced, synced_to: '2026-11-16T09:00:00Z' } },
      'cursors.position has an unknown field: "synced_to"; known fields: kind, syncedTo, token, page.',
    ],
  ])('are refused if unknown: %s', async (_, rest, message) => {
    const cursors = [
      { ...stream, version: 0, position: unsynced },
      { ...stream, entityType: 'landlord', version: 0, ...rest },
    ] as CursorMove[];
    await expect(syncBatchRecord(pool, { ...run, batchNumber: 1, cursors })).rejects.toMatchObject({
      code: 'invalid_input',
      rowIndex: 1,
      message: `row 1: ${message}`,
    });
    expect(await syncCursorList(pool, run)).toEqual([]);
  });

  test.each<[string, object, string]>([
    ['a position', { position: null }, 'cursors.position must be an object, not null.'],
    ['a version', { position: unsynced, version: -1 }, 'cursors.version must be a whole number from 0'],
    ['a new start', { position: unsynced, startsOver: 'yes' }, 'cursors.startsOver must be true or false.'],
    [
      'a kind',
      { position: { kind: 'date' } },
      'cursors.position.kind must be one of timestamp, token, page, not "date".',
    ],
    ['a time', { position: { kind: 'timestamp' } }, 'cursors.position.syncedTo is missing.'],
    [
      'a zone',
      { position: { ...unsynced, syncedTo: '2026-11-16T09:00:00' } },
      'cursors.position.syncedTo must be a Date, or ISO 8601 with a zone',
    ],
    ['a page', { position: { kind: 'page' } }, 'cursors.position.page must be a whole number from 0'],
    [
      'a token',
      { position: { kind: 'token', token: '' } },
      'cursors.position.token must have 1 to 4,096 bytes.',
    ],
  ])('are named by their path: a cursor without %s', async (_, rest, message) => {
    const cursors = [{ ...stream, version: 0, ...rest }] as CursorMove[];
    await expect(syncBatchRecord(pool, { ...run, batchNumber: 1, cursors })).rejects.toMatchObject({
      code: 'invalid_input',
      rowIndex: 0,
      message: expect.stringContaining(`row 0: ${message}`),
    });
  });

  test('may be undefined, from a cursor that was read, or left from a position of another kind', async () => {
    await syncBatchRecord(pool, {
      ...run,
      batchNumber: 1,
      events: [seen('1', { note: undefined } as object)],
      cursors: [{ ...stream, version: 0, position: { kind: 'page', page: 3 } }],
    });
    const [cursor] = await syncCursorList(pool, run);
    const position = { ...cursor?.position, kind: 'token', token: 't' } as CursorMove['position'];
    await syncBatchRecord(pool, {
      ...run,
      batchNumber: 2,
      cursors: [{ ...(cursor as SyncCursor), position }],
    });
    expect(await syncCursorList(pool, run)).toMatchObject([{ version: 2, position: unsynced }]);
  });
});

/** The contacts with waiting changes. */
async function waiting(): Promise<string[]> {
  const { rows } = await pool.query(
    'select contact_id from crm_outbound_changes where connection_id = $1 order by contact_id',
    [run.connectionId],
  );
  return rows.map(({ contact_id }) => contact_id);
}

describe('the failures of a batch', () => {
  const fail = (batchNumber: number, ...events: BatchEvent[]) =>
    syncBatchRecord(pool, { ...run, batchNumber, events });

  test('are opened, counted, and closed by the next success or skip', async () => {
    await fail(
      1,
      seen('1', { status: 'error', error: noAnswer }),
      seen('2', { status: 'error', error: hopeless }),
    );
    await fail(2, seen('1', { status: 'error', error: hopeless }));
    const byRecord = (await syncFailureList(pool, run)).map(({ recordId, attempts, error }) => [
      recordId,
      attempts,
      error,
    ]);
    expect(byRecord.toSorted()).toEqual([
      ['1', 2, hopeless],
      ['2', 1, hopeless],
    ]);
    await fail(3, seen('1'), seen('2', { status: 'skipped' }));
    expect(await syncFailureList(pool, run)).toEqual([]);
  });

  test('follow the last outcome of each record', async () => {
    const error = { status: 'error', error: noAnswer } as const;
    await fail(
      1,
      seen('1', error),
      seen('1', error),
      seen('2', error),
      seen('2'),
      seen('3'),
      seen('3', error),
    );
    const failures = await syncFailureList(pool, run);
    expect(failures.map(({ recordId, attempts }) => [recordId, attempts]).toSorted()).toEqual([
      ['1', 1],
      ['3', 1],
    ]);
    expect(await syncLogListByConnection(pool, run)).toHaveLength(6);
  });

  test('are separate for records with the same id but another entity type or direction', async () => {
    const [contactId = ''] = contactIds;
    const error = { status: 'error', error: noAnswer } as const;
    await fail(
      1,
      seen('1', error),
      seen('1', { ...error, entityType: 'landlord' }),
      pushed(contactId, error),
    );
    await fail(2, seen('1'));
    const left = (await syncFailureList(pool, run)).map(({ direction, entityType, recordId }) => [
      direction,
      entityType,
      recordId,
    ]);
    expect(left.toSorted()).toEqual([
      ['inbound', 'landlord', '1'],
      ['outbound', 'contact', contactId],
    ]);
  });

  test('of a push are closed whatever the entity type', async () => {
    const [contactId = ''] = contactIds;
    await fail(1, pushed(contactId, { status: 'error', error: noAnswer }));
    await fail(2, pushed(contactId, { entityType: 'landlord' }));
    expect(await syncFailureList(pool, run)).toEqual([]);
  });

  test('of pushes of one contact under several entity types stay open where the push fails again', async () => {
    const [contactId = ''] = contactIds;
    const error = { status: 'error', error: noAnswer } as const;
    const pushedAs = (entityType: string, fields = {}) => pushed(contactId, { entityType, ...fields });
    await fail(1, pushedAs('landlord', error), pushedAs('applicant', error), pushedAs('vendor', error));
    await fail(2, pushedAs('landlord', error), pushedAs('applicant'));
    await fail(3, pushedAs('applicant'), pushedAs('landlord', error));
    const failures = await syncFailureList(pool, run);
    expect(failures.map(({ entityType, attempts }) => [entityType, attempts])).toEqual([['landlord', 3]]);

    // Nor may the result depend on which part of the statement runs first: no row is to be closed and to fail.
    const events = [pushedAs('applicant'), pushedAs('landlord', error)];
    const plan = await planOf((client) => syncBatchRecord(client, { ...run, batchNumber: 4, events }));
    expect(nodesOf(plan).find((node) => node['Subplan Name'] === 'CTE closed')?.Plans).toMatchObject([
      { 'Actual Rows': 0 },
    ]);
  });

  test('are not opened by an event without a record id, which is only logged', async () => {
    await fail(1, { ...stream, status: 'error', error: noAnswer });
    expect(await syncFailureList(pool, run)).toEqual([]);
    expect(await syncLogListByConnection(pool, run)).toHaveLength(1);
  });

  test('are retried no sooner than the CRM asks, and later each time', async () => {
    const waits: number[] = [];
    for (let batchNumber = 1; batchNumber <= 12; batchNumber += 1) {
      await fail(batchNumber, seen('1', { status: 'error', error: noAnswer }));
      const [failure] = await syncFailureList(pool, run);
      waits.push(
        (Date.parse(failure?.nextAttemptAt ?? '') - Date.parse(failure?.lastFailedAt ?? '')) / 60_000,
      );
    }
    for (const [index, wait] of waits.entries()) {
      const whole = Math.min(2 ** index, 360);
      expect(wait).toBeGreaterThanOrEqual(whole / 2 - 0.001);
      expect(wait).toBeLessThanOrEqual(whole + 0.001);
    }
    // The first attempt and the next.
    for (const batchNumber of [13, 14]) {
      await fail(batchNumber, seen('2', { status: 'error', error: noAnswer, retryAfterSeconds: 5000 }));
      const [asked] = await syncFailureList(pool, run);
      expect(asked?.attempts).toBe(batchNumber - 12);
      expect(Date.parse(asked?.nextAttemptAt ?? '') - Date.parse(asked?.lastFailedAt ?? '')).toBe(5_000_000);
    }
  });

  test('are given up at once if they cannot be retried, and stay listed', async () => {
    await fail(1, seen('1', { status: 'error', error: hopeless }));
    expect(await syncFailureList(pool, run)).toMatchObject([
      { recordId: '1', nextAttemptAt: null, gaveUpAt: expect.any(String) },
    ]);
  });

  test('are given up after ten attempts and a day, and not after only one of the two', async () => {
    const givenUp = async () => (await syncFailureList(pool, run))[0]?.gaveUpAt !== null;
    const error = { status: 'error', error: noAnswer } as const;
    const age = (interval: string) =>
      pool.query(
        'update crm_sync_failures set first_failed_at = now() - $1::interval where connection_id = $2',
        [interval, run.connectionId],
      );
    for (let batchNumber = 1; batchNumber <= 8; batchNumber += 1) await fail(batchNumber, seen('1', error));
    await age('2 days');
    await fail(9, seen('1', error));
    expect(await givenUp()).toBe(false);
    await age('23 hours');
    await fail(10, seen('1', error));
    expect(await givenUp()).toBe(false);
    await age('25 hours');
    await fail(11, seen('1', error));
    expect(await givenUp()).toBe(true);
  });
});

describe('the links of a batch', () => {
  const link = (externalId: string, contactId = '') =>
    seen(externalId, { internalId: contactId, linksContact: true });

  test('that conflict fail only their own record', async () => {
    const [first, second, third] = contactIds;
    await contactExternalIdLink(pool, {
      ...run,
      provider: 'reapit',
      entityType: 'contact',
      externalId: 'taken',
      contactId: first as string,
    });
    const result = await syncBatchRecord(pool, {
      ...run,
      batchNumber: 1,
      events: [link('taken', second), link('other', first), link('mine', third), link('taken', first)],
    });
    expect(result).toMatchObject({ outcome: 'recorded', conflicts: [0, 1] });
    const [failure, ...others] = await syncFailureList(pool, run);
    expect(others).toEqual([]);
    expect(failure).toMatchObject({
      recordId: 'other',
      error: { kind: 'conflict', retryable: false },
      gaveUpAt: expect.any(String),
    });
    const log = await syncLogListByConnection(pool, run);
    expect(log.map(({ externalId, status }) => [externalId, status]).toSorted()).toEqual([
      ['mine', 'success'],
      ['other', 'error'],
      ['taken', 'error'],
      ['taken', 'success'],
    ]);
  });

  test('are refused for a second id of a contact, and for a contact that is deleted or of another organisation', async () => {
    const [first] = contactIds;
    const stranger = (await createTenant(pool, 1)).contactIds[0];
    const result = await syncBatchRecord(pool, {
      ...run,
      batchNumber: 1,
      events: [link('1', first), link('2', first), link('3', randomUUID()), link('4', stranger)],
    });
    expect(result).toMatchObject({ conflicts: [1, 2, 3] });
    const failures = await syncFailureList(pool, run);
    expect(failures.map(({ recordId, error: { retryable } }) => [recordId, retryable]).toSorted()).toEqual([
      ['2', false],
      ['3', true],
      ['4', true],
    ]);
  });

  test('wait for the lock of the external ids before they lock a mapping', async () => {
    const [first, second] = contactIds;
    await syncBatchRecord(pool, { ...run, batchNumber: 1, events: [link('1', first)] });
    await withClient(url, async (other) => {
      await other.query('begin');
      await contactExternalIdLock(other, { ...run, providers: ['reapit'] });
      await withClient(url, async (worker) => {
        const events = [link('1', first), link('2', second)];
        const batch = syncBatchRecord(worker, { ...run, batchNumber: 2, events });
        await waitUntilBlocked(url, worker);
        const { rows } = await other.query(
          'select from contact_external_ids where organisation_id = $1 for update nowait',
          [run.organisationId],
        );
        expect(rows).toHaveLength(1);
        await other.query('commit');
        expect(await batch).toMatchObject({ outcome: 'recorded', conflicts: [] });
      });
    });
  });

  test('of ids that are aliases are confirmed for their contact, and refused for another', async () => {
    const [first = '', second] = contactIds;
    await syncBatchRecord(pool, { ...run, batchNumber: 1, events: [link('1', first)] });
    await contactExternalIdLinkMany(pool, {
      ...run,
      links: [{ provider: 'reapit', entityType: 'contact', externalId: '2', contactId: first }],
      ifContactTaken: 'alias',
    });
    await pool.query(
      "update contact_external_id_aliases set first_seen_at = '2026-01-01', last_seen_at = '2026-01-01'",
    );
    const result = await syncBatchRecord(pool, {
      ...run,
      batchNumber: 2,
      events: [link('2', first), link('2', second)],
    });
    expect(result).toMatchObject({ conflicts: [1] });
    expect(await syncLogListByConnection(pool, run)).toMatchObject([
      { error: { retryable: false, message: 'The external id is linked to another contact.' } },
      { status: 'success' },
      { status: 'success' },
    ]);
    const { rows } = await pool.query(
      "select last_seen_at > now() - interval '1 minute' as is_fresh from contact_external_id_aliases where organisation_id = $1",
      [run.organisationId],
    );
    expect(rows).toEqual([{ is_fresh: true }]);
  });

  test('that are made concurrently fail their record with a retryable error', async () => {
    const [first, second] = contactIds;
    await withClient(url, async (other) => {
      await other.query('begin');
      await contactExternalIdLink(other, {
        ...run,
        provider: 'reapit',
        entityType: 'contact',
        externalId: '1',
        contactId: first as string,
      });
      const batch = syncBatchRecord(pool, {
        ...run,
        batchNumber: 1,
        events: [link('1', second), link('2', contactIds[2])],
      });
      await new Promise((resolve) => setTimeout(resolve, 200));
      await other.query('commit');
      expect(await batch).toMatchObject({ outcome: 'recorded', conflicts: [0] });
    });
    expect(await syncFailureList(pool, run)).toMatchObject([
      { recordId: '1', error: { kind: 'conflict', retryable: true } },
    ]);
  });
});

describe('the pushes of a batch', () => {
  test('clear their change, but not a newer one', async () => {
    const [first = '', second = '', third = ''] = contactIds;
    await outboundChangeRecord(pool, { ...run, contactIds });
    const claimed = new Map(
      (await outboundChangeClaim(pool, run)).map((change) => [change.contactId, change]),
    );
    await outboundChangeRecord(pool, { ...run, contactIds: [second] });
    await syncBatchRecord(pool, {
      ...run,
      batchNumber: 1,
      events: [
        pushed(first, { changeVersion: claimed.get(first)?.version }),
        pushed(second, { changeVersion: claimed.get(second)?.version }),
        pushed(third, { changeVersion: claimed.get(third)?.version, status: 'error', error: noAnswer }),
      ],
    });
    expect(await waiting()).toEqual([second]);
    expect(await syncFailureList(pool, run)).toMatchObject([{ direction: 'outbound', recordId: third }]);
  });

  test('keep a change that the host is changing', async () => {
    const [first = ''] = contactIds;
    await outboundChangeRecord(pool, { ...run, contactIds: [first] });
    const [change] = await outboundChangeClaim(pool, run);
    await withClient(url, async (host: pg.Client) => {
      await host.query('begin');
      await outboundChangeRecord(host, { ...run, contactIds: [first] });
      // The host's transaction is still open. The batch does not wait for it.
      await syncBatchRecord(pool, {
        ...run,
        batchNumber: 1,
        events: [pushed(first, { changeVersion: change?.version })],
      });
      await host.query('commit');
    });
    expect(await waiting()).toEqual([first]);
  });
});

describe('the cursors of a batch', () => {
  let batchNumber = 0;
  beforeEach(() => {
    batchNumber = 0;
  });
  const move = (
    version: number,
    position: Parameters<typeof syncBatchRecord>[1]['cursors'] extends infer _ ? object : never,
    { entityType = 'contact', startsOver }: { entityType?: string; startsOver?: boolean } = {},
  ) => {
    batchNumber += 1;
    return syncBatchRecord(pool, {
      ...run,
      batchNumber,
      cursors: [{ direction: 'inbound', entityType, version, position: position as never, startsOver }],
    });
  };
  const nine = '2026-11-16T09:00:00.000001Z';
  const eight = '2026-11-16T08:59:59.999999Z';

  test.each<[string, object, object]>([
    ['a timestamp', at(nine), at(eight)],
    [
      'a page of the same pass',
      { kind: 'page', page: 3, syncedTo: nine },
      { kind: 'page', page: 2, syncedTo: nine },
    ],
    ['a page of an unknown pass', { kind: 'page', page: 3 }, { kind: 'page', page: 2 }],
    [
      'a page, by a pass without a time',
      { kind: 'page', page: 3, syncedTo: nine },
      { kind: 'page', page: 2 },
    ],
    [
      'an earlier pass',
      { kind: 'page', page: 3, syncedTo: nine },
      { kind: 'page', page: 9, syncedTo: eight },
    ],
    [
      'a token of an earlier time',
      { kind: 'token', token: 'b', syncedTo: nine },
      { kind: 'token', token: 'a', syncedTo: eight },
    ],
    ['from a timestamp to a token', at(nine), { kind: 'token', token: 'a', syncedTo: eight }],
  ])('never move backwards: %s', async (_, position, before) => {
    await move(0, position);
    const attempt = move(1, before);
    await expect(attempt).rejects.toMatchObject({ code: 'cursor_moved_backwards' });
    expect((await syncCursorList(pool, run))[0]?.version).toBe(1);
  });

  test.each<[string, object, object, object]>([
    ['the same timestamp', at(nine), at(nine), at(nine)],
    [
      'the next page',
      { kind: 'page', page: 3 },
      { kind: 'page', page: 4 },
      { kind: 'page', page: 4, syncedTo: null },
    ],
    [
      'the first page of the next pass',
      { kind: 'page', page: 3, syncedTo: eight },
      { kind: 'page', page: 1, syncedTo: nine },
      { kind: 'page', page: 1, syncedTo: nine },
    ],
    [
      'a token without a time',
      at(nine),
      { kind: 'token', token: 'x' },
      { kind: 'token', token: 'x', syncedTo: nine },
    ],
    ['a timestamp after tokens', { kind: 'token', token: 'x' }, at(nine), at(nine)],
  ])('advance to %s', async (_, position, next, expected) => {
    await move(0, position);
    await move(1, next);
    expect(await syncCursorList(pool, run)).toMatchObject([{ version: 2, position: expected }]);
  });

  test.each<[string, object, object, object]>([
    [
      'of an unknown time',
      { kind: 'page', page: 3 },
      { kind: 'page', page: 0 },
      { kind: 'page', page: 0, syncedTo: null },
    ],
    [
      'of the same time',
      { kind: 'page', page: 3, syncedTo: nine },
      { kind: 'page', page: 0, syncedTo: nine },
      { kind: 'page', page: 0, syncedTo: nine },
    ],
    [
      'that keeps its time',
      { kind: 'page', page: 3, syncedTo: nine },
      { kind: 'page', page: 0 },
      { kind: 'page', page: 0, syncedTo: nine },
    ],
  ])(
    'go back to the first page if the stream starts over: a page %s',
    async (_, position, next, expected) => {
      await move(0, position);
      await move(1, next, { startsOver: true });
      expect(await syncCursorList(pool, run)).toMatchObject([{ version: 2, position: expected }]);
    },
  );

  test.each<[string, object, object]>([
    ['a timestamp', at(nine), at(eight)],
    ['a page', { kind: 'page', page: 3, syncedTo: nine }, { kind: 'page', page: 0, syncedTo: eight }],
    [
      'a token',
      { kind: 'token', token: 'b', syncedTo: nine },
      { kind: 'token', token: 'a', syncedTo: eight },
    ],
  ])('never take back a time, also if the stream starts over: %s', async (_, position, before) => {
    await move(0, position);
    const attempt = move(1, before, { startsOver: true });
    await expect(attempt).rejects.toMatchObject({ code: 'cursor_moved_backwards' });
  });

  test('move only from the version that was read', async () => {
    await move(0, at(eight));
    await expect(move(0, at(nine))).rejects.toMatchObject({ code: 'cursor_conflict' });
    batchNumber -= 1;
    await expect(move(2, at(nine))).rejects.toMatchObject({ code: 'cursor_conflict' });
    batchNumber -= 1;
    expect(await move(1, at(nine))).toMatchObject({ outcome: 'recorded' });
  });

  test('conflict with a reset, and start again after it', async () => {
    await move(0, at(nine));
    await syncCursorReset(pool, { ...run, ...stream });
    await expect(move(1, at(nine))).rejects.toMatchObject({ code: 'cursor_conflict' });
    batchNumber -= 1;
    expect(await syncCursorList(pool, run)).toMatchObject([{ version: 2, position: null }]);
    await move(2, at(eight));
    expect(await syncCursorList(pool, run)).toMatchObject([{ version: 3, position: at(eight) }]);
  });

  test('advance the connection’s cursor after a successful run to the point that all inbound streams have passed', async () => {
    const lastSyncedAt = async () => (await connectionGet(pool, run))?.lastSyncedAt;
    await move(0, at(nine));
    await move(0, at(eight), { entityType: 'landlord' });
    expect(await lastSyncedAt()).toBe(null);
    await syncRunFinish(pool, { ...run, outcome: 'success' });
    expect(await lastSyncedAt()).toBe(eight);
  });

  test('do not move it while a stream’s time is unknown, if the run fails, or backwards', async () => {
    const lastSyncedAt = async () => (await connectionGet(pool, run))?.lastSyncedAt;
    const again = async () => {
      await pool.query('update crm_connections set next_sync_at = now() where id = $1', [run.connectionId]);
      run = (await syncRunClaim(pool, { worker: 'test', limit: 1 }))[0] as ClaimedRun;
      batchNumber = 0;
    };
    await move(0, at(eight));
    await syncRunFinish(pool, { ...run, outcome: 'failed', error: noAnswer });
    expect(await lastSyncedAt()).toBe(null);
    await again();
    await move(0, { kind: 'token', token: 'x' }, { entityType: 'landlord' });
    await syncRunFinish(pool, { ...run, outcome: 'success' });
    expect(await lastSyncedAt()).toBe(null);
    await again();
    await move(1, at(nine), { entityType: 'landlord' });
    await syncRunFinish(pool, { ...run, outcome: 'success' });
    expect(await lastSyncedAt()).toBe(eight);
    await pool.query("update crm_connections set last_synced_at = '2026-11-17' where id = $1", [
      run.connectionId,
    ]);
    await again();
    await syncRunFinish(pool, { ...run, outcome: 'success' });
    expect(await lastSyncedAt()).toMatch(/^2026-11-17|^2026-11-16T/);
  });
});
