import type { Growth, TableSize } from './growth-measure.js';

/** The name of one row of each table, in the order of the document. */
const rowNames = {
  crm_sync_log: 'event',
  contact_external_ids: 'mapping',
  crm_connections: 'connection',
  crm_sync_runs: 'run',
  crm_sync_cursors: 'cursor',
  crm_sync_failures: 'failing record',
  crm_outbound_changes: 'outbound change',
} as const;
type TableName = keyof typeof rowNames;

const count = (number: number) => Math.round(number).toLocaleString('en');

/** The total size of a table, in bytes. */
function total({ heap, toast, indexes }: TableSize): number {
  return Object.values(indexes).reduce((sum, bytes) => sum + bytes, heap + toast);
}

/** Writes docs/growth.md from the measurements alone. */
export function growthDocument({ postgres, walBytesPerEvent, steps }: Growth): string {
  const last = steps.at(-1);
  if (last === undefined) throw new Error('Nothing was measured.');
  const table = (name: TableName): TableSize => {
    const measured = last.tables[name] as TableSize;
    // The planner's row count is an estimate.
    return name === 'crm_sync_log' ? { ...measured, rows: last.events } : measured;
  };
  const perRow = (name: TableName) => total(table(name)) / table(name).rows;

  const rows = Object.entries(rowNames).flatMap(([name, rowName]) => {
    const { rows, heap, toast, indexes } = table(name as TableName);
    const line = (what: string, bytes: number) => `| | ${what} | | ${(bytes / rows).toFixed(1)} |`;
    return [
      `| **${rowName}** | \`${name}\` | ${count(rows)} | **${count(total({ rows, heap, toast, indexes }) / rows)}** |`,
      line('the rows', heap + toast),
      ...Object.entries(indexes)
        .toSorted(([, left], [, right]) => right - left)
        .map(([index, bytes]) => line(`\`${index}\``, bytes)),
    ];
  });
  const growth = steps.map(({ events, tables }) => {
    const log = tables.crm_sync_log as TableSize;
    const megabytes = [
      log.heap + log.toast,
      ...logIndexes.map((index) => log.indexes[index] ?? 0),
      total(log),
    ];
    return `| ${count(events)} | ${megabytes.map((bytes) => count(bytes / 1e6)).join(' | ')} | ${(total(log) / events).toFixed(1)} |`;
  });

  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 1 : 0)} GB`;
  const connections = 100_000;
  const runsADay = (connections * 24 * 60) / 15;
  const eventsADay = connections * 50;
  return `# Disk space

How much disk space the tables and indexes take, measured on PostgreSQL ${postgres} with up to ${count(last.events)} events. \`npm run growth\` measures it, and writes this page from \`docs/growth.json\` in the repository.

![The size of the sync log by number of events: the rows and each index grow in proportion.](growth.svg)

## Bytes per row

At ${count(last.events)} events. The size of each index is divided by the number of all rows of its table, although a partial index holds only a few of them.

| one | in | measured on | bytes |
|---|---|---:|---:|
${rows.join('\n')}

An event also writes ${count(walBytesPerEvent)} bytes of write-ahead log, not counting the full-page images after a checkpoint.

## The sync log, step by step

In megabytes (10⁶ bytes), and in bytes per event. The log grows in proportion: the ten millionth event takes no more space than the first.

| events | rows | ${logIndexes.map((index) => `\`${index}\``).join(' | ')} | all | per event |
|---:|${'---:|'.repeat(logIndexes.length + 3)}
${growth.join('\n')}

## An example

${count(connections)} connections, each synced every 15 minutes, with 50 changed records a day and 1,000 mapped contacts on average. The retention periods are the defaults of \`crm_retention\`; one line of SQL changes them:

| what | how many | on disk |
|---|---|---:|
| events | ${count(eventsADay)} a day | ${gigabytes(eventsADay * perRow('crm_sync_log'))} a day, ${gigabytes(eventsADay * (keptDays.crm_sync_log + 31) * perRow('crm_sync_log'))} at the end of a month, before the oldest month is dropped: ${keptDays.crm_sync_log} days and up to 31 more |
| write-ahead log of the events | | ${gigabytes(eventsADay * walBytesPerEvent)} a day |
| runs | ${count(runsADay)} a day | ${gigabytes(runsADay * keptDays.crm_sync_runs * perRow('crm_sync_runs'))} over the ${keptDays.crm_sync_runs} days for which they are kept |
| mappings | ${count(connections * 1000)} | ${gigabytes(connections * 1000 * perRow('contact_external_ids'))} |
| connections, with six cursors each | ${count(connections)} | ${gigabytes(connections * (perRow('crm_connections') + 6 * perRow('crm_sync_cursors')))} |
| failing records, 5 per connection | ${count(connections * 5)} | ${gigabytes(connections * 5 * perRow('crm_sync_failures'))} |

## How it was measured

\`dev/busy-database/\` creates the data: ${count(table('crm_connections').rows)} organisations with one connection each. One organisation has 30 % of the events, another 20 %, and the rest form a long tail. Ids look like those of CRMs: like \`OXF18000001\`, or UUIDs for one connection in three. One event in 50 is an error with its error object (but none at the second organisation), one in 20 was skipped, and one in 33 has no contact.

Events are inserted in chronological order, ten per connection at a time, by an \`insert … select\` like that of \`syncLogRecord\`, so the indexes fill as in production. Foreign keys are not checked while loading, which does not affect the size on disk. Each run takes three statements: it opens, records a batch and ends. Every connection is rescheduled twice. Each step ends with \`vacuum\`. Credentials are as long as Reapit's under a symmetric key.
`;
}

/** The values of `crm_retention` in a new installation. */
export const keptDays = { crm_sync_log: 395, crm_sync_runs: 30 };

const logIndexes = [
  'crm_sync_log_pkey',
  'crm_sync_log_internal_id_idx',
  'crm_sync_log_external_id_idx',
  'crm_sync_log_status_connection_id_idx',
];
