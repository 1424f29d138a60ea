import { describe, expect, test } from 'vitest';
import { syncErrorKinds } from '../../src/index.js';
import {
  type Row,
  testRefusesOtherOrganisations,
  testRestrictsDeletion,
  tryRow,
  useConnectedTenant,
} from '../support/connected-tenant.js';
import { connect } from '../support/connection.js';
import { insert, rolledBack, useDatabase } from '../support/database.js';
import { expectCheck, expectRefused, impossibleTimes, outermostTimes } from '../support/refusals.js';

const { pool } = useDatabase();

const tenant = useConnectedTenant(pool);

const nine = '2026-11-16T09:00:00Z';
const ten = '2026-11-16T10:00:00Z';
const error = { kind: 'timeout', retryable: true, message: 'No answer.' };

/** A valid failure, to be retried. */
const validRow = () => ({
  organisation_id: tenant.organisationId,
  connection_id: tenant.connectionId,
  direction: 'inbound',
  entity_type: 'contact',
  record_id: 'OXF18000001',
  attempts: 1,
  error,
  first_failed_at: nine,
  last_failed_at: nine,
  next_attempt_at: ten as string | null,
});

const failures = { pool, table: 'crm_sync_failures', tenant, validRow };

const givenUp = { next_attempt_at: null, gave_up_at: nine };
const dismissed = {
  next_attempt_at: null,
  dismissed_at: nine,
  dismissed_by: 'support',
  dismissal_reason: 'Gone at the CRM.',
};

