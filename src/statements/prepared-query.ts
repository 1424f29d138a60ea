import { CrmSchemaError } from '../errors.js';
import { canonicalTimestamp } from '../timestamps.js';
import { kindOf, refuse } from '../validation.js';
import { fromServerError } from './database-errors.js';

/**
 * Runs queries: a `pg` client, a pool, a pool's client, or anything that behaves like one.
 *
 * A wrapper must pass on the whole configuration, including `types`. Without them `pg` parses times into
 * `Date`, which loses the microseconds; such results are refused.
 */
export interface Queryable {
  /** Runs one statement. */
  query(config: QueryConfig): Promise<QueryResult>;
}

/** The parts of `pg`'s query configuration that this package uses. */
export interface QueryConfig {
  /** The name under which the server prepares the statement. Only set by {@link withNamedStatements}. */
  name?: string;
  /** The statement, with `$1`, `$2` … */
  text: string;
  /** The values of `$1`, `$2` … */
  values: unknown[];
  /** How values are parsed. The client must honour it. */
  types: {
    /** Returns the text unchanged, for every type. */
    getTypeParser(): (text: string) => unknown;
  };
}

/** The parts of `pg`'s result that this package uses. */
export interface QueryResult {
  /** One object per row, keyed by column name. Each value is text or null. */
  // biome-ignore lint/suspicious/noExplicitAny: as in pg's own types, because rows can have any columns.
  rows: any[];
  /** The columns. */
  fields: QueryField[];
}

/** The parts of `pg`'s column description that this package uses. */
export interface QueryField {
  /** The column's name. */
  name: string;
  /** The OID of its type. */
  dataTypeID: number;
  /** `text` or `binary`. */
  format: string;
}

/** A query as the generator writes it: everything that is sent, in its final form. */
export interface QueryDefinition {
  /** The query's name in `queries/`. */
  readonly name: string;
  /** The name under which the server prepares the statement. Null: it is run too rarely. */
  readonly statementName: string | null;
  /** In the order of their numbers. */
  readonly params: readonly { readonly name: string; readonly required: boolean }[];
  /** The statement, with `$1`, `$2` … */
  readonly text: string;
}

const namesStatements = Symbol('namesStatements');

/**
 * Wraps a client so that the server parses and plans each statement once per connection.
 *
 * This speeds up lookups (measure it with `npm run bench`). Prepared statements belong to a server
 * connection: behind PgBouncer in transaction mode they need version 1.21 or later with
 * `max_prepared_statements`.
 */
export function withNamedStatements(client: Queryable): Queryable {
  return Object.assign({ query: (config: QueryConfig) => client.query(config) }, { [namesStatements]: true });
}

/**
 * A query of `queries/`, ready to run.
 *
 * Rows have exactly the keys and types of `Row`, whatever type parsers the client or pool has: int8 as a
 * string, timestamptz as a {@link Timestamp}, jsonb as parsed JSON.
 */
export class PreparedQuery<Params, Row> {
  /** The query's name in `queries/`. */
  readonly name: string;
  /** The statement as it is sent, with `$1`, `$2` … */
  readonly text: string;
  readonly #statementName: string | null;
  readonly #params: QueryDefinition['params'];

  /** @internal */
  constructor({ name, statementName, params, text }: QueryDefinition) {
    this.name = name;
    this.text = text;
    this.#statementName = statementName;
    this.#params = params;
  }

  /**
   * Runs the query.
   *
   * @throws CrmSchemaError if a rule of the schema is broken. Any other error of the client passes through
   *   unchanged
   */
  async run(params: Params, client: Queryable): Promise<Row[]> {
    if (typeof (client as Partial<Queryable> | undefined)?.query !== 'function') {
      refuse({ field: 'client' }, `must be a pg client or pool, not ${kindOf(client)}`);
    }
    const config: QueryConfig = { text: this.text, values: this.#values(params), types: textTypes };
    if (this.#statementName !== null && (client as { [namesStatements]?: true })[namesStatements]) {
      config.name = this.#statementName;
    }
    const { rows, fields } = await client.query(config).catch((error: unknown) => {
      throw fromServerError(error);
    });
    parseInPlace(rows, fields);
    return rows;
  }

  /**
   * The same query on another table with the same columns, which the server does not prepare.
   *
   * @param table the name that the statement has
   * @param other what to read instead, as it stands in SQL
   */
  onTable(table: string, other: string): PreparedQuery<Params, Row> {
    if (table === other) return this;
    return new PreparedQuery({
      name: this.name,
      statementName: null,
      params: this.#params,
      text: this.text.replaceAll(new RegExp(`\\b${table}\\b`, 'g'), () => other),
    });
  }

  /**
   * Whether `withNamedStatements` prepares this query on the server, which may then keep one plan for all
   * values. True for every query of `queries/`.
   */
  get isPreparable(): boolean {
    return this.#statementName !== null;
  }

  /** The names of the parameters, in the order of `$1`, `$2` … */
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
 * Asks the client for plain text, which bypasses its own type parsers. Rows are parsed after they arrive,
 * because an exception in a client's parser would end the whole process.
 */
const textTypes: QueryConfig['types'] = { getTypeParser: () => (text) => text };

/**
 * Parsers by type OID, for the types that the queries return and no others. Null keeps the text unchanged.
 */
const parsers = new Map<number, ((text: string) => unknown) | null>([
  [16, (text) => text === 't'], // bool
  [20, null], // int8: exceeds a number's precision
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
      `@nurturehub/crm-schema cannot read the time ${text}: the session's DateStyle must be ISO, which is the default.`,
      { cause },
    );
  }
}

/** Each column of the rows must be described: else nobody could tell how to read it. */
function checkDescriptions(rows: Record<string, unknown>[], fields: QueryField[] | undefined): void {
  if (!Array.isArray(fields)) {
    throw new TypeError(
      `@nurturehub/crm-schema needs the "fields" of the client's results, as pg gives them, not ${kindOf(fields)}.`,
    );
  }
  const described = new Set(fields.map(({ name }) => name));
  const unknown = Object.keys(rows[0] ?? {}).find((name) => !described.has(name));
  if (unknown === undefined) return;
  throw new TypeError(
    `@nurturehub/crm-schema cannot read column ${unknown}, which the "fields" of the client's result do not describe, as pg's do.`,
  );
}

function parseInPlace(rows: Record<string, unknown>[], fields: QueryField[]): void {
  checkDescriptions(rows, fields);
  for (const { name, dataTypeID, format } of fields) {
    const parser = parsers.get(dataTypeID);
    if (parser === undefined || format !== 'text') {
      throw new TypeError(
        `@nurturehub/crm-schema cannot read column ${name}, type ${dataTypeID} in ${format ?? 'an unknown'} format: ${format === undefined ? "use pg's own client; pg-native does not say the format" : 'use a pg client without the option "binary"'}.`,
      );
    }
    for (const row of rows) {
      const text = row[name];
      if (text === null) continue;
      if (typeof text !== 'string') {
        throw new TypeError(
          `@nurturehub/crm-schema cannot read column ${name}, which arrived as ${text?.constructor?.name}, not as text: the client must honour the query's "types", as pg does.`,
        );
      }
      if (parser !== null) row[name] = parser(text);
    }
  }
}
