import { createHash } from 'node:crypto';
import type { QueryDefinition } from '../src/statements/prepared-query.js';

/** A query as pgtyped parses it: the statement, and where each parameter stands in it. */
export interface ParsedQuery {
  readonly statement: string;
  readonly params: readonly {
    readonly name: string;
    readonly required: boolean;
    /** Pgtyped's ways of expanding a parameter; only `scalar` is supported here. */
    readonly transform?: { readonly type: string };
    readonly locs: readonly { readonly a: number; readonly b: number }[];
  }[];
}

/**
 * Turns a parsed query into the definition that `PreparedQuery` sends unchanged.
 *
 * @throws Error if the query uses one of pgtyped's parameter expansions
 */
export function queryDefinition(name: string, { statement, params }: ParsedQuery): QueryDefinition {
  const expanded = params.find(({ transform }) => transform !== undefined && transform.type !== 'scalar');
  if (expanded !== undefined) throw new Error(`${name}: ${expanded.name} is expanded; pass an array instead`);
  const text = withName(name, withoutTypeHints(withoutComments(withNumbers({ statement, params }))));
  return {
    name,
    statementName: statementName(name, text),
    params: params.map(({ name, required }) => ({ name, required })),
    text,
  };
}

/** A query definition as TypeScript source. The text is a template literal, so that a diff shows lines. */
export function definitionSource({ name, statementName, params, text }: QueryDefinition): string {
  const shown = params.map((param) => `\n    { name: '${param.name}', required: ${param.required} },`);
  return `{
  name: '${name}',
  statementName: '${statementName}',
  params: [${shown.join('')}${shown.length > 0 ? '\n  ' : ''}],
  text: \`${text.replace(/[\\`]|\$\{/g, '\\$&')}\`,
}`;
}

/**
 * Writes the query's name after the first word: pg_stat_statements of PostgreSQL 18 drops a comment before it, of every
 * version one at the end, and tracing libraries take the first word for the operation.
 */
function withName(name: string, text: string): string {
  if (!/^[a-z]+\s/.test(text)) throw new Error(`${name} does not begin with a keyword: ${text.slice(0, 20)}`);
  return text.replace(/^[a-z]+/, (keyword) => `${keyword} /* ${name} */`);
}

/** Contains a hash of the text, because one name must never mean two texts on one connection. */
function statementName(name: string, text: string): string {
  return `${name.slice(0, 50)}_${createHash('sha256').update(text).digest('hex').slice(0, 8)}`;
}

/** Replaces each `:name`, which stands from `a` to `b` inclusive, by its number. */
function withNumbers({ statement, params }: ParsedQuery): string {
  const places = params.flatMap(({ locs }, index) => locs.map(({ a, b }) => ({ a, b, index })));
  places.sort((left, right) => left.a - right.a);
  let text = '';
  let end = 0;
  for (const { a, b, index } of places) {
    text += `${statement.slice(end, a)}$${index + 1}`;
    end = b + 1;
  }
  return text + statement.slice(end);
}

/** Comments are for readers of the source. Strings and quoted names are matched first and kept. */
function withoutComments(text: string): string {
  return text
    .replace(/('(?:[^']|'')*'|"[^"]*")|^[ \t]*--.*\n|[ \t]*--.*$/gm, (_, quoted?: string) => quoted ?? '')
    .trim();
}

/** `as "error!"` tells pgtyped that a column is never null (`?`: may be); its rows' key is `error`. */
function withoutTypeHints(text: string): string {
  return text.replace(/ as "(\w+)[!?]"/g, ' as "$1"');
}
