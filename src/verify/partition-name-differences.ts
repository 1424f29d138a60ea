import type { AttachedPartition } from '../partitions/attached.js';
import { isForOlderEvents, partitionName } from '../partitions/names.js';
import type { PartitionRange } from '../partitions/ranges.js';
import { byHand, bySql, type Difference, renameTable } from './difference.js';
import type { Installation } from './installation.js';
import { renamesInTurn } from './renames.js';

/**
 * Partitions whose names are not those of their months, or that are in another schema. While one is attached, nothing
 * depends on its name; once it is detached, the name alone says that it is of the log, and which events it has.
 *
 * Not the last partition: `rangeDifferences` has that.
 *
 * @param partitions with qualified names
 * @param taken the qualified names of the schema's tables
 */
export function partitionNameDifferences(
  partitions: readonly AttachedPartition[],
  taken: ReadonlySet<string>,
  { schema }: Pick<Installation, 'schema'>,
): Difference[] {
  const misnamed = partitions.filter(
    (each) => !each.isDefault && !each.isDetaching && !isWellNamed(each, schema),
  );
  const names = new Set(misnamed.map(({ name }) => name));
  const targetOf = (partition: PartitionRange) => `${schema}.${partitionName(partition)}`;
  const isFree = (target: string) => names.has(target) || !taken.has(target);
  const steps = renamesInTurn(
    misnamed
      .filter((each) => isFree(targetOf(each)))
      .map((each) => ({ from: each.name, to: targetOf(each) })),
  );
  return misnamed.map((partition): Difference => {
    const { name, from, before } = partition;
    const target = targetOf(partition);
    return {
      kind: 'partition',
      name: target,
      expected: `from ${from ?? 'the beginning'} to ${before}`,
      found: `named ${name}`,
      ...(isFree(target)
        ? bySql(...(steps.shift() ?? []).flatMap((step) => renameTable(step.from, step.to)))
        : byHand(`Another table has the name: rename ${target}, then run verify again.`)),
    };
  });
}

/** The first partition of a new log is named after its only whole month, though it takes all older events, too. */
function isWellNamed({ name, from, before }: AttachedPartition, schema: string): boolean {
  if (before === null) return true;
  const wanted = partitionName({ from, before });
  const bare = name.startsWith(`${schema}.`) ? name.slice(schema.length + 1) : null;
  if (bare === wanted) return true;
  if (from !== null || bare === null) return false;
  const lastMoment = new Date(Date.parse(`${before.slice(0, 10)}T00:00:00Z`) - 1).toISOString();
  return (
    bare === partitionName({ from: lastMoment, before }) ||
    // A number follows where the name was taken.
    (isForOlderEvents(bare) && bare.replace(/(?<=_\d\d)_\d+$/, '') === wanted)
  );
}
