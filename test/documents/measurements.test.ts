import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { growthDocument } from '../../bench/growth-document.js';
import type { Growth } from '../../bench/growth-measure.js';
import { growthPlot } from '../../bench/growth-plot.js';
import { projectPath } from '../../dev/database.js';

const read = (path: string) => readFile(projectPath(path), 'utf8');

test('docs/growth.md and its plot are made from the numbers in docs/growth.json', async () => {
  const growth = JSON.parse(await read('docs/growth.json')) as Growth;
  expect(await read('docs/growth.md')).toBe(growthDocument(growth));
  expect(await read('docs/growth.svg')).toBe(await growthPlot(growth));
});
