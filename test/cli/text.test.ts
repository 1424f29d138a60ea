import { expect, test } from 'vitest';
import { forReader } from '../../src/cli/text.js';

const words =
  'Events of that time are refused, and those of any other are not: run it again when that has ended, please.';

test('a message is one line for a log', () => {
  expect(forReader(words, false)).toBe(words);
});

test('a message is broken between words for a terminal', () => {
  const lines = forReader(words, true).split('\n');
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  expect(lines.join(' ')).toBe(words);
});

test('a statement in a message stays in one line, to be copied', () => {
  const statement = `select crm_sync_log_ensure_partitions(3), '${'x'.repeat(80)}';`;
  expect(forReader(`${words} Run: ${statement}`, true).split('\n').at(-1)).toBe(statement);
});

test('nothing that a terminal would obey gets through', () => {
  expect(forReader('a\u001b[2Jb', true)).toBe('a\\u001b[2Jb');
  expect(forReader(`${words}\u001b[2J`, true)).toContain('\\u001b[2J');
});
