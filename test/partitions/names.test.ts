import { expect, test } from 'vitest';
import { isForOlderEvents, isPartitionName, partitionName, rangeOfName } from '../../src/partitions/names.js';

const november = '2026-11-01 00:00:00+00';
const december = '2026-12-01 00:00:00+00';

test.each([
  [{ from: november, before: december }, 'crm_sync_log_2026_11'],
  [{ from: null, before: november }, 'crm_sync_log_before_2026_11'],
  [{ from: november, before: null }, 'crm_sync_log_catch_all'],
  [{ from: null, before: null }, 'crm_sync_log_catch_all'],
])('partitionName names %j', (named, expected) => {
  expect(partitionName(named)).toBe(expected);
});

test.each([
  ['crm_sync_log_2026_12', '2026-12', '2027-01', false],
  ['crm_sync_log_before_2026_12', null, '2026-12', true],
  ['crm_sync_log_before_2026_12_2', null, '2026-12', true],
])('rangeOfName reads the range of %s', (name, from, before, isOlder) => {
  const start = (month: string) => `${month}-01T00:00:00.000000Z`;
  expect(rangeOfName(name)).toEqual({ from: from && start(from), before: start(before) });
  expect(isForOlderEvents(name)).toBe(isOlder);
});

test.each([
  ['crm_sync_log_2026_12', true],
  ['crm_sync_log_before_2026_12', true],
  ['crm_sync_log_before_2026_12_2', true],
  ['crm_sync_log_catch_all', true],
  ['crm_sync_log', false],
  ['crm_sync_log_2026_12_2', false],
  ['crm_sync_log_2026_12_old', false],
  ['old_crm_sync_log_2026_12', false],
  ['crm_sync_log_before', false],
])('isPartitionName of %s is %s', (name, expected) => {
  expect(isPartitionName(name)).toBe(expected);
});
