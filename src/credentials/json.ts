import type { Json } from '../types.js';

/** Deeper than any credentials, and shallow enough for whoever reads them recursively. */
const deepest = 32;

/** Names that a copy would lose, or that would switch off what hides credentials from logs. */
const unsafeNames = new Set(['__proto__', 'toJSON']);

/** Whether a value comes back from JSON as it is. A cycle is taken for what it is: too deep. */
export function isStorableJson(value: unknown, depth = deepest): value is Json {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || depth === 0) return false;
  if (Array.isArray(value)) return Array.from(value).every((element) => isStorableJson(element, depth - 1));
  // A Map, a Date or a Buffer would come back as something else.
  if (Object.prototype.toString.call(value) !== '[object Object]') return false;
  return Object.entries(value).every(
    ([name, inner]) => !unsafeNames.has(name) && (inner === undefined || isStorableJson(inner, depth - 1)),
  );
}
