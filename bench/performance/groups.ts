import { batches } from './batches.js';
import { claims } from './claims.js';
import { credentials } from './credentials.js';
import { type MeasuredRow, measure } from './harness.js';
import { health } from './health.js';
import { log } from './log.js';
import { lookUps } from './look-ups.js';
import { months } from './months.js';
import { processes } from './processes.js';
import { type Bench, type Group, Scope } from './scope.js';
import { tenancy } from './tenancy.js';

/** The groups of rows by their titles, in the order of the document. */
export const groups: Record<string, { title: string; rows: Group }> = {
  claims: { title: 'Claims and runs', rows: claims },
  batches: { title: 'Batches', rows: batches },
  log: { title: 'The log', rows: log },
  'look-ups': { title: 'Look-ups', rows: lookUps },
  tenancy: { title: 'Transactions of an organisation', rows: tenancy },
  health: { title: 'Health, and large logs', rows: health },
  credentials: { title: 'Credentials', rows: credentials },
  processes: { title: 'Processes', rows: processes },
  months: { title: 'Months of the log', rows: months },
};

/** Measures the rows of a group, one after the other. */
export async function measureGroup(
  bench: Bench,
  rows: Group,
  onRow: (row: MeasuredRow) => void = () => {},
): Promise<MeasuredRow[]> {
  const scope = new Scope(bench);
  const measured: MeasuredRow[] = [];
  try {
    for await (const row of rows(scope)) {
      const result = await measure(row);
      onRow(result);
      measured.push(result);
    }
  } finally {
    await scope.end();
  }
  return measured;
}
