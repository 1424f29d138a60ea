import { readdir, readFile } from 'node:fs/promises';
import type { Size } from '../dev/busy-database/index.js';
import { projectPath } from '../dev/database.js';
import type { QueryName } from '../test/queries/every-query.js';
import type { PlanMode } from '../test/queries/explain.js';
import { expectations } from '../test/queries/plan-expectations.js';
import type { Role } from '../test/queries/plan-roles.js';

/** The plan of a query, and its work for each agency. */
export interface Measurement {
  name: QueryName;
  role: Role;
  mode: PlanMode;
  indexes: string[];
  text: string;
  /** For the busy agency, the healthy one and the average one. */
  sizes: { returned: number; read: number; pages: number }[];
}

/** The text of docs/plans.md. */
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
      `### ${name}\n\n${comments.get(name)}\n\n<details><summary>${mode === 'force_generic_plan' ? 'Generic plan' : 'Plan for the given values'}</summary>\n\n\`\`\`text\n${shortened(text)}\n\`\`\`\n\n</details>\n`,
  );
  return `# Query plans

The plan of every query in [queries/](../queries/) on PostgreSQL ${version}, with ${count(size.events)} events in three months, ${count(size.mappings)} mappings, ${count(size.agencies)} organisations with a connection each, ${count(size.runs)} runs, ${count(size.failures)} failing records and ${count(size.changes)} changes to push. Written by \`npm run plans\`, which generates that data. It fails if a query scans a table sequentially, uses an unexpected index, or touches more pages than the limit stated here (\`test/queries/plan-expectations.ts\`). The test suite checks the same expectations on a hundredth of the data.

The tenants are skewed. The **busy** agency has 30 % of the events and mappings, and 20,000 failing records and changes. The **healthy** agency has 20 % and never failed. The rest is a long tail, represented by an **average** agency. Numbers separated by slashes are for these three. A page of a list has 50 rows; a batch has 100 contacts, or as many as the agency has.

Each query ran under row-level security as the role that runs it in production: the application as \`crm_app\` with its organisation set, the worker as \`crm_worker\`. The expectations are the same for the owner and every role that may run the query. A query has the generic plan that a named prepared statement gets in the end. Each query was rolled back.

*Rows read* counts all rows that table scans read, including those that they discarded. *Pages* counts the 8 kB pages that the statement touched, cached or not; *at most* is the limit. Neither grows with the tables. Where they depend on more than the size of a page or a batch (a connection's work, all connections), the query's comment says so.

| query | run by | rows returned | rows read | pages | at most | indexes |
|---|---|---:|---:|---:|---:|---|
${summary.join('\n')}

## The plans

The plans are those of the busy agency. A partition marked \`never executed\` was not read.

${plans.join('\n')}`;
}

/** The comment below the name of each query. */
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

/** Without the long lists of values in a plan for the given values. */
function shortened(plan: string): string {
  return plan.replace(/'\{[^}']{40,}\}'/g, "'{…}'").replace(/'\[?\{.{200,}?\}\]?'/g, "'{…}'");
}
