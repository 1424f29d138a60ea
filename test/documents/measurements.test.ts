import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { growthDocument } from '../../bench/growth-document.js';
import type { Growth } from '../../bench/growth-measure.js';
import { growthPlot } from '../../bench/growth-plot.js';
import { performanceDocument } from '../../bench/performance/document.js';
import { performancePlot } from '../../bench/performance/plot.js';
import type { Performance } from '../../bench/performance/run.js';
import { projectPath } from '../../dev/database.js';
import { queries, queryNames } from '../queries/every-query.js';

const read = (path: string) => readFile(projectPath(path), 'utf8');

test('docs/plans.md has exactly one plan for each query', async () => {
  const document = await read('docs/plans.md');
  const named = [...document.matchAll(/^### (\w+)\n[\s\S]*?```text\n/gm)].map(([, name]) => name);
  expect(named).toEqual(queryNames.map((name) => queries[name].name));
  for (const name of queryNames) expect(document).toContain(`| [\`${name}\`](#${name.toLowerCase()}) |`);
});

test('docs/growth.md and its plot match the numbers in docs/growth.json', async () => {
  const growth = JSON.parse(await read('docs/growth.json')) as Growth;
  expect(await read('docs/growth.md')).toBe(growthDocument(growth));
  expect(await read('docs/growth.svg')).toBe(await growthPlot(growth));
});

test('docs/performance.md and its plot match the numbers in docs/performance.json', async () => {
  const performance = JSON.parse(await read('docs/performance.json')) as Performance;
  expect(await read('docs/performance.md')).toBe(performanceDocument(performance));
  expect(await read('docs/performance.svg')).toBe(await performancePlot(performance));
});
