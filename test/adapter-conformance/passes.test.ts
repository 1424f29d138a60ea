// What passes.ts does with what it cannot read.
import { describe, expect, test } from 'vitest';
import {
  active,
  greatest,
  modifiedIn,
  type Pass,
  pageOf,
  passOf,
  reached,
} from '../../examples/adapters/passes.js';
import { CrmError } from '../../examples/crm.js';
import type { Timestamp } from '../../src/index.js';

interface NumberedPass extends Pass {
  number: number;
  next?: string;
}

const begin = (since: Timestamp | null): NumberedPass => ({ since, begun: null, number: 1 });

function thrownBy(attempt: () => unknown): unknown {
  try {
    attempt();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('passOf', () => {
  test('a token of pageOf gives its pass, with fields that a new one does not have', () => {
    const pass: NumberedPass = { ...begin('2026-11-23T09:30:00.000000Z'), number: 2, next: 'abc' };
    expect(passOf({ token: String(pageOf([], pass).next) }, begin)).toEqual(pass);
  });

  test.for([
    '{"of another version',
    '{"page":3}',
    '{"since":null,"begun":null}',
    'null',
    '7',
    '"text"',
    '[]',
    '',
  ])('the foreign token %s is a lost position', (token) => {
    const error = thrownBy(() => passOf({ token }, begin));
    expect(error).toBeInstanceOf(CrmError);
    expect(error).toMatchObject({ isPositionLost: true, retryable: true });
  });
});

describe('modifiedIn', () => {
  test.for([
    {},
    { modified: null },
    { modified: '' },
    { modified: 'yesterday' },
    { attributes: { updated_at: null } },
  ])('a record with the time %j is a CrmError', (found) => {
    const error = thrownBy(() => modifiedIn(found));
    expect(error).toBeInstanceOf(CrmError);
    expect(error).toMatchObject({ kind: 'provider', retryable: true });
  });

  test('a time with seven digits is truncated', () => {
    const modified = '2026-11-23T09:30:00.1234567Z';
    expect(modifiedIn({ modified })).toBe('2026-11-23T09:30:00.123456Z');
  });
});

test('active takes the modified time, and reached the times of such records', () => {
  const time = '2026-11-23T09:30:00.000000Z';
  const records = [
    active('contact', '1', { name: 'Ines Example' }, null, time),
    active('contact', '2', { name: 'Ada Example' }, null),
  ];
  expect(records.map(({ modifiedAt }) => modifiedAt)).toEqual([time, undefined]);
  const times = records.map(({ modifiedAt }) => modifiedAt);
  const begun = '2026-11-24T00:00:00.000000Z';
  expect(greatest(times)).toBe(time);
  expect(reached({ since: null, begun }, times)).toBe(time);
});
