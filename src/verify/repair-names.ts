// How to give something its name back: see repair.ts.

import { bySql, bySqlIf, type Change, nameOf, type Repair, renameTable } from './difference.js';
import type { Rename } from './renames.js';
import { bareName } from './repair-tables.js';

/**
 * Restores the name of something that was renamed.
 *
 * @param steps of an index: the renames that give it its name
 */
export function repairName({ object, kind, name }: Change, from: string, steps: readonly Rename[]): Repair {
  const table = nameOf(object);
  switch (kind) {
    case 'table':
      return bySqlIf(
        `If ${from} has its rows; if not, restore them from a backup:`,
        ...renameTable(from, name),
      );
    case 'index':
      return bySql(...steps.map((step) => `alter index ${step.from} rename to ${bareName(step.to)}`));
    case 'constraint':
      return bySql(`alter table ${table} rename constraint ${from} to ${name}`);
    case 'column':
      // Another column of the same type may have been added, and this one dropped.
      return bySqlIf(
        `If ${from} has its data; if not, restore it from a backup, and drop ${from} once nobody needs it:`,
        `alter table ${table} rename column ${from} to ${name}`,
      );
    default:
      return bySql(`alter ${kind} ${from} on ${table} rename to ${name}`);
  }
}
