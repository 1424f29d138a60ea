import type { Json } from '../types.js';

/** Deeper than any real credentials, and shallow enough for code that reads them recursively. */
const maxDepth = 32;

/** Names that a copy would lose, or that would override what hides credentials from logs. */
const unsafeNames = new Set(['__proto__', 'toJSON']);

/** Whether a value survives a round trip through JSON unchanged. A cycle fails because it is too deep. */
export function isStorableJson(value: unknown, depth = maxDepth): value is Json {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || depth === 0) return false;
  if (Array.isArray(value)) return Array.from(value).every((element) => isStorableJson(element, depth - 1));
  // JSON would turn a Map, a Date or a Buffer into something else.
  if (Object.prototype.toString.call(value) !== '[object Object]') return false;
  return Object.entries(value).every(
    ([name, inner]) => !unsafeNames.has(name) && (inner === undefined || isStorableJson(inner, depth - 1)),
  );
}
