import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { projectPath } from '../../dev/database.js';
import { alerts, exportedQueries, panels, readExample, valuesIn } from './configuration.js';
import { noPrometheus, programs } from './programs.js';

const folder = projectPath('examples/monitoring');
const page = await readFile(projectPath('docs/operations/alerts.md'), 'utf8');

const exported = exportedQueries.flatMap(({ name, values }) => values.map((value) => `${name}.${value}`));
const expressions = [
  ...alerts.map(({ expr }) => expr),
  ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
];

test('the README lists all files', async () => {
  const readme = await readExample('README.md');
  const listed = [...readme.matchAll(/^\| \[([^\]]+)\]/gm)].map(([, name]) => name);
  expect(['README.md', ...listed].toSorted()).toEqual((await readdir(folder)).toSorted());
});

test('alerts and panels read exactly the values that are exported', () => {
  expect([...new Set(expressions.flatMap(valuesIn))].toSorted()).toEqual(exported.toSorted());
});

test('alerts and panels group and match by labels that the exporter adds or the query has', () => {
  const always = [
    'col',
    'host',
    'database',
    'sql_job',
    'query',
    'alertname',
    'severity',
    'alertstate',
    'job',
  ];
  for (const expression of expressions) {
    const labels = [
      ...[...expression.matchAll(/\b(?:by|on) \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(', ')),
      ...[...expression.matchAll(/[{,](\w+)=~?"/g)].map(([, label = '']) => label),
    ];
    const own = valuesIn(expression).map((value) => value.split('.')[0]);
    const known = exportedQueries.filter(({ name }) => own.includes(name)).flatMap((query) => query.labels);
    for (const label of labels) expect([...always, ...known], expression).toContain(label);
  }
});

test('the legend of a panel and the summary of an alert name labels that their expression keeps', () => {
  const kept = (expression: string) =>
    [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(', '));
  for (const { targets = [] } of panels) {
    for (const { expr, legendFormat } of targets) {
      for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
        expect(kept(expr), expr).toContain(label);
    }
  }
  for (const { expr, annotations } of alerts) {
    for (const [, label] of annotations.summary.matchAll(/\$labels\.(\w+)/g))
      expect(kept(expr), expr).toContain(label);
  }
});

test('alerts.md describes each alert with its severity, in the order of the rules', () => {
  const described = [...page.matchAll(/^\| `(Crm\w+)` \| (\w+) \|/gm)].map(
    ([, name, severity]) => `${name} ${severity}`,
  );
  expect(described).toEqual(alerts.map(({ alert, labels }) => `${alert} ${labels.severity}`));
});

test('alerts.md describes each panel, in the order of the dashboard', () => {
  const [, rows = ''] = /\| panel \| shows \|\n\|[-|]+\|\n((?:\|.*\n)+)/.exec(page) ?? [];
  const described = [...rows.matchAll(/^\| (.*?) \|/gm)].map(([, title]) => title);
  const shown = panels.filter(({ type }) => type !== 'row');
  expect(described).toEqual(shown.map(({ title }) => title));
  expect(new Set(described).size).toBe(described.length);
  for (const { description } of shown) expect(description).toMatch(/\.$/);
});

test('alerts.md describes each value that is exported', () => {
  const [, rows = ''] = /\| query \| value \| meaning \|\n\|[-|]+\|\n((?:\|.*\n)+)/.exec(page) ?? [];
  let query = '';
  const described = rows
    .trim()
    .split('\n')
    .flatMap((row) => {
      const [, first = '', values = ''] = row.split('|');
      query = /`(\w+)`/.exec(first)?.[1] ?? query;
      return [...values.matchAll(/`(\w+)`/g)].map(([, value]) => `${query}.${value}`);
    });
  expect(described.toSorted()).toEqual(exported.toSorted());
});

test('the panels of the dashboard do not overlap, and have numbers of their own', async () => {
  const { panels: placed } = JSON.parse(await readExample('dashboard.json'));
  const taken = new Set<string>();
  for (const {
    gridPos: { x, y, w, h },
  } of placed) {
    expect(x + w).toBeLessThanOrEqual(24);
    for (let column = x; column < x + w; column += 1) {
      for (let line = y; line < y + h; line += 1) {
        expect(taken).not.toContain(`${column},${line}`);
        taken.add(`${column},${line}`);
      }
    }
  }
  expect(new Set(placed.map(({ id }: { id: number }) => id)).size).toBe(placed.length);
});

test('each alert has a test in which it fires, and one in which it does not', async () => {
  const { tests } = parse(await readExample('alerts.test.yml'));
  const checks = tests.flatMap((each: { alert_rule_test: unknown[] }) => each.alert_rule_test) as {
    alertname: string;
    exp_alerts: unknown[];
  }[];
  for (const { alert } of alerts) {
    const own = checks.filter(({ alertname }) => alertname === alert);
    expect(
      own.some(({ exp_alerts }) => exp_alerts.length > 0),
      alert,
    ).toBe(true);
    expect(
      own.some(({ exp_alerts }) => exp_alerts.length === 0),
      alert,
    ).toBe(true);
  }
});

describe.skipIf(noPrometheus)('with Prometheus,', () => {
  const run = promisify(execFile);

  test('promtool runs the tests of the rules', async () => {
    const { stdout } = await run(programs.promtool, ['test', 'rules', 'alerts.test.yml'], { cwd: folder });
    expect(stdout).toMatch(/SUCCESS\s*$/);
  });

  test('promtool accepts the configuration, and amtool that of Alertmanager', async () => {
    const { stdout } = await run(programs.promtool, ['check', 'config', 'prometheus.yml'], { cwd: folder });
    expect(stdout).toContain(`${alerts.length} rules found`);
    const checked = await run(programs.amtool, ['check-config', 'alertmanager.yml'], { cwd: folder });
    expect(checked.stdout).toContain('SUCCESS');
  });

  test("promtool parses every panel's expression", async () => {
    const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const rules = expressions.map((expr, number) => ({ record: `panel:${number}`, expr }));
    const scratch = await mkdtemp(join(tmpdir(), 'crm-schema-panels-'));
    onTestFinished(() => rm(scratch, { recursive: true }));
    const file = join(scratch, 'panels.yml');
    await writeFile(file, JSON.stringify({ groups: [{ name: 'panels', rules }] }));
    const { stdout } = await run(programs.promtool, ['check', 'rules', file]);
    expect(stdout).toContain(`SUCCESS: ${expressions.length} rules found`);
  });
});
