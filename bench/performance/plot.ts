import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { isReached } from './harness.js';
import type { Performance } from './run.js';

const labelWidth = 500;
const colours = { reached: '#3a8757', 'not reached': '#c0392b' };

/** Draws docs/performance.svg: each ratio that has a goal, with both. On white, to be legible on any background. */
export async function performancePlot({ groups }: Performance): Promise<string> {
  const points = groups.flatMap(({ rows }) =>
    rows.flatMap(({ work, ours, beside }) =>
      beside.flatMap((each) => {
        if (each.ratio === undefined || each.goal === undefined || !('ratio' in each.goal)) return [];
        const verdict = isReached(ours, each) ? 'reached' : 'not reached';
        return { label: `${work} · ${each.name}`, ...each.ratio, goal: each.goal.ratio, verdict };
      }),
    ),
  );
  // Left-aligned, because the width of a text can only be estimated here.
  const labels = { labelAlign: 'left' as const, labelPadding: labelWidth, labelLimit: 0, ticks: false };
  const y = { field: 'label', type: 'nominal' as const, sort: null, title: null, axis: labels };
  const scale = { type: 'log' as const, nice: false };
  const axis = { values: [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], format: '~r' };
  const title = "The other's cost ÷ ours, logarithmic: right of 1, ours is less";
  const color = {
    field: 'verdict',
    type: 'nominal' as const,
    title: null,
    scale: { domain: Object.keys(colours), range: Object.values(colours) },
    legend: { orient: 'top' as const, symbolType: 'circle' },
  };
  const spec: TopLevelSpec = {
    width: 420,
    height: { step: 17 },
    padding: 16,
    background: 'white',
    title: {
      text: 'How far each goal is: the ratio, its spread, and the goal as a line',
      anchor: 'start',
      fontSize: 15,
      offset: 12,
    },
    config: {
      font: 'Helvetica, Arial, DejaVu Sans, sans-serif',
      axis: {
        labelFontSize: 11,
        titleFontSize: 12,
        titleFontWeight: 'normal',
        gridColor: '#e4e4e4',
      },
      view: { stroke: null },
    },
    data: { values: points },
    layer: [
      {
        mark: { type: 'rule', color: '#6b7480' },
        encoding: { x: { datum: 1, type: 'quantitative', scale } },
      },
      {
        mark: { type: 'rule', strokeWidth: 3, opacity: 0.4 },
        encoding: {
          y,
          x: { field: 'low', type: 'quantitative', scale, axis, title },
          x2: { field: 'high' },
          color,
        },
      },
      {
        mark: { type: 'point', filled: true, size: 55, opacity: 1 },
        encoding: { y, x: { field: 'median', type: 'quantitative', scale }, color },
      },
      {
        mark: { type: 'tick', thickness: 2, size: 13, color: '#222222' },
        encoding: { y, x: { field: 'goal', type: 'quantitative', scale } },
      },
    ],
  };
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' });
  return `${await view.toSVG()}\n`;
}
