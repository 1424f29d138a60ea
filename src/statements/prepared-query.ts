import { createHash } from 'node:crypto';
import { CrmSchemaError } from '../errors.js';
import { canonicalTimestamp } from '../timestamps.js';
import { fromDatabaseError } from './database-errors.js';

/**
 * What runs a query: a `pg` client, a pool, a pool's client, or anything that behaves like one. Whoever writes
 * one passes on the whole configuration, `types` as well: without them `pg` makes a `Date` of a time, which
 * loses its microseconds, and that is refused.
 */
export interface Queryable {
  /** Runs one statement. */
  query(config: QueryConfig): Promise<QueryResult>;
}

/** The part of `pg`'s query configuration that is used. */
export interface QueryConfig {
  /** Of a statement that the server is to prepare; not given without {@link withNamedStatements}. */
  name?: string;
  /** The statement, with `$1`, `$2` … */
  text: string;
  /** The parameters, in that order. */
  values: unknown[];
  /** How values are read; has to be honoured. */
  types: {
    /** The same for all types: rows come as text. */
    getTypeParser(): (text: string) => unknown;
  };
}

/** The part of `pg`'s result that is used. */
export interface QueryResult {
  /** An object for each row, by the columns' names: text or null in each. */
  // biome-ignore lint/suspicious/noExplicitAny: pg's own type of rows, which come with any columns.
  rows: any[];
  /** The columns. */
  fields: QueryField[];
}

/** The part of `pg`'s description of a result column that is used. */
export interface QueryField {
  /** The column's name. */
  name: string;
  /** The OID of its type. */
  dataTypeID: number;
  /** `text` or `binary`. */
  format: string;
}

/** A query as pgtyped writes it: a statement and the places of its parameters in it. */
export interface QuerySource {
  readonly statement: string;
  readonly params: readonly {
    readonly name: string;
    readonly required: boolean;
    readonly locs: readonly { readonly a: number; readonly b: number }[];
  }[];
}

const namesStatements = Symbol('namesStatements');

/**
 * What is never prepared. Each looks for a few rows: among those of one connection, of which some have hundreds of
 * times as many as others; or as many as a limit says. A plan for any connection and any limit may read all of them;
 * one for those at hand does not.
 */
const plannedEachTime: ReadonlySet<string> = new Set([
  'outboundChangeClaim',
  'outboundChangeListWaiting',
  'syncBatchRecord',
  'syncFailureClaim',
  'syncFailureReplay',
  'syncRunClaim',
  'syncRunSweep',
]);

/**
 * Lets the server parse and plan each statement once for each connection, but for a few that are better off with
 * a plan of their own each time.
 *
 * Faster on look-ups (`npm run bench` tells how much), but it needs a connection that stays the same:
 * behind PgBouncer in transaction mode, version 1.21 or newer with `max_prepared_statements`.
 */
export function withNamedStatements(client: Queryable): Queryable {
  return Object.assign({ query: (config: QueryConfig) => client.query(config) }, { [namesStatements]: true });
}

/**
 * A query whose text and parameter order are prepared once, when the module loads.
 *
 * Rows have exactly the keys and types of `Row`, whatever type parsers the client or pool has: int8
 * as string, timestamptz as {@link Timestamp}, jsonb as parsed JSON.
 */
export class PreparedQuery<Params, Row> {
  /** As in `queries/`. */
  readonly name: string;
  /** The statement as it is sent, with `$1`, `$2` … */
  readonly text: string;
  readonly #statementName: string;
  readonly #params: QuerySource['params'];

  /** @internal */
  constructor(name: string, source: QuerySource) {
    this.name = name;
    this.text = `/* ${name} */ ${withoutTypeHints(withoutLeadingComments(numbered(source)))}`;
    this.#params = source.params;
    // The same name must never mean two texts on one connection, so the text is in it.
    this.#statementName = `${name.slice(0, 50)}_${createHash('sha256').update(this.text).digest('hex').slice(0, 8)}`;
  }

  /**
   * Runs the query.
   *
   * @throws CrmSchemaError where a rule of the schema is broken; whatever else the client throws
   * passes through as it is
   */
  async run(params: Params, client: Queryable): Promise<Row[]> {
    const config: QueryConfig = { text: this.text, values: this.#values(params), types: textTypes };
    if (this.isPreparable && (client as { [namesStatements]?: true })?.[namesStatements]) {
      config.name = this.#statementName;
    }
    const { rows, fields } = await client.query(config).catch((error: unknown) => {
      throw fromDatabaseError(error);
    });
    parseInPlace(rows, fields);
    return rows;
  }

  /** The parameters' names, in the order of their numbers. */
  get parameterNames(): string[] {
    return this.#params.map(({ name }) => name);
  }

  /** Whether the server may keep one plan of it for all values: then the plan tests look at that one. */
  get isPreparable(): boolean {
    return !plannedEachTime.has(this.name);
  }

  #values(params: Params): unknown[] {
    const given = params as Record<string, unknown>;
    return this.#params.map(({ name, required }) => {
      const value = given[name] ?? null;
      if (required && value === null) {
        throw new CrmSchemaError('invalid_input', `${this.name}: ${name} is missing.`);
      }
      return value;
    });
  }
}

/** Replaces each `:name`, which stands from `a` to `b` inclusive, by its number. */
function numbered({ statement, params }: QuerySource): string {
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

/** The comments are for readers of the source; the server needs the name alone. */
function withoutLeadingComments(text: string): string {
  return text.replace(/^(\s*--[^\n]*\n)+/, '');
}

/** `as "error!"` tells pgtyped that a column is never null (`?`: may be); its rows' key is `error`. */
function withoutTypeHints(text: string): string {
  return text.replace(/ as "(\w+)[!?]"/g, ' as "$1"');
}

/**
 * Asks the client for plain text, so that no type parser of its own gets in between. Parsing is done
 * on what came back: an exception inside the client's own parsing would end the whole process.
 */
const textTypes: QueryConfig['types'] = { getTypeParser: () => (text) => text };

/** By type OID: the types that the queries return, and no others; null is text as it came. */
const parsers = new Map<number, ((text: string) => unknown) | null>([
  [16, (text) => text === 't'], // bool
  [20, null], // int8: more than a number can hold
  [23, Number], // int4
  [25, null], // text
  [701, Number], // float8
  [1184, serverTimestamp], // timestamptz
  [2950, null], // uuid
  [3802, (text) => JSON.parse(text)], // jsonb
]);

function serverTimestamp(text: string): string {
  try {
    return canonicalTimestamp(text);
  } catch (cause) {
    throw new TypeError(
      `@nurturehub/crm-schema cannot read the time ${text}: the session's DateStyle has to be ISO, as it is by default.`,
      { cause },
    );
  }
}

function parseInPlace(rows: Record<string, unknown>[], fields: QueryField[]): void {
  for (const { name, dataTypeID, format } of fields) {
    const parser = parsers.get(dataTypeID);
    if (parser === undefined || format !== 'text') {
      throw new TypeError(
        `@nurturehub/crm-schema cannot read column ${name}, type ${dataTypeID} in ${format} format: use a pg client without the option "binary".`,
      );
    }
    for (const row of rows) {
      const text = row[name];
      if (text === null) continue;
      if (typeof text !== 'string') {
        throw new TypeError(
          `@nurturehub/crm-schema cannot read column ${name}, which came as ${text?.constructor?.name}, not as text: the client has to honour the query's "types", as pg does.`,
        );
      }
      if (parser !== null) row[name] = parser(text);
    }
  }
}
