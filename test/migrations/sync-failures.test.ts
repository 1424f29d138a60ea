import { beforeAll, describe, expect, test } from 'vitest';
import { syncErrorKinds } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import {
  expectCheck,
  expectRefused,
  impossibleTimes,
  insert,
  outermostTimes,
  restricted,
  rolledBack,
} from './support.js';

const { pool } = useDatabase();

type Row = Record<string, unknown>;

let organisationId: string;
let connectionId: string;
beforeAll(async () => {
  ({ organisationId } = await createTenant(pool));
  ({ connectionId } = await connect(pool, organisationId));
});

const nine = '2026-11-16T09:00:00Z';
const ten = '2026-11-16T10:00:00Z';
const error = { kind: 'timeout', retryable: true, message: 'No answer.' };

/** A failure that is in order. */
const failure = () => ({
  organisation_id: organisationId,
  connection_id: connectionId,
  direction: 'inbound',
  entity_type: 'contact',
  record_id: 'OXF18000001',
  attempts: 1,
  error,
  first_failed_at: nine,
  last_failed_at: nine,
  next_attempt_at: ten as string | null,
});

/** Inserts a failure that is in order, but for what `overrides` spoils, and takes it back. */
function tryFailure(overrides: Row = {}): Promise<Row> {
  return rolledBack(pool, (client) => insert(client, 'crm_sync_failures', { ...failure(), ...overrides }));
}

const givenUp = { next_attempt_at: null, gave_up_at: nine };

describe('a failure', () => {
  test.each<[string, Row]>([
    ['is tried again', {}],
    ['was given up', givenUp],
    ['is of the other direction', { direction: 'outbound' }],
    ['is tried as if it had not failed before', { attempts: 0 }],
    ['was tried often', { attempts: 2_147_483_647 }],
    ['failed again later', { last_failed_at: ten }],
    ['failed again a microsecond later', { last_failed_at: '2026-11-16T09:00:00.000001Z' }],
    ['is of a long entity type', { entity_type: `a${'0_'.repeat(31)}` }],
    ['is of a record with an id of 512 bytes', { record_id: 'é'.repeat(256) }],
    ['is of a record with blanks around its id', { record_id: ' 1\n' }],
    [
      'is very old',
      {
        first_failed_at: outermostTimes[0],
        last_failed_at: outermostTimes[0],
        next_attempt_at: outermostTimes[0],
      },
    ],
    ['is tried again in the far future', { next_attempt_at: outermostTimes[1] }],
    ['was given up in the far future', { ...givenUp, gave_up_at: outermostTimes[1] }],
  ])('is accepted that %s', async (_, overrides) => {
    await tryFailure(overrides);
  });

  test.each<[string, Row, string]>([
    ['goes in no direction we know', { direction: 'sideways' }, 'direction'],
    ['is of no entity type', { entity_type: '' }, 'entity_type'],
    ['is of an entity type in capitals', { entity_type: 'Contact' }, 'entity_type'],
    ['is of an entity type with a line break', { entity_type: 'contact\n' }, 'entity_type'],
    ['is of too long an entity type', { entity_type: 'a'.repeat(64) }, 'entity_type'],
    ['is of no record', { record_id: '' }, 'record_id'],
    ['is of a record whose id is blank', { record_id: ' \t\n\r\f\v' }, 'record_id'],
    ['is of a record with an id of 513 bytes', { record_id: `${'é'.repeat(256)}x` }, 'record_id'],
    ['was tried less than never', { attempts: -1 }, 'attempts'],
    ['has a payload', { error: { ...error, body: 'x' } }, 'error_is_valid'],
    ['has an error of no kind', { error: { retryable: true, message: 'No answer.' } }, 'error_is_valid'],
    ['has an error of a kind we do not know', { error: { ...error, kind: 'weather' } }, 'error_is_valid'],
    ['has an error that is a text', { error: '"timeout"' }, 'error_is_valid'],
    ['has an error that is JSON null', { error: 'null' }, 'error_is_valid'],
    ['is neither tried again nor given up', { next_attempt_at: null }, 'gave_up_iff_no_next_attempt'],
    ['is tried again though given up', { gave_up_at: nine }, 'gave_up_iff_no_next_attempt'],
    ['first failed after it last failed', { first_failed_at: ten }, 'failed_in_order'],
    [
      'first failed a microsecond after it last failed',
      { first_failed_at: '2026-11-16T09:00:00.000001Z' },
      'failed_in_order',
    ],
    ...impossibleTimes.flatMap((time): [string, Row, string][] => [
      [`failed at ${time}`, { first_failed_at: time, last_failed_at: time }, 'times_in_range'],
      [`is tried again at ${time}`, { next_attempt_at: time }, 'times_in_range'],
      [`was given up at ${time}`, { ...givenUp, gave_up_at: time }, 'times_in_range'],
    ]),
    ['has failed for ever', { first_failed_at: '-infinity' }, 'times_in_range'],
    ['will fail for ever', { last_failed_at: 'infinity' }, 'times_in_range'],
  ])('is refused that %s', async (_, overrides, constraint) => {
    await expectCheck(tryFailure(overrides), `crm_sync_failures_${constraint}_check`);
  });

  test.each([
    'organisation_id',
    'connection_id',
    'direction',
    'entity_type',
    'record_id',
    'attempts',
    'error',
    'first_failed_at',
    'last_failed_at',
  ])('is refused without %s', async (column) => {
    await expectRefused(tryFailure({ [column]: null }), { code: '23502', column });
  });

  test.each(syncErrorKinds)(
    'has the kind of its error, %s, as a column that nobody can set',
    async (kind) => {
      expect(await tryFailure({ error: { ...error, kind } })).toMatchObject({ kind });
      await expectRefused(tryFailure({ kind }), { code: '428C9' });
    },
  );

  test('changes its kind with its error', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_sync_failures', failure());
      const { rows } = await client.query('update crm_sync_failures set error = $1 returning kind', [
        { ...error, kind: 'network' },
      ]);
      expect(rows).toEqual([{ kind: 'network' }]);
    });
  });

  test('is the only one of its record, beside those of other records', async () => {
    const other = await connect(pool, organisationId, 'alto');
    await rolledBack(pool, async (client) => {
      const ids = new Set([(await insert(client, 'crm_sync_failures', failure())).id]);
      const others: Row[] = [
        { direction: 'outbound' },
        { entity_type: 'landlord' },
        { record_id: 'oxf18000001' },
        { connection_id: other.connectionId },
      ];
      for (const overrides of others)
        ids.add((await insert(client, 'crm_sync_failures', { ...failure(), ...overrides })).id);
      expect(ids.size).toBe(1 + others.length);
      await expectRefused(insert(client, 'crm_sync_failures', { ...failure(), ...givenUp }), {
        code: '23505',
        constraint: 'crm_sync_failures_pkey',
      });
    });
  });

  test('is refused for a connection of another organisation', async () => {
    const other = await createTenant(pool);
    const noSuchConnection = { code: '23503', constraint: 'crm_sync_failures_connection_id_fkey' };
    await expectRefused(tryFailure({ organisation_id: other.organisationId }), noSuchConnection);
    const theirs = await connect(pool, other.organisationId);
    await expectRefused(tryFailure({ connection_id: theirs.connectionId }), noSuchConnection);
  });

  test('keeps its connection from being deleted', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_sync_failures', failure());
      await expectRefused(client.query('delete from crm_connections where id = $1', [connectionId]), {
        code: restricted,
        constraint: 'crm_sync_failures_connection_id_fkey',
      });
    });
  });
});

