import { type Goal, isReached, type MeasuredBeside, type MeasuredRow, type Spread } from './harness.js';
import { reasons } from './reasons.js';
import type { Performance } from './run.js';

/** Writes docs/performance.md from the measurements alone. */
export function performanceDocument(performance: Performance): string {
  const { command, processor, cores, memoryGigabytes, load, postgres, node, peers, missing, groups } =
    performance;
  const judged = groups.flatMap(({ rows }) => rows.flatMap(judge)).filter((reached) => reached !== undefined);
  const installed = Object.entries(peers).map(([name, version]) => `${name} ${version}`);
  return `# Performance

How fast this package is beside what you would use instead, and beside an earlier release. \`${command}\` has measured it, and written this page from \`docs/performance.json\` in the repository.

![The ratios of the tables below on a logarithmic scale, each with its goal.](performance.svg)

**${judged.filter(Boolean).length} of ${judged.length} goals are reached.** A *ratio* is the other's cost divided by ours, so above 1 ours is less. In each round every way is tried once, in turn, and the ratio is taken within the round: so it depends less on the machine, and on what else it does, than the times. The tables show the median of the rounds, and the quartiles in brackets.

| measured with | |
|---|---|
| processor | ${processor}, ${cores} cores |
| memory | ${memoryGigabytes} GB |
| processes that were running or waiting when it began | ${figures(load)} |
| PostgreSQL | ${postgres}, on the same machine, with \`fsync\` and \`full_page_writes\` off |
| Node.js | ${node} |
| peers | ${installed.length === 0 ? 'none: npm could not install them' : installed.join(', ')} |
${missing === undefined ? '' : `| without the earlier release | ${missing} |\n`}
Nothing waits for a disk, because \`fsync\` is off. On your server, what commits more often is slower by comparison.
${groups.map(({ title, rows }) => groupSection(title, rows)).join('')}
## What is compared

- **Claims.** A claim takes one connection that is due, and its finish ends the run with success. pg-boss fetches one job and completes it; graphile-worker does one job that is empty.
- **Batches.** 5 % of the events fail, 20 % link a contact, and all records are new. The seven statements (\`bench/performance/raw-batches.ts\`) check less: not what is known of a record, nor conflicts, erased people and times.
- **The log.** COPY makes its text in JavaScript, from the same events.
- **Look-ups.** Ours looks for primary ids and aliases, and so does every other way. With \`withOrganisation\`, a ratio of 0.48 means 2.1 times as long as the query alone.
- **Health.** The aggregates read the log, as one would without these tables.
- **Credentials.** The cryptography alone decrypts each one and encrypts it under another key, one after the other, and stores nothing.
`;
}

function judge(row: MeasuredRow): (boolean | undefined)[] {
  return row.beside.map((beside) => isReached(row.ours, beside));
}

function groupSection(title: string, rows: readonly MeasuredRow[]): string {
  const lines = rows.flatMap((row) =>
    row.beside.map((beside, index) => {
      const work = index === 0 ? row.work : '';
      const ours = index === 0 ? cost(row.ours, row.unit) : '';
      const reached = isReached(row.ours, beside);
      const verdict = reached === undefined ? '' : reached ? 'reached' : '**not reached**';
      return `| ${work} | ${ours} | ${beside.name} | ${theirs(row, beside)} | ${ratio(row, beside)} | ${goal(beside.goal)} | ${verdict} |`;
    }),
  );
  const short = rows.filter((row) => judge(row).includes(false)).map(({ work }) => work);
  const notes = reasons.filter((each) => short.some((work) => work.startsWith(each.rows)));
  return `
## ${title}

| work | ours | beside | theirs | ratio | goal | |
|---|---:|---|---:|---:|---:|---|
${lines.join('\n')}
${notes.length === 0 ? '' : `\nWhere the time goes, in what falls short:\n\n${notes.map(({ reason }) => `- ${reason}\n`).join('')}`}`;
}

function theirs({ unit }: MeasuredRow, { cost: spread, missing }: MeasuredBeside): string {
  return spread === undefined ? (missing ?? '') : cost(spread, unit);
}

function cost({ median }: Spread, unit: MeasuredRow['unit']): string {
  return `${figures(median)} ${unit}`;
}

function ratio({ ours, unit }: MeasuredRow, { ratio: spread, cost: theirs, goal }: MeasuredBeside): string {
  if (spread === undefined || theirs === undefined) return '';
  if (goal !== undefined && 'added' in goal) return `+${figures(ours.median - theirs.median)} ${unit}`;
  const { median, low, high } = spread;
  return low === high ? figures(median) : `${figures(median)} (${figures(low)}–${figures(high)})`;
}

function goal(wanted: Goal | undefined): string {
  if (wanted === undefined) return '';
  return 'ratio' in wanted ? `≥ ${figures(wanted.ratio)}` : `≤ ${wanted.added} ms more`;
}

/** Three significant figures, or two below 10. */
function figures(number: number): string {
  const digits = number >= 100 ? 0 : number >= 10 ? 1 : 2;
  return number.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });
}
