import type { Change } from './difference.js';
import { type Item, itemKinds } from './item.js';

/**
 * The order in which to repair changes: by kind, but owners first, so that the owner may run the rest. Foreign keys come
 * after the keys they reference, a table after those that it references, the owner's grants after those that depend on
 * them, the partitions after the log.
 */
export function inRepairOrder(changes: readonly Change[], expectedItems: readonly Item[]): Change[] {
  const depths = new Map<string, number>();
  const depthOf = (object: string): number => {
    const known = depths.get(object);
    if (known !== undefined) return known;
    depths.set(object, 0);
    const references = expectedItems.flatMap((item) =>
      item.object === object && item.kind === 'constraint'
        ? (/ REFERENCES ([^(]+)\(/.exec(item.definition.sql)?.[1] ?? [])
        : [],
    );
    const depth = Math.max(0, ...references.map((table) => 1 + depthOf(`table ${table}`)));
    depths.set(object, depth);
    return depth;
  };
  const rank = (change: Change): string => {
    const { object, kind, name, expected, found } = change;
    const kindRank = kind === 'owner' ? itemKinds.indexOf('function') - 0.5 : itemKinds.indexOf(kind);
    const isRepairedLate =
      (kind === 'constraint' && expected?.sql.startsWith('FOREIGN KEY')) ||
      (kind === 'privileges' && (found?.grants ?? []).every(({ grantor }) => grantor === null));
    const depth = kind === 'table' ? depthOf(object) : 0;
    return [kindRank.toFixed(1).padStart(4, '0'), depth, isRepairedLate ? 1 : 0, object, name].join('\n');
  };
  const ranked = changes.map((change) => ({ change, rank: rank(change) }));
  return ranked.sort((one, other) => (one.rank < other.rank ? -1 : 1)).map(({ change }) => change);
}
