import { byHand, type Change, nameOf, type Repair } from './difference.js';
import type { Installation } from './installation.js';
import type { Definition } from './item.js';

/**
 * A table or a column that SQL alone cannot restore, or that only a person can tell from another. Statements that need it
 * would fail, or change nothing: the index on a column of another type is of another type again.
 */
interface Obstacle {
  /** The table. */
  object: string;
  /** Null for the whole table. */
  column: string | null;
  /** Whether it is missing, and not only different. */
  isMissing: boolean;
  /** The name that the column perhaps has now. */
  foundAs: string | null;
}

/** The obstacles among the changes, each with its repair, and what the host's tables lack. */
export function obstaclesAmong(
  repairs: readonly { change: Change; repair: Repair }[],
  { missingHostColumns }: Installation,
): Obstacle[] {
  const ofHost = missingHostColumns.map(({ table, column }) => ({
    object: `table ${table}`,
    column,
    isMissing: true,
    foundAs: null,
  }));
  const ours = repairs.flatMap(({ change, repair }) => {
    const { object, kind, name, expected, found, foundAs = null } = change;
    if (expected === null || (repair.statements.length > 0 && foundAs === null)) return [];
    if (kind === 'column') {
      return { object, column: name, isMissing: found === null || foundAs !== null, foundAs };
    }
    return kind === 'table' && found === null ? { object, column: null, isMissing: true, foundAs } : [];
  });
  return [...ofHost, ...ours];
}

/** How to repair a change that an obstacle is in the way of; null if none is. */
export function repairOnceUnobstructed(
  change: Change,
  obstacles: readonly Obstacle[],
  { contacts }: Installation,
): Repair | null {
  const { object, kind, expected, found } = change;
  // An unexpected item goes without them, and a comment is on something that exists.
  if (expected === null || ['table', 'column', 'comment', 'owner', 'privileges'].includes(kind)) return null;
  const texts =
    kind === 'host index'
      ? [`${contacts} (organisation_id, id)`]
      : [expected, found].flatMap((definition) =>
          definition === null ? [] : [resolvedText(kind, definition)],
        );
  const obstacle = obstacles.find(
    (each) =>
      texts.some((text) => object === each.object || mentions(text, nameOf(each.object))) &&
      texts.some((text) => each.column === null || mentions(text, each.column)),
  );
  return obstacle === undefined ? null : waitFor(obstacle);
}

/** The part of a change of privileges that cannot be repaired yet, and the rest; null where there is none. */
export function splitPrivileges(
  change: Change,
  obstacles: readonly Obstacle[],
): { rest: Change; waiting: { change: Change; repair: Repair } | null } {
  const obstacleOf = (column: string | null) =>
    obstacles.find(
      (each) =>
        each.object === change.object &&
        each.isMissing &&
        column !== null &&
        (each.column === column || each.foundAs === column),
    );
  const part = (definition: Definition | null, isWaiting: boolean): Definition | null =>
    definition && {
      ...definition,
      grants: (definition.grants ?? []).filter(
        ({ column }) => (obstacleOf(column) !== undefined) === isWaiting,
      ),
    };
  const waiting = {
    ...change,
    expected: part(change.expected, true),
    found: part(change.found, true),
  };
  const [first] = [waiting.expected, waiting.found].flatMap((definition) => definition?.grants ?? []);
  const obstacle = first && obstacleOf(first.column);
  return {
    rest: { ...change, expected: part(change.expected, false), found: part(change.found, false) },
    waiting: obstacle === undefined ? null : { change: waiting, repair: waitFor(obstacle) },
  };
}

function waitFor({ object, column, foundAs }: Obstacle): Repair {
  const obstacle = column === null ? object : `column ${nameOf(object)}.${column}`;
  return byHand(
    foundAs === null
      ? `Repair ${obstacle} first, then run verify again.`
      : `Give ${obstacle} its name back first, then run verify again: perhaps nothing else differs.`,
  );
}

/** What PostgreSQL looks up when it runs the definition: of a function in another language than SQL, only its header. */
function resolvedText(kind: Change['kind'], { sql }: Definition): string {
  return kind === 'function' && !/^ LANGUAGE sql$/m.test(sql) ? sql.slice(0, sql.indexOf('\nAS ')) : sql;
}

function mentions(text: string, name: string): boolean {
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(?<![\\w$"])${escaped}(?![\\w$"])`).test(text);
}
