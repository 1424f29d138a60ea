import pg from 'pg';
import { expect } from 'vitest';

/** Expects PostgreSQL to refuse with an error that has the given fields. */
export async function expectRefused(
  attempt: Promise<unknown>,
  fields: Partial<Record<keyof pg.DatabaseError, unknown>>,
): Promise<pg.DatabaseError> {
  const error = await attempt.then(
    () => 'accepted',
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(pg.DatabaseError);
  expect(error).toMatchObject(fields);
  return error as pg.DatabaseError;
}

/** Expects a violation of the given CHECK. */
export function expectCheck(attempt: Promise<unknown>, constraint: unknown): Promise<pg.DatabaseError> {
  return expectRefused(attempt, { code: '23514', constraint });
}

/** Times that every table refuses, and the first and last that every table accepts. */
export const impossibleTimes = [
  'infinity',
  '-infinity',
  '1899-12-31 23:59:59.999999+00',
  '9999-01-01 00:00:00+00',
];
export const outermostTimes = ['1900-01-01 00:00:00+00', '9998-12-31 23:59:59.999999+00'];

/** The SQLSTATE of `on delete restrict`: foreign_key_violation until PostgreSQL 17, then restrict_violation. */
export const restricted = expect.stringMatching(/^(23503|23001)$/);
