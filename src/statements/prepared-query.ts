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

/** A query as the generator writes it: everything that is sent, ready to send. */
export interface QueryDefinition {
  /** As in `queries/`. */
  readonly name: string;
  /** The name under which the server prepares it. */
  readonly statementName: string;
  /** Whether the server may keep one plan of it for all values. */
  readonly isPreparable: boolean;
  /** In the order of their numbers. */
  readonly params: readonly { readonly name: string; readonly required: boolean }[];
  /** The statement, with `$1`, `$2` … */
  readonly text: string;
}

const namesStatements = Symbol('namesStatements');

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
 * A query of `queries/`, ready to run.
 *
 * Rows have exactly the keys and types of `Row`, whatever type parsers the client or pool has: int8
 * as string, timestamptz as {@link Timestamp}, jsonb as parsed JSON.
 */
export class PreparedQuery<Params, Row> {
  /** The query's name in `queries/`. */
  readonly name: string;
  /** The statement as it is sent, with `$1`, `$2` … */
  readonly text: string;
  /** Whether `withNamedStatements` prepares the query on the server, which may then keep one plan for all values. */
  readonly isPreparable: boolean;
  readonly #statementName: string;
  readonly #params: QueryDefinition['params'];

  /** @internal */
  constructor({ name, statementName, isPreparable, params, text }: QueryDefinition) {
    this.name = name;
    this.text = text;
    this.isPreparable = isPreparable;
    this.#statementName = statementName;
    this.#params = params;
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
