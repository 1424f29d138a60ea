import { dropMarker } from '../partitions/drop-marker.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { literal } from '../statements/quoting.js';
import { byHand, bySql, type Difference, type Repair } from './difference.js';
import type { Installation } from './installation.js';

/** A partition of the log: its name, qualified, and its range, null where that has no end. */
interface Partition {
  name: string;
  from: string | null;
  before: string | null;
  isDefault: boolean;
  isDetaching: boolean;
  /** Whether crm-schema partitions drop is at it, or was. */
  isToBeDropped: boolean;
}

/** The log's partitions in the order of time, and the first moments of this month and the next. */
export interface Ranges {
  partitions: Partition[];
  months: string[];
}

/** Reads them with the settings of `findInstallation`, by which times sort as texts. */
export async function readRanges(client: DedicatedConnection, { logId }: Installation): Promise<Ranges> {
  const { rows: partitions } = await client.query(
    `select
       inhrelid::regclass::text as name,
       substring(bound from 'FROM \\(''(.*)''\\) TO') as "from",
       substring(bound from 'TO \\(''(.*)''\\)') as before,
       bound = 'DEFAULT' as "isDefault",
       inhdetachpending as "isDetaching",
       right(obj_description(inhrelid, 'pg_class'), length($2)) = $2 as "isToBeDropped"
     from pg_inherits
     inner join pg_class
       on pg_class.oid = inhrelid
     cross join pg_get_expr(relpartbound, inhrelid) as bound
     where inhparent = $1::oid`,
    [logId, dropMarker],
  );
  const { rows: months } = await client.query(
    "select (date_trunc('month', now()) + make_interval(months => number))::text as start from generate_series(0, 1) as number order by number",
  );
  const end = ({ from, before }: Partition) => `${before ?? '9999-99'} ${from ?? ''}`;
  return {
    partitions: partitions.sort((one, other) => (end(one) < end(other) ? -1 : 1)),
    months: months.map(({ start }) => start),
  };
}

/**
 * Whether every moment has a partition, and this month and the next one of their own.
 *
 * @param detached qualified names of tables that look like partitions and are none
 */
export function rangeDifferences(
  { partitions, months }: Ranges,
  place: Installation,
  detached: ReadonlySet<string>,
): Difference[] {
  const { schema } = place;
  const attached = partitions.filter(({ isDefault, isDetaching }) => !isDefault && !isDetaching);
  const gaps = gapsBetween(attached);
  const isLate = (month: string) =>
    attached.some(({ from, before }) => before === null && (from === null || from <= month));
  const late = months.filter(isLate).map((month) => ({ from: month, before: monthAfter(month) }));
  return [
    ...partitions
      .filter(({ isDefault }) => isDefault)
      .map(({ name }) =>
        difference(
          name,
          null,
          'the default of the log, which keeps months from being detached',
          byHand('Move what is in it to the months, and drop it.'),
        ),
      ),
    ...partitions
      .filter(({ isDetaching }) => isDetaching)
      .map(({ name, ...ranged }) =>
        difference(
          name,
          range(ranged),
          'being detached, or its detaching was interrupted',
          ranged.isToBeDropped
            ? byHand('To end it: crm-schema partitions drop')
            : bySql(`alter table ${schema}.crm_sync_log detach partition ${name} finalize`),
        ),
      ),
    ...gaps.flatMap((gap) => {
      const gone = partitions.find(
        ({ isDetaching, from, before }) => isDetaching && from === gap.from && before === gap.before,
      );
      if (gone?.isToBeDropped) return [];
      const name = gone?.name ?? nameFor(gap, schema);
      const isThere = gone !== undefined || detached.has(name);
      return difference(
        name,
        range(gap),
        'nothing: events of that time are refused',
        fill(gap, name, place, isThere),
      );
    }),
    ...attached
      .filter(({ before, name }) => before === null && name !== `${schema}.crm_sync_log_catch_all`)
      .map(({ name, ...ranged }) =>
        difference(
          `${schema}.crm_sync_log_catch_all`,
          range(ranged),
          `${name}, which no function of the schema knows`,
          name.startsWith(`${schema}.`)
            ? bySql(`alter table ${name} rename to crm_sync_log_catch_all`)
            : byHand('Give it the name and the schema that it should have.'),
        ),
      ),
    ...late.map((missing) =>
      difference(
        nameFor(missing, schema),
        range(missing),
        'nothing: its events go to crm_sync_log_catch_all',
        bySql(`select ${schema}.crm_sync_log_ensure_partitions()`),
      ),
    ),
  ];
}

type Range = Pick<Partition, 'from' | 'before'>;

/** Gaps, by month where they have an end. */
function gapsBetween(attached: readonly Partition[]): Range[] {
  const gaps: Range[] = [];
  let reached: string | null = null;
  let isFirst = true;
  for (const { from, before } of attached) {
    if (isFirst ? from !== null : reached !== null && from !== null && from > reached) {
      gaps.push(...byMonth({ from: reached, before: from }));
    }
    [reached, isFirst] = [before, false];
  }
  if (isFirst || reached !== null) gaps.push({ from: reached, before: null });
  return gaps;
}

function byMonth({ from, before }: Range): Range[] {
  const ranges: Range[] = [];
  let start = from;
  while (start !== null && before !== null && start < before) {
    const following = monthAfter(start);
    const end = following < before ? following : before;
    ranges.push({ from: start, before: end });
    start = end;
  }
  return from === null ? [{ from, before }] : ranges;
}

function monthAfter(time: string): string {
  const month = new Date(Date.UTC(Number(time.slice(0, 4)), Number(time.slice(5, 7))));
  return `${month.toISOString().slice(0, 10)} 00:00:00+00`;
}

/** The name that the functions of the schema give to a range. */
function nameFor({ from, before }: Range, schema: string): string {
  const month = (from ?? before)?.slice(0, 7).replace('-', '_');
  if (before === null) return `${schema}.crm_sync_log_catch_all`;
  return `${schema}.crm_sync_log_${from === null ? 'before_' : ''}${month}`;
}

function range({ from, before }: Range): string {
  return `from ${from ?? 'the beginning'} to ${before ?? 'the end'}`;
}

function difference(name: string, expected: string | null, found: string, how: Repair): Difference {
  return { kind: 'partition', name, expected, found, ...how };
}

function fill({ from, before }: Range, name: string, { schema }: Installation, isThere: boolean): Repair {
  const bound = (time: string | null, open: string) => (time === null ? open : `'${time}'`);
  const values = `for values from (${bound(from, 'minvalue')}) to (${bound(before, 'maxvalue')})`;
  const log = `${schema}.crm_sync_log`;
  if (isThere) return bySql(`alter table ${log} attach partition ${name} ${values}`);
  if (from === null && before !== null) return bySql(`select ${log}_ensure_past()`);
  return bySql(
    `create table ${name} partition of ${log} ${values}`,
    `select ${log}_finish_partition(${literal(name)}, ${literal(log)})`,
  );
}
