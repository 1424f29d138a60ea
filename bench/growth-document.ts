import type { Growth, TableSize } from './growth-measure.js';

/** What one row of each table is called, in the order of the document. */
const rowNames = {
  crm_sync_log: 'event',
  contact_external_ids: 'mapping',
  crm_connections: 'connection',
  crm_sync_runs: 'run',
  crm_sync_cursors: 'cursor',
  crm_sync_failures: 'failing record',
  crm_outbound_changes: 'change to push',
} as const;
type TableName = keyof typeof rowNames;

const count = (number: number) => Math.round(number).toLocaleString('en');

/** All that a table takes, in bytes. */
function total({ heap, toast, indexes }: TableSize): number {
  return Object.values(indexes).reduce((sum, bytes) => sum + bytes, heap + toast);
}

/** docs/growth.md, from what was measured alone. */
export function growthDocument({ postgres, walBytesPerEvent, steps }: Growth): string {
  const last = steps.at(-1);
  if (last === undefined) throw new Error('Nothing was measured.');
  const table = (name: TableName): TableSize => {
    const measured = last.tables[name] as TableSize;
    // The planner's number of rows is an estimate.
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
  return `# Growth

What the tables and indexes take on disk, measured on PostgreSQL ${postgres} with up to ${count(last.events)} events. Written by \`npm run growth\` from \`growth.json\` beside it in the repository, which it measures.

![The size of the sync log by number of events: the rows and each of its three indexes grow in proportion.](growth.svg)

## Bytes per row

At ${count(last.events)} events, each index as a share of all rows of its table; a partial index holds few of them.

| one | in | measured on | bytes |
|---|---|---:|---:|
${rows.join('\n')}

An event also writes ${count(walBytesPerEvent)} bytes of write-ahead log, without the images of whole pages that follow a checkpoint.

## The sync log, step by step

In megabytes (10⁶ bytes), and bytes per event. It grows in proportion: the ten millionth event takes as much as the first.

| events | rows | ${logIndexes.map((index) => `\`${index}\``).join(' | ')} | all | per event |
|---:|---:|---:|---:|---:|---:|---:|
${growth.join('\n')}

## An example

${count(connections)} connections, each synced every 15 minutes, with 50 changed records a day and 1,000 mapped contacts on average. How long what is kept is said in \`crm_retention\`; these are its first values, and shorter ones are a line of SQL:

| what | how many | on disk |
|---|---|---:|
| events | ${count(eventsADay)} a day | ${gigabytes(eventsADay * perRow('crm_sync_log'))} a day, ${gigabytes(eventsADay * (keptDays.crm_sync_log + 31) * perRow('crm_sync_log'))} at the end of a month, just before one goes: ${keptDays.crm_sync_log} days and up to 31 |
| write-ahead log of the events | | ${gigabytes(eventsADay * walBytesPerEvent)} a day |
| runs | ${count(runsADay)} a day | ${gigabytes(runsADay * keptDays.crm_sync_runs * perRow('crm_sync_runs'))} in the ${keptDays.crm_sync_runs} days they are kept |
| mappings | ${count(connections * 1000)} | ${gigabytes(connections * 1000 * perRow('contact_external_ids'))} |
| connections, with six cursors each | ${count(connections)} | ${gigabytes(connections * (perRow('crm_connections') + 6 * perRow('crm_sync_cursors')))} |
| records that fail now, 5 of a connection | ${count(connections * 5)} | ${gigabytes(connections * 5 * perRow('crm_sync_failures'))} |

## How it was measured

The data is made by \`dev/busy-database/\`: ${count(table('crm_connections').rows)} organisations with a connection each, of which one has 30 % of the events, another 20 %, and the rest is a long tail. Ids are as CRMs have them: like \`OXF18000001\`, or UUIDs at one connection in three. One event in 50 is an error with its error object (but none of the second agency), one in 20 was skipped, one in 33 has no contact. Events are inserted in the order in which they happen, ten of a connection at a time, by one \`insert … select\` of the shape that \`syncLogRecord\` has, so that the indexes fill as they do in production; foreign keys are not checked meanwhile, which changes nothing on disk. Runs are opened, record a batch and end, in three statements each; every connection is rescheduled twice. Each step ends with \`vacuum\`. Credentials are of the length that Reapit’s have under a symmetric key.
`;
}

/** What `crm_retention` holds in a new installation. */
export const keptDays = { crm_sync_log: 395, crm_sync_runs: 30 };

const logIndexes = [
  'crm_sync_log_pkey',
  'crm_sync_log_internal_id_idx',
  'crm_sync_log_status_connection_id_idx',
];
