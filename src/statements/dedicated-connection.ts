import { CrmSchemaError } from '../errors.js';

/** The result of a statement. */
export interface DedicatedConnectionResult {
  /** One object per row, keyed by column name. */
  // biome-ignore lint/suspicious/noExplicitAny: as in pg's own types, because rows can have any columns.
  rows: any[];
}

/** A dedicated connection, not a pool: a connected `pg` client, or anything that behaves like one. */
export interface DedicatedConnection {
  /** Runs one statement. */
  query(text: string, values?: unknown[]): Promise<DedicatedConnectionResult>;
  /** Only a pool has this. A pool may run each statement on a different connection. */
  readonly totalCount?: never;
}

/** @deprecated Renamed to {@link DedicatedConnection} in 1.3.0. */
export type OwnConnection = DedicatedConnection;

/** @deprecated Renamed to {@link DedicatedConnectionResult} in 1.3.0. */
export type OwnConnectionResult = DedicatedConnectionResult;

/**
 * For functions that begin and end their own transactions.
 *
 * @throws CrmSchemaError `invalid_input` for a pool, and for a connection with an open transaction, which the
 *   function would end
 */
export async function checkDedicatedConnection(client: DedicatedConnection): Promise<void> {
  if (typeof client?.query !== 'function' || 'totalCount' in client) {
    throw new CrmSchemaError(
      'invalid_input',
      'client: must be a dedicated connection, not a pool: a connected pg.Client, or the result of pool.connect().',
    );
  }
  const { rows } = await client.query('select now() <> statement_timestamp() as "isOpen"');
  if (rows[0].isOpen) {
    throw new CrmSchemaError(
      'invalid_input',
      'client: has an open transaction; commit it or roll it back first.',
    );
  }
}
