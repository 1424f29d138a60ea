import type { AttachedPartition } from '../partitions/attached.js';
import { catchAllName, isForOlderEvents, partitionName } from '../partitions/names.js';
import { gapsBetween, monthAfter, type PartitionRange, splitByMonth } from '../partitions/ranges.js';
import { quoteLiteral } from '../statements/quoting.js';
import { byHand, bySql, bySqlIf, type Difference, type Repair, renameTable } from './difference.js';
import type { Installation } from './installation.js';

/**
 * Finds times without a partition, and months without a partition of their own.
 *
 * @param partitions in ascending order, with qualified names
 * @param months the first moments of the months that need a partition of their own
 * @param detached qualified names of tables that look like partitions and are not attached
 */
export function rangeDifferences(
  partitions: readonly AttachedPartition[],
  months: readonly string[],
  installation: Installation,
  detached: ReadonlySet<string>,
): Difference[] {
  const { schema } = installation;
  const attached = partitions.filter(({ isDefault, isDetaching }) => !isDefault && !isDetaching);
  const isBeingDetached = (gap: PartitionRange) =>
    partitions.some(
      ({ isDetaching, from, before }) => isDetaching && from === gap.from && before === gap.before,
    );
  const gaps = gapsBetween(attached).flatMap((gap) =>
    isBeingDetached(gap) ? gap : splitGap(gap, months[0]),
  );
  const qualified = (range: PartitionRange) => `${schema}.${partitionName(range)}`;
  const monthsWithoutPartition = months.flatMap((month) => {
    const holder = attached.find(
      ({ from, before }) => (from === null || from <= month) && (before === null || before > month),
    );
    const isHeldByEndPartition =
      holder !== undefined && (holder.before === null || isForOlderEvents(withoutSchema(holder.name)));
    return isHeldByEndPartition ? { from: month, before: monthAfter(month), holder } : [];
  });
  return [
    ...partitions
      .filter(({ isDefault }) => isDefault)
      .map(({ name }) =>
        partitionDifference(
          name,
          null,
          'the default partition of the log, which prevents detaching months concurrently',
          byHand('Move its rows to the monthly partitions, then drop it.'),
        ),
      ),
    ...partitions
      .filter(({ isDetaching }) => isDetaching)
      .map(({ name, ...ranged }) =>
        partitionDifference(
          name,
          describeRange(ranged),
          'being detached, or its detaching was interrupted',
          ranged.isToBeDropped
            ? byHand('Finish it: crm-schema partitions drop')
            : bySql(`alter table ${schema}.crm_sync_log detach partition ${name} finalize`),
        ),
      ),
    ...gaps.flatMap((gap) => {
      const detaching = partitions.find(
        ({ isDetaching, from, before }) => isDetaching && from === gap.from && before === gap.before,
      );
      if (detaching?.isToBeDropped) return [];
      const name = detaching?.name ?? qualified(gap);
      const tableExists = detaching !== undefined || detached.has(name);
      const restOfMonth = attached.find(
        (other) => other.name === name && (other.before === gap.from || other.from === gap.before),
      );
      return partitionDifference(
        name,
        describeRange(gap),
        'nothing: events of that time are refused',
        restOfMonth === undefined
          ? fillGap(gap, name, installation, tableExists)
          : widen(restOfMonth, gap, installation),
      );
    }),
    ...attached
      .filter(({ from, before }) => from !== null && before !== null && before > monthAfter(from))
      .map(({ name, ...ranged }) =>
        partitionDifference(
          name,
          describeRange({ from: ranged.from, before: monthAfter(String(ranged.from)) }),
          describeRange(ranged),
          byHand(
            'Detach it and rename it. Create the months that verify names then, insert its rows into the log (overriding system value), and drop it.',
          ),
        ),
      ),
    ...attached
      .filter(({ before, name }) => before === null && name !== `${schema}.${catchAllName}`)
      .map(({ name, ...ranged }) =>
        partitionDifference(
          `${schema}.${catchAllName}`,
          describeRange(ranged),
          `${name}, a name that the functions of the schema do not know`,
          bySql(...renameTable(name, `${schema}.${catchAllName}`)),
        ),
      ),
    ...monthsWithoutPartition.map((missing) =>
      partitionDifference(
        qualified(missing),
        describeRange(missing),
        `nothing: its events go to ${withoutSchema(missing.holder.name)}`,
        missing.holder.before === null
          ? bySql(`select ${schema}.crm_sync_log_ensure_partitions()`)
          : byHand(
              "Perhaps the server's clock was ahead when partitions were dropped: see After the clock was ahead, in docs/operations/partitions.md.",
            ),
      ),
    ),
  ];
}

/**
 * Splits a gap into the partitions that fill it. If it reaches from the beginning into the current month, the months
 * from the current one on come first, so that the partition for older events ends before them.
 */
function splitGap(gap: PartitionRange, currentMonth = ''): PartitionRange[] {
  const { from, before } = gap;
  if (from !== null || before === null || before <= currentMonth) return splitByMonth(gap);
  return [...splitByMonth({ from: currentMonth, before }), { from: null, before: currentMonth }];
}

/** The name of a partition without its schema. */
function withoutSchema(qualified: string): string {
  return qualified.slice(qualified.lastIndexOf('.') + 1);
}

function describeRange({ from, before }: PartitionRange): string {
  return `from ${from ?? 'the beginning'} to ${before ?? 'the end'}`;
}

function partitionDifference(
  name: string,
  expected: string | null,
  found: string,
  repair: Repair,
): Difference {
  return { kind: 'partition', name, expected, found, ...repair };
}

/** Attaches the partition that has the rest of the month again, for the whole of it. */
function widen(partition: AttachedPartition, gap: PartitionRange, { schema }: Installation): Repair {
  const { name } = partition;
  const whole =
    partition.before === gap.from
      ? { from: partition.from, before: gap.before }
      : { from: gap.from, before: partition.before };
  return bySqlIf(
    'Events of the month are refused between the two:',
    `alter table ${schema}.crm_sync_log detach partition ${name}`,
    `alter table ${schema}.crm_sync_log attach partition ${name} ${valuesOf(whole)}`,
  );
}

/** `for values from (…) to (…)` */
function valuesOf({ from, before }: PartitionRange): string {
  const bound = (time: string | null, open: string) => (time === null ? open : `'${time}'`);
  return `for values from (${bound(from, 'minvalue')}) to (${bound(before, 'maxvalue')})`;
}

function fillGap(
  { from, before }: PartitionRange,
  name: string,
  { schema }: Installation,
  tableExists: boolean,
): Repair {
  const values = valuesOf({ from, before });
  const log = `${schema}.crm_sync_log`;
  if (tableExists) return bySql(`alter table ${log} attach partition ${name} ${values}`);
  if (from === null && before !== null) return bySql(`select ${log}_ensure_past()`);
  return bySql(
    `create table ${name} partition of ${log} ${values}`,
    `select ${log}_finish_partition(${quoteLiteral(name)}, ${quoteLiteral(log)})`,
  );
}
