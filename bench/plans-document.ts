import { readdir, readFile } from 'node:fs/promises';
import type { Size } from '../dev/busy-database/index.js';
import { projectPath } from '../dev/database.js';
import type { QueryName } from '../test/queries/every-query.js';
import type { PlanMode } from '../test/queries/explain.js';
import { expectations } from '../test/queries/plan-expectations.js';
import type { Role } from '../test/queries/plan-roles.js';

/** What a query's plan was, and how much it did for each agency. */
export interface Measurement {
  name: QueryName;
  role: Role;
  mode: PlanMode;
  indexes: string[];
  text: string;
  /** Of the busy agency, of the one without failures, and of the average one. */
  sizes: { returned: number; read: number; pages: number }[];
}

/** docs/plans.md. */
export async function plansDocument(
  measurements: readonly Measurement[],
  size: Size,
  version: string,
): Promise<string> {
  const comments = await queryComments();
  const count = (number: number) => Math.round(number).toLocaleString('en');
  const each = (sizes: Measurement['sizes'], field: 'returned' | 'read' | 'pages') =>
    sizes.map((measured) => count(measured[field])).join(' / ');
  const bound = (name: QueryName) => {
    const { buffers } = expectations[name];
    return count(typeof buffers === 'number' ? buffers : buffers(size));
  };
  const runner = { owner: 'owner', crm_app: 'application', crm_worker: 'worker' };
  const summary = measurements.map(
    ({ name, role, sizes, indexes }) =>
      `| [\`${name}\`](#${name.toLowerCase()}) | ${runner[role]} | ${each(sizes, 'returned')} | ${each(sizes, 'read')} | ${each(sizes, 'pages')} | ${bound(name)} | ${indexes.map((index) => `\`${index}\``).join(', ')} |`,
  );
  const plans = measurements.map(
    ({ name, mode, text }) =>
      `### ${name}\n\n${comments.get(name)}\n\n<details><summary>Its plan for ${mode === 'force_generic_plan' ? 'any values' : 'these values'}</summary>\n\n\`\`\`text\n${shortened(text)}\n\`\`\`\n\n</details>\n`,
  );
  return `# Query plans

The plan of every query in [queries/](../queries/) on PostgreSQL ${version}, with ${count(size.events)} events in three months, ${count(size.mappings)} mappings, ${count(size.agencies)} organisations with a connection each, ${count(size.runs)} runs, ${count(size.failures)} failing records and ${count(size.changes)} changes to push. Written by \`npm run plans\`, which makes that data, and fails if a query reads a table from its beginning, goes through another index than is expected of it, or touches more pages than are stated here (\`test/queries/plan-expectations.ts\`). The suite holds the same expectations against a hundredth of the data.

The tenants are skewed: the **busy** agency has 30 % of the events and mappings and 20,000 failing records and changes; another, **healthy** one has 20 % and never failed; the rest is a long tail, from which an **average** one is taken. Numbers with strokes are of these three. Pages of a list are of 50 rows; batches are of 100 contacts, or of as many as the agency has.

Each query ran as whoever runs it, under row-level security: the application as \`crm_app\` with its organisation set, the worker as \`crm_worker\`. Expected of the owner and of every role that may run it is the same. A query is planned as a named prepared statement is in the end, for any values; the few that are never prepared (\`dev/query-definition.ts\`) for the values at hand. Each was rolled back.

*Rows read* counts what scans of tables read, also in vain; *pages* of 8 kB those that the statement touched, cached or not, and \`at most\` how many it may. They do not grow with the tables: where they hang on more than the size of a page or a batch (a connection's work, all connections), the query's comment says so.

| query | run by | rows returned | rows read | pages | at most | indexes |
|---|---|---:|---:|---:|---:|---|
${summary.join('\n')}

## The plans

Of the busy agency. A partition that is \`never executed\` was not looked into.

${plans.join('\n')}`;
}

/** What stands below the name of each query. */
async function queryComments(): Promise<Map<string, string>> {
  const comments = new Map<string, string>();
  for (const file of await readdir(projectPath('queries'))) {
    const source = await readFile(projectPath(`queries/${file}`), 'utf8');
    for (const [, name = '', comment = ''] of source.matchAll(/@name (\w+) \*\/\n((?:--.*\n)*)/g)) {
      comments.set(name, comment.replace(/^-- ?/gm, '').trim().replaceAll('\n', ' '));
    }
  }
  return comments;
}

/** Without the long lists of values that a plan for the values at hand has. */
function shortened(plan: string): string {
  return plan.replace(/'\{[^}']{40,}\}'/g, "'{…}'").replace(/'\[?\{.{200,}?\}\]?'/g, "'{…}'");
}
