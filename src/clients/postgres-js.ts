import type { Queryable, QueryConfig, QueryResult } from '../statements/prepared-query.js';
import { kindOf, refuse } from '../validation.js';

/** The part of postgres.js's `sql` that {@link fromPostgresJs} uses. */
export interface PostgresJs {
  /** Runs a statement with `$1`, `$2` … */
  unsafe(
    statement: string,
    // biome-ignore lint/suspicious/noExplicitAny: as in the types of postgres.js.
    values?: any[],
    options?: { prepare?: boolean },
  ): {
    /** Asks for the bytes of each value. */
    raw(): PromiseLike<PostgresJsRows>;
  };
  /** A value with the OID of the type that it is sent as. */
  typed(value: string, type: number): unknown;
}

/** One row, with the bytes of each value. */
export type PostgresJsRow = readonly (Uint8Array | null)[];

/** The rows of a statement, with their columns. */
export interface PostgresJsRows extends Iterable<PostgresJsRow> {
  /** The columns; nothing if the statement returns none. */
  readonly columns?: readonly PostgresJsColumn[] | null;
}

/** A column. */
export interface PostgresJsColumn {
  /** Its name. */
  readonly name: string;
  /** The OID of its type. */
  readonly type: number;
}

/** PostgreSQL's pseudo-type of a literal: the server infers the type from the statement, as for a client that names none. */
const unknownType = 705;

/**
 * Returns a client that runs statements through postgres.js, for the functions of this package that take a client.
 *
 * @param sql that of `postgres(…)`, of a transaction, or of a reserved connection
 * @throws CrmSchemaError `invalid_input`
 *
 * @example
 * ```ts
 * import { connectionGetLive, organisationSet } from '@nurturehub/crm-schema';
 * import { fromPostgresJs, type PostgresJs } from '@nurturehub/crm-schema/clients';
 *
 * // Call it within sql.begin(…), as a member of crm_app.
 * export async function isConnected(sql: PostgresJs, organisationId: string): Promise<boolean> {
 *   const client = fromPostgresJs(sql);
 *   await organisationSet(client, { organisationId });
 *   return (await connectionGetLive(client, { organisationId, provider: 'reapit' })) !== null;
 * }
 * ```
 */
export function fromPostgresJs(sql: PostgresJs): Queryable {
  if (typeof sql?.unsafe !== 'function') {
    refuse({ field: 'sql' }, `must be the sql of postgres.js, not ${kindOf(sql)}`);
  }
  return { query: (config) => run(sql, config) };
}

async function run(sql: PostgresJs, { name, text, values }: QueryConfig): Promise<QueryResult> {
  const parameters = values.map((value) => (value === null ? null : sql.typed(toText(value), unknownType)));
  const found = await Promise.resolve(
    sql.unsafe(text, parameters, { prepare: name !== undefined }).raw(),
  ).catch((error: unknown) => {
    throw withNamesOfPg(error);
  });
  const columns = found.columns ?? [];
  return {
    rows: Array.from(found, (row) => toObject(row, columns)),
    fields: columns.map(({ name, type }) => ({ name, dataTypeID: type, format: 'text' })),
  };
}

function toObject(row: PostgresJsRow, columns: readonly PostgresJsColumn[]): Record<string, string | null> {
  // `postgres.pascal` is the only transformation of its own that changes names such as ours.
  if (!Array.isArray(row) || columns.some(({ name }) => /^[A-Z]/.test(name))) {
    throw new TypeError(
      '@nurturehub/crm-schema cannot read rows that the option "transform" of postgres.js has changed: use an instance without it.',
    );
  }
  return Object.fromEntries(columns.map(({ name }, index) => [name, decode(row[index])]));
}

const decoder = new TextDecoder();

function decode(bytes: Uint8Array | null | undefined): string | null {
  return bytes == null ? null : decoder.decode(bytes);
}

/** A value of a parameter in PostgreSQL's text format, as `pg` writes it. */
function toText(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return `{${value.map(toElement).join(',')}}`;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function toElement(value: unknown): string {
  if (value === null || value === undefined) return 'NULL';
  const text = toText(value);
  return Array.isArray(value) ? text : `"${text.replaceAll(/[\\"]/g, '\\$&')}"`;
}

/** The members of an error of the server that postgres.js names otherwise than `pg`. */
const members = { constraint_name: 'constraint', table_name: 'table', column_name: 'column' };

function withNamesOfPg(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  for (const [theirs, name] of Object.entries(members)) {
    if (theirs in error) Object.assign(error, { [name]: error[theirs as keyof Error] });
  }
  return error;
}
