import type { ParsedQuery } from '../../dev/query-definition.js';

/** Parses `:name` and `:name!` in a statement, as pgtyped does. */
export function parsedQuery(statement: string): ParsedQuery {
  const params = new Map<string, { name: string; required: boolean; locs: { a: number; b: number }[] }>();
  for (const match of statement.matchAll(/(?<!:):(\w+)(!?)/g)) {
    const [text, name = '', mark] = match;
    const param = params.get(name) ?? { name, required: mark === '!', locs: [] };
    param.locs.push({ a: match.index, b: match.index + text.length - 1 });
    params.set(name, param);
  }
  return { statement, params: [...params.values()] };
}
