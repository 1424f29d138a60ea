import type { Change } from './difference.js';
import { type ItemKind, isSameDefinition } from './item.js';

/** What may be renamed: constraints and such are then as expected; of a column, only a person can tell. */
const renamable: readonly ItemKind[] = ['constraint', 'index', 'trigger', 'policy', 'column'];

/**
 * Reports a missing and an unexpected item that differ only in their names as one that was renamed.
 *
 * @param lostTables where missing tables perhaps are, by their expected names
 */
export function withRenames(changes: readonly Change[], lostTables: ReadonlyMap<string, string>): Change[] {
  const renames = new Map<Change, Change>();
  for (const change of changes) {
    const { object, kind, expected, found } = change;
    if (found !== null || !renamable.includes(kind)) continue;
    const unexpected = changes.filter(
      (other) =>
        other.object === object &&
        other.kind === kind &&
        other.expected === null &&
        isSameDefinition(other.found, expected),
    );
    // Two columns of a type may each be the missing one.
    const [first] = kind === 'column' && unexpected.length > 1 ? [] : unexpected;
    if (first !== undefined && ![...renames.values()].includes(first)) renames.set(change, first);
  }
  const renamed = new Set(renames.values());
  const homes = new Set(lostTables.values());
  return changes
    .filter((change) => !renamed.has(change))
    .filter(({ kind, name, expected }) => !(kind === 'table' && expected === null && homes.has(name)))
    .map((change) => {
      const unexpected = renames.get(change);
      if (unexpected !== undefined) return { ...change, found: unexpected.found, foundAs: unexpected.name };
      const home = change.kind === 'table' && change.found === null ? lostTables.get(change.name) : undefined;
      return home === undefined ? change : { ...change, foundAs: home };
    });
}

/** A name, and the one to give instead; both qualified. */
export interface Rename {
  from: string;
  to: string;
}

/**
 * The steps of each of several renames that are done one after the other: where another of them still has the name, that
 * one is put aside first.
 */
export function renamesInTurn(renames: readonly Rename[]): Rename[][] {
  /** By the name before all of them, the name by now. */
  const current = new Map(renames.map(({ from }) => [from, from]));
  return renames.map(({ from, to }) => {
    const steps: Rename[] = [];
    const occupant = [...current].find(([other, called]) => other !== from && called === to)?.[0];
    if (occupant !== undefined) {
      const aside = `${to}_renamed`;
      steps.push({ from: to, to: aside });
      current.set(occupant, aside);
    }
    steps.push({ from: current.get(from) as string, to });
    current.set(from, to);
    return steps;
  });
}
