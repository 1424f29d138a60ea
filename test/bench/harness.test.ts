import { expect, test } from 'vitest';
import { isReached, measure, replayed, spread } from '../../bench/performance/harness.js';

test('a row is measured in turn, begins each round with another way, and does not count the first round', async () => {
  const turns: string[] = [];
  const way = (name: string, costs: number[]) => {
    const next = replayed(costs);
    return () => {
      turns.push(name);
      return next();
    };
  };
  const measured = await measure({
    work: 'any',
    unit: 'ms',
    rounds: 3,
    ours: way('ours', [100, 1, 2, 4]),
    beside: [
      { name: 'missing', way: undefined },
      { name: 'other', goal: { ratio: 2 }, way: way('other', [100, 2, 6, 4]) },
    ],
  });

  expect(turns.join(' ')).toBe('ours other other ours ours other other ours');
  expect(measured.ours).toEqual({ median: 2, low: 1.5, high: 3 });
  expect(measured.beside).toEqual([
    { name: 'missing', missing: 'not installed' },
    {
      name: 'other',
      goal: { ratio: 2 },
      cost: { median: 4, low: 3, high: 5 },
      // Of the rounds: 2, 3 and 1.
      ratio: { median: 2, low: 1.5, high: 2.5 },
    },
  ]);
});

test('a goal is reached by the median ratio, or by what ours adds, and is not judged without the other', () => {
  const [ours, other] = [spread([10]), { name: 'other', cost: spread([5]), ratio: spread([0.5]) }];
  expect(isReached(ours, { ...other, goal: { ratio: 0.5 } })).toBe(true);
  expect(isReached(ours, { ...other, goal: { ratio: 0.6 } })).toBe(false);
  expect(isReached(ours, { ...other, goal: { added: 5 } })).toBe(true);
  expect(isReached(ours, { ...other, goal: { added: 4 } })).toBe(false);
  expect(isReached(ours, other)).toBeUndefined();
  expect(isReached(ours, { name: 'other', goal: { ratio: 1 }, missing: 'not installed' })).toBeUndefined();
});