describe('crm_sync_failure_is_final', () => {
  test.each([
    [false, 1, '0 seconds', true],
    [false, 0, '0 seconds', true],
    [true, 1, '0 seconds', false],
    [true, 9, '1 day', false],
    [true, 9, '1000 days', false],
    [true, 10, '23:59:59.999999', false],
    [true, 10, '1 day', true],
    [true, 10, '24:00:00', true],
    [true, 1000, '23:59:59.999999', false],
    [true, 1000, '0 seconds', false],
    [true, 11, '1 day 00:00:00.000001', true],
  ])('retryable: %s, %i attempts in %s: %s', async (retryable, attempts, failingFor, expected) => {
    const { rows } = await pool.query('select crm_sync_failure_is_final($1, $2, $3) as found', [
      { ...error, retryable },
      attempts,
      failingFor,
    ]);
    expect(rows).toEqual([{ found: expected }]);
  });

  test.each([
    ['2026-03-28T12:00:00+00', '2026-03-29T11:59:59+00', false],
    ['2026-03-28T12:00:00+00', '2026-03-29T12:00:00+00', true],
    ['2026-10-24T12:00:00+01', '2026-10-25T10:59:59+00', false],
    ['2026-10-24T12:00:00+01', '2026-10-25T11:00:00+00', true],
  ])('a day is 24 hours also when clocks change: from %s to %s', async (from, to, expected) => {
    await rolledBack(pool, async (client) => {
      await client.query("set local timezone = 'Europe/London'");
      const { rows } = await client.query(
        'select crm_sync_failure_is_final($1, 10, $2::timestamptz - $3::timestamptz) as found',
        [error, to, from],
      );
      expect(rows).toEqual([{ found: expected }]);
    });
  });
});
