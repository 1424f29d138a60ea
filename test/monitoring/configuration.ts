import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { projectPath } from '../../dev/database.js';

/** A query of the SQL exporter, as in examples/monitoring/sql-exporter.yml. */
export interface ExportedQuery {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly values: readonly string[];
  readonly query: string;
  readonly allow_zero_rows?: boolean;
}

/** An alerting rule of Prometheus. */
export interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string };
}

/** A panel of the dashboard; a row of panels has no targets. */
export interface Panel {
  readonly title: string;
  readonly description?: string;
  readonly type: string;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

/** The text of a file of examples/monitoring. */
export function readExample(name: string): Promise<string> {
  return readFile(projectPath(`examples/monitoring/${name}`), 'utf8');
}

export const exporter: {
  jobs: { name: string; interval: string; connections: string[]; queries: ExportedQuery[] }[];
} = parse(await readExample('sql-exporter.yml'));

export const exportedQueries: readonly ExportedQuery[] = exporter.jobs.flatMap(({ queries }) =>
  queries.map((query) => ({ ...query, labels: query.labels ?? [] })),
);

/** One of them, by its name. */
export function queryOf(name: string): ExportedQuery {
  const query = exportedQueries.find((each) => each.name === name);
  if (query === undefined) throw new Error(`sql-exporter.yml has no query ${name}.`);
  return query;
}

export const alerts: readonly Alert[] = parse(await readExample('alerts.yml')).groups[0].rules;

export const panels: readonly Panel[] = JSON.parse(await readExample('dashboard.json')).panels;

/** The values that an expression of Prometheus reads: `crm_log.monthsAhead`. */
export function valuesIn(expression: string): string[] {
  return [...expression.matchAll(/\bsql_(crm_\w+)(\{[^}]*\})?/g)].flatMap(([, name, matchers = '']) => {
    const [, columns = 'without a col'] = /\bcol=~?"([^"]*)"/.exec(matchers) ?? [];
    return columns.split('|').map((column) => `${name}.${column}`);
  });
}
