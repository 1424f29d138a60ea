import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { type SyncError, syncDirections, syncErrorKinds, syncStatuses } from '../../src/index.js';
import { useConnectedTenant } from '../support/connected-tenant.js';
import { connect } from '../support/connection.js';
import { createTenant, insert, useDatabase } from '../support/database.js';
import {
  expectCheck,
  expectRefused,
  impossibleTimes,
  outermostTimes,
  restricted,
} from '../support/refusals.js';

const { pool, url } = useDatabase();

const tenant = useConnectedTenant(pool, 2);

const error: SyncError = { kind: 'timeout', retryable: true, message: 'No answer within 30 s.' };

/** Adds a valid event, changed by `overrides`. */
function add(
  overrides: Record<string, unknown> = {},
  client: pg.Pool | pg.ClientBase = pool,
): Promise<Record<string, unknown>> {
  return insert(client, 'crm_sync_log', {
    organisation_id: tenant.organisationId,
    connection_id: tenant.connectionId,
    direction: 'inbound',
    entity_type: 'contact',
    status: 'success',
    ...overrides,
  });
}

/** Adds a failed event, with any JSON value as its error. */
function addFailure(value: unknown, client?: pg.ClientBase): Promise<unknown> {
  return add({ status: 'error', error: JSON.stringify(value) }, client);
}

describe('an event', () => {
  test.each(
    syncDirections.flatMap((direction) => syncStatuses.map((status) => [direction, status] as const)),
  )('can be %s with status %s', async (direction, status) => {
    const event = await add({ direction, status, ...(status === 'error' && { error }) });
    expect(event).toMatchObject({ direction, status, external_id: null, internal_id: null });
  });

  test.each([
    ['direction', 'crm_sync_log_direction_check', ['', 'Inbound', 'both']],
    ['status', 'crm_sync_log_status_check', ['', 'SUCCESS', 'failure', 'pending']],
    [
      'entity_type',
      'crm_sync_log_entity_type_check',
      ['', 'Contact', 'land lord', '1st', '_contact', 'contact-type', 'contact\n', 'é', 'a'.repeat(64)],
    ],
    [
      'external_id',
      'crm_sync_log_external_id_check',
      ['', '   ', ' \t\r\n\f\v', 'x'.repeat(513), `${'é'.repeat(256)}x`],
    ],
  ])('refuses an invalid %s', async (column, constraint, values) => {
    for (const value of values) await expectCheck(add({ [column]: value }), constraint);
  });

  test.each([
    ['entity_type', ['a', 'contact', 'a'.repeat(63), 'vendor_2', 'a_']],
    [
      'external_id',
      ['0', ' 1', 'x'.repeat(512), 'é'.repeat(256), '🏡'.repeat(128), `O'Brien "x" \\ $1; --`, 'OXF18000001'],
    ],
  ])('stores a valid %s unchanged', async (column, values) => {
    for (const value of values) expect(await add({ [column]: value })).toMatchObject({ [column]: value });
  });

  test.each(['organisation_id', 'connection_id', 'direction', 'entity_type', 'status'])(
    'refuses null in %s',
    async (column) => {
      await expectRefused(add({ [column]: null }), { code: '23502' });
    },
  );

  test('refuses null as its time', async () => {
    await expectRefused(add({ occurred_at: null }), { code: '23514', table: 'crm_sync_log' });
  });

  test.each(impossibleTimes)('refuses %s as its time', async (occurred_at) => {
    await expectCheck(add({ occurred_at }), 'crm_sync_log_occurred_at_in_range_check');
  });

  test.each(outermostTimes)('accepts %s as its time', async (occurred_at) => {
    await add({ occurred_at });
  });

  test('gets the present time by default, and ascending ids', async () => {
    const [first, second] = [await add(), await add()];
    expect(first.occurred_at).toBeInstanceOf(Date);
    expect(BigInt(second.id as string)).toBeGreaterThan(BigInt(first.id as string));
  });

  test('refuses an id set by the writer', async () => {
    await expectRefused(add({ id: 1 }), { code: '428C9' });
  });

  test('refuses a second event with the same connection, time and id', async () => {
    const event = await add();
    const { rows } = await pool.query('select occurred_at::text as at from crm_sync_log where id = $1', [
      event.id,
    ]);
    await expectRefused(
      insert(
        pool,
        'crm_sync_log',
        { ...event, error: null, occurred_at: rows[0].at },
        'overriding system value',
      ),
      { code: '23505', constraint: expect.stringMatching(/^crm_sync_log_\d{4}_\d\d_pkey$/) },
    );
  });
});