describe('crm_sync_failures', () => {
  test.each<[string, Row]>([
    ['will be retried', {}],
    ['was given up on', givenUp],
    ['was dismissed', dismissed],
    [
      'was dismissed with the longest name and reason',
      { ...dismissed, dismissed_by: 'é'.repeat(100), dismissal_reason: 'é'.repeat(500) },
    ],
    ['is outbound', { direction: 'outbound' }],
    ['was replayed, so has 0 attempts', { attempts: 0 }],
    ['has the highest number of attempts', { attempts: 2_147_483_647 }],
    ['failed again later', { last_failed_at: ten }],
    ['failed again a microsecond later', { last_failed_at: '2026-11-16T09:00:00.000001Z' }],
    ['has an entity type of 63 characters', { entity_type: `a${'0_'.repeat(31)}` }],
    ['has a record id of 512 bytes', { record_id: 'é'.repeat(256) }],
    ['has a record id with surrounding whitespace', { record_id: ' 1\n' }],
    [
      'is of 1900',
      {
        first_failed_at: outermostTimes[0],
        last_failed_at: outermostTimes[0],
        next_attempt_at: outermostTimes[0],
      },
    ],
    ['will be retried in 9998', { next_attempt_at: outermostTimes[1] }],
    ['was given up on in 9998', { ...givenUp, gave_up_at: outermostTimes[1] }],
  ])('accepts a failure that %s', async (_, overrides) => {
    await tryRow(failures, overrides);
  });

  test.each<[string, Row, string]>([
    ['has an unknown direction', { direction: 'sideways' }, 'direction'],
    ['has an empty entity type', { entity_type: '' }, 'entity_type'],
    ['has an entity type with a capital letter', { entity_type: 'Contact' }, 'entity_type'],
    ['has an entity type with a line break', { entity_type: 'contact\n' }, 'entity_type'],
    ['has an entity type of 64 characters', { entity_type: 'a'.repeat(64) }, 'entity_type'],
    ['has an empty record id', { record_id: '' }, 'record_id'],
    ['has a blank record id', { record_id: ' \t\n\r\f\v' }, 'record_id'],
    ['has a record id of 513 bytes', { record_id: `${'é'.repeat(256)}x` }, 'record_id'],
    ['has a negative number of attempts', { attempts: -1 }, 'attempts'],
    ['has an error that contains a payload', { error: { ...error, body: 'x' } }, 'error_is_valid'],
    ['has an error without a kind', { error: { retryable: true, message: 'No answer.' } }, 'error_is_valid'],
    ['has an error of an unknown kind', { error: { ...error, kind: 'weather' } }, 'error_is_valid'],
    ['has an error that is a JSON string', { error: '"timeout"' }, 'error_is_valid'],
    ['has an error that is JSON null', { error: 'null' }, 'error_is_valid'],
    ['is neither retried nor given up on', { next_attempt_at: null }, 'one_state'],
    ['is both retried and given up on', { gave_up_at: nine }, 'one_state'],
    ['is both retried and dismissed', { ...dismissed, next_attempt_at: ten }, 'one_state'],
    ['is both given up on and dismissed', { ...dismissed, gave_up_at: nine }, 'one_state'],
    ['was dismissed by nobody', { ...dismissed, dismissed_by: null }, 'dismissal_is_whole'],
    ['was dismissed without a reason', { ...dismissed, dismissal_reason: null }, 'dismissal_is_whole'],
    ['has a reason, but was not dismissed', { dismissal_reason: 'Gone.' }, 'dismissal_is_whole'],
    ['was dismissed by a blank name', { ...dismissed, dismissed_by: ' ' }, 'dismissed_by'],
    [
      'was dismissed by a name of 101 characters',
      { ...dismissed, dismissed_by: 'x'.repeat(101) },
      'dismissed_by',
    ],
    ['has a blank reason', { ...dismissed, dismissal_reason: '\n' }, 'dismissal_reason'],
    [
      'has a reason of 501 characters',
      { ...dismissed, dismissal_reason: 'x'.repeat(501) },
      'dismissal_reason',
    ],
    ['first failed after it last failed', { first_failed_at: ten }, 'failed_in_order'],
    [
      'first failed a microsecond after it last failed',
      { first_failed_at: '2026-11-16T09:00:00.000001Z' },
      'failed_in_order',
    ],
    ...impossibleTimes.flatMap((time): [string, Row, string][] => [
      [`failed at ${time}`, { first_failed_at: time, last_failed_at: time }, 'times_in_range'],
      [`is retried at ${time}`, { next_attempt_at: time }, 'times_in_range'],
      [`was given up on at ${time}`, { ...givenUp, gave_up_at: time }, 'times_in_range'],
      [`was dismissed at ${time}`, { ...dismissed, dismissed_at: time }, 'dismissed_at_in_range'],
    ]),
    ['first failed at -infinity', { first_failed_at: '-infinity' }, 'times_in_range'],
    ['last failed at infinity', { last_failed_at: 'infinity' }, 'times_in_range'],
  ])('refuses a failure that %s', async (_, overrides, constraint) => {
    await expectCheck(tryRow(failures, overrides), `crm_sync_failures_${constraint}_check`);
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
  ])('refuses a failure without %s', async (column) => {
    await expectRefused(tryRow(failures, { [column]: null }), { code: '23502', column });
  });

  test.each(syncErrorKinds)('has the kind of its error, %s, in a generated column', async (kind) => {
    expect(await tryRow(failures, { error: { ...error, kind } })).toMatchObject({ kind });
    await expectRefused(tryRow(failures, { kind }), { code: '428C9' });
  });

  test('updates kind when error changes', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_sync_failures', validRow());
      const { rows } = await client.query('update crm_sync_failures set error = $1 returning kind', [
        { ...error, kind: 'network' },
      ]);
      expect(rows).toEqual([{ kind: 'network' }]);
    });
  });

  test('refuses a second failure of a record, beside those of other records', async () => {
    const other = await connect(pool, tenant.organisationId, 'alto');
    await rolledBack(pool, async (client) => {
      const ids = new Set([(await insert(client, 'crm_sync_failures', validRow())).id]);
      const others: Row[] = [
        { direction: 'outbound' },
        { entity_type: 'landlord' },
        { record_id: 'oxf18000001' },
        { connection_id: other.connectionId },
      ];
      for (const overrides of others)
        ids.add((await insert(client, 'crm_sync_failures', { ...validRow(), ...overrides })).id);
      expect(ids.size).toBe(1 + others.length);
      await expectRefused(insert(client, 'crm_sync_failures', { ...validRow(), ...givenUp }), {
        code: '23505',
        constraint: 'crm_sync_failures_pkey',
      });
    });
  });

  testRefusesOtherOrganisations(failures);

  testRestrictsDeletion(failures);
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
  ])('retryable %s, %i attempts in %s: final is %s', async (retryable, attempts, failingFor, expected) => {
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
  ])('a day is 24 hours even when the clocks change: from %s to %s', async (from, to, expected) => {
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
