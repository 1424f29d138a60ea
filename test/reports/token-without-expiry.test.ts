/**
 * Symptom: the agency has to consent again and again. The CRM's token answer has no `expires_in`, or 0, or null; the
 * worker stores that as "unknown", or as "expired this instant", takes either for expired, and uses up a single-use
 * refresh token with each sign-in, until the CRM takes it for a theft and revokes the grant.
 *
 * Source: tried on 1.3.0 with a Reapit-like server; RFC 6749, section 5.1, only recommends `expires_in`.
 *
 * Input: an answer without `expires_in`, with 0, and with null, and ten sign-ins after it.
 *
 * Right: one refresh token is used. An unknown expiry is not expired; where the CRM documents how long its tokens
 * live, that is the expiry.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import {
  credentialsGet,
  credentialsRefresh,
  type KeyRing,
  tokenExpiresAt,
  tokenHasExpired,
} from '../../src/credentials.js';
import { connect } from '../support/connection.js';
import { testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});

type Answer = { expires_in?: number | string | null };

/** Signs in ten times, as examples/refresh-token.ts does. Returns how many refresh tokens that used up. */
async function signInTenTimes(
  provider: 'reapit' | 'alto',
  expiryOf: (answer: Answer) => Date | null,
  answer: Answer,
) {
  const { organisationId } = await createTenant(pool);
  const connection = { ...(await connect(pool, organisationId, provider)), provider } as const;
  await pool.query('update crm_connections set credentials_expires_at = now() where id = $1', [
    connection.connectionId,
  ]);
  let refreshes = 0;
  let expiresAt: string | null = null;
  for (let signIn = 0; signIn < 10; signIn += 1) {
    const stored = await credentialsGet(pool, keys, connection);
    if (stored === null) return expect.unreachable();
    const { credentialsVersion } = stored;
    const isExpired = tokenHasExpired(stored);
    const used = isExpired
      ? await credentialsRefresh(pool, keys, {
          ...connection,
          credentialsVersion,
          refresh: async ({ credentials }) => {
            refreshes += 1;
            return { credentials, credentialsExpiresAt: expiryOf(answer) };
          },
        })
      : stored;
    expiresAt = used.credentialsExpiresAt;
  }
  return { refreshes, expiresAt };
}

const answers: Answer[] = [{}, { expires_in: 0 }, { expires_in: null }];

describe.each(answers)('a token answer with %j', (answer) => {
  test('uses one refresh token in ten sign-ins, and expires after the hour that Reapit documents', async () => {
    const expiryOf = ({ expires_in }: Answer) => tokenExpiresAt('reapit', expires_in);
    const { refreshes, expiresAt } = await signInTenTimes('reapit', expiryOf, answer);
    expect(refreshes).toBe(1);
    const seconds = (Date.parse(expiresAt ?? '') - Date.now()) / 1000;
    expect(seconds).toBeGreaterThan(3500);
    expect(seconds).toBeLessThanOrEqual(3600);
  });

  test('uses one refresh token in ten sign-ins at a CRM that documents no life', async () => {
    const expiryOf = ({ expires_in }: Answer) => tokenExpiresAt('alto', expires_in);
    expect(await signInTenTimes('alto', expiryOf, answer)).toEqual({ refreshes: 1, expiresAt: null });
  });

  test('uses one refresh token also if the adapter adds what it was told to the clock', async () => {
    const expiryOf = ({ expires_in }: Answer) => new Date(Date.now() + Number(expires_in) * 1000);
    expect(await signInTenTimes('alto', expiryOf, answer)).toEqual({ refreshes: 1, expiresAt: null });
  });
});

describe('tokenExpiresAt', () => {
  const nine = new Date('2026-11-16T09:00:00Z');
  test.each<[string, unknown, string | null, string | null]>([
    ['seconds', 1800, '2026-11-16T09:30:00.000Z', '2026-11-16T09:30:00.000Z'],
    ['seconds as text', '1800', '2026-11-16T09:30:00.000Z', '2026-11-16T09:30:00.000Z'],
    ['a fraction of a second', 0.5, '2026-11-16T09:00:00.500Z', '2026-11-16T09:00:00.500Z'],
    ['nothing', undefined, '2026-11-16T10:00:00.000Z', null],
    ['null', null, '2026-11-16T10:00:00.000Z', null],
    ['0', 0, '2026-11-16T10:00:00.000Z', null],
    ['0 as text', '0', '2026-11-16T10:00:00.000Z', null],
    ['a negative number', -1, '2026-11-16T10:00:00.000Z', null],
    ['empty text', '', '2026-11-16T10:00:00.000Z', null],
    ['a word', 'soon', '2026-11-16T10:00:00.000Z', null],
    ['NaN', Number.NaN, '2026-11-16T10:00:00.000Z', null],
    ['infinity', Number.POSITIVE_INFINITY, '2026-11-16T10:00:00.000Z', null],
    ['true', true, '2026-11-16T10:00:00.000Z', null],
    ['more seconds than a date can have', 1e15, null, null],
  ])('reads %s', (_, expiresIn, atReapit, elsewhere) => {
    expect(tokenExpiresAt('reapit', expiresIn, nine)?.toISOString() ?? null).toBe(atReapit);
    expect(tokenExpiresAt('alto', expiresIn, nine)?.toISOString() ?? null).toBe(elsewhere);
  });

  test('refuses an unknown provider', () => {
    expect(() => tokenExpiresAt('salesforce' as never, 60)).toThrow(
      expect.objectContaining({ code: 'unknown_provider' }),
    );
  });
});

describe('tokenHasExpired', () => {
  const now = new Date('2026-11-16T09:00:00Z');
  const at = (credentialsExpiresAt: string | null) => ({ credentialsExpiresAt });
  test.each([
    ['2026-11-16T09:01:00.001000Z', undefined, false],
    ['2026-11-16T09:01:00.000000Z', undefined, true],
    ['2026-11-16T08:00:00.000000Z', undefined, true],
    ['2026-11-16T09:00:11.000000Z', 10, false],
    ['2026-11-16T09:00:10.000000Z', 10, true],
    [null, undefined, false],
  ])('expiry %s with a margin of %s: %s', (expiresAt, marginSeconds, expected) => {
    expect(tokenHasExpired(at(expiresAt), { marginSeconds, now })).toBe(expected);
  });
});