describe('tenancy and deletion of events', () => {
  const noSuchConnection = { code: '23503', constraint: 'crm_sync_log_connection_id_fkey' };

  test("refuses an event for another organisation's connection", async () => {
    const other = await createTenant(pool);
    await expectRefused(add({ organisation_id: other.organisationId }), noSuchConnection);
  });

  test('refuses an event for a connection that does not exist', async () => {
    await expectRefused(add({ connection_id: randomUUID() }), noSuchConnection);
  });

  test.each([
    ['deleted', 'delete from crm_connections where id = $1'],
    [
      'given another id',
      'update crm_connections set id = gen_random_uuid(), credentials = null where id = $1',
    ],
  ])('refuses a connection with events to be %s', async (_, statement) => {
    const { connectionId } = await connect(pool, tenant.organisationId, 'street');
    await add({ connection_id: connectionId });
    await pool.query(
      "update crm_connections set status = 'disconnected', credentials = null, disconnected_at = now() where id = $1",
      [connectionId],
    );
    await expectRefused(pool.query(statement, [connectionId]), {
      code: restricted,
      constraint: expect.stringMatching(/^crm_sync_log_/),
    });
  });

  test('a connection without events can be deleted', async () => {
    const { connectionId } = await connect(pool, tenant.organisationId, 'loop');
    const { rowCount } = await pool.query('delete from crm_connections where id = $1', [connectionId]);
    expect(rowCount).toBe(1);
  });

  test('events outlive the contact they are about', async () => {
    const { id } = await add({ internal_id: tenant.contactIds[0] });
    await pool.query('delete from contacts where id = $1', [tenant.contactIds[0]]);
    const { rows } = await pool.query('select internal_id from crm_sync_log where id = $1', [id]);
    expect(rows).toEqual([{ internal_id: tenant.contactIds[0] }]);
  });
});

describe('the error of an event', () => {
  const errorIff = 'crm_sync_log_error_iff_status_is_error_check';
  const errorIsValid = 'crm_sync_log_error_is_valid_check';

  test('is required if the status is error', async () => {
    await expectCheck(add({ status: 'error' }), errorIff);
  });

  test.each(['success', 'skipped'])('is refused if the status is %s', async (status) => {
    await expectCheck(add({ status, error }), errorIff);
  });

  test.each(syncErrorKinds)('can have the kind %s', async (kind) => {
    await addFailure({ ...error, kind });
  });

  /** Text of 1 to `limit` characters as PostgreSQL counts them, not all of them whitespace. */
  const text = (limit: number) =>
    fc
      .string({ unit: 'binary', minLength: 1, maxLength: limit })
      .map((value) => value.replaceAll('\0', '?'))
      .filter((value) => !/^[ \t\n\r\f\v]*$/.test(value));

  test('is accepted with any message and code within bounds', async () => {
    const sound = fc.record(
      {
        kind: fc.constantFrom(...syncErrorKinds),
        retryable: fc.boolean(),
        message: text(500),
        code: text(100),
      },
      { requiredKeys: ['kind', 'retryable', 'message'] },
    );
    await fc.assert(
      fc.asyncProperty(sound, async (value) => {
        await addFailure(value);
      }),
      {
        numRuns: 200,
        examples: [[{ ...error, message: '🏡'.repeat(500), code: '🏡'.repeat(100) }]],
      },
    );
  });

  const json = fc.jsonValue({ maxDepth: 2 });
  const names = ['kind', 'retryable', 'message', 'code'];

  /** A way to make a valid error invalid. */
  const flawed: fc.Arbitrary<unknown> = fc.oneof(
    json,
    fc.array(json),
    fc.constantFrom('kind', 'retryable', 'message').map((name) => ({ ...error, [name]: undefined })),
    fc
      .record({ name: fc.string({ maxLength: 12 }).filter((name) => !names.includes(name)), value: json })
      .map(({ name, value }) => ({ ...error, [name]: value })),
    fc
      .record({ name: fc.constantFrom('kind', 'message', 'code'), value: json })
      .filter(({ value }) => typeof value !== 'string')
      .map(({ name, value }) => ({ ...error, [name]: value })),
    json.filter((value) => typeof value !== 'boolean').map((retryable) => ({ ...error, retryable })),
    fc
      .string()
      .filter((kind) => !(syncErrorKinds as readonly string[]).includes(kind))
      .map((kind) => ({ ...error, kind })),
    fc.integer({ min: 501, max: 2000 }).map((length) => ({ ...error, message: 'x'.repeat(length) })),
    fc.integer({ min: 101, max: 2000 }).map((length) => ({ ...error, code: 'x'.repeat(length) })),
    fc
      .record({ name: fc.constantFrom('message', 'code'), length: fc.nat(6) })
      .map(({ name, length }) => ({ ...error, [name]: ' \t\n\r\f\v'.slice(0, length) })),
  );

  test('is refused in every other shape', async () => {
    // One connection throughout: the pool would open a new one after each error.
    await withClient(url, (client) =>
      fc.assert(
        fc.asyncProperty(flawed, async (value) => {
          await expectCheck(addFailure(value, client), errorIsValid);
        }),
        {
          numRuns: 400,
          examples: [[null], [[]], [{}], ['timeout'], [[error]], [{ ...error, payload: { email: 'a@b' } }]],
        },
      ),
    );
  });

  test('is refused if it contains a NUL', async () => {
    await expectRefused(addFailure({ ...error, message: 'a\0b' }), { code: '22P05' });
  });
});
