import { CrmSchemaError, type CrmSchemaErrorCode } from '../errors.js';

/** The result of a statement. */
export interface DedicatedConnectionResult {
  /** One object per row, keyed by column name. */
  // biome-ignore lint/suspicious/noExplicitAny: as in pg's own types, because rows can have any columns.
  rows: any[];
}

/**
 * A dedicated connection, not a pool: a connected `pg` client, or anything that behaves like one. Call the
 * client's `connect()` first, or the call never settles.
 */
export interface DedicatedConnection {
  /** Runs one statement. */
  query(text: string, values?: unknown[]): Promise<DedicatedConnectionResult>;
  /** Only a pool has this. A pool may run each statement on a different connection. */
  readonly totalCount?: never;
}

/** @deprecated Renamed to {@link DedicatedConnection} in 1.3.1. */
export type OwnConnection = DedicatedConnection;

/** @deprecated Renamed to {@link DedicatedConnectionResult} in 1.3.1. */
export type OwnConnectionResult = DedicatedConnectionResult;

/**
 * Checks a connection before a function begins and ends transactions on it.
 *
 * @param field the name of the parameter, for the message
 * @throws CrmSchemaError `invalid_input` for a pool, and for a connection with an open transaction
 */
export async function checkDedicatedConnection(client: DedicatedConnection, field = 'client'): Promise<void> {
  if (typeof client?.query !== 'function' || 'totalCount' in client) {
    throw new CrmSchemaError(
      'invalid_input',
      `${field} must be a dedicated connection, not a pool: a connected new pg.Client(…), or a client from pool.connect().`,
    );
  }
  const { rows } = await client.query(
    'select pg_catalog.now() <> pg_catalog.statement_timestamp() as "isOpen"',
  );
  if (rows[0].isOpen) {
    throw new CrmSchemaError(
      'invalid_input',
      `${field} must not have a transaction open: commit it or roll it back first.`,
    );
  }
}

/**
 * Refuses a connection through a pooler, such as PgBouncer or Odyssey.
 *
 * @param code the code to refuse with
 * @param reason what would go wrong through a pooler
 * @throws CrmSchemaError `code`
 */
export async function checkNoPooler(
  client: DedicatedConnection,
  code: CrmSchemaErrorCode,
  reason: string,
): Promise<void> {
  if (await isThroughPooler(client)) {
    throw new CrmSchemaError(
      code,
      `Poolers are not supported here, and this connection goes through one: ${reason}. Connect to the database directly.`,
    );
  }
}

/**
 * Whether a connection goes through a pooler. A pooler announces its own process id instead of that of the server
 * process behind it, which may change. False if the client does not know which id was announced.
 */
export async function isThroughPooler(client: DedicatedConnection): Promise<boolean> {
  const { processID: announced } = client as { processID?: number | null };
  return typeof announced === 'number' && announced !== (await serverProcess(client));
}

/** The id of the server process that serves a connection. */
export async function serverProcess(client: DedicatedConnection): Promise<number> {
  // As text, because the client may parse integers in its own way.
  const { rows } = await client.query('select pg_catalog.pg_backend_pid()::text as pid');
  return Number(rows[0].pid);
}
