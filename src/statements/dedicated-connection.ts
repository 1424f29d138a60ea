import { CrmSchemaError } from '../errors.js';

/** What comes back from a statement. */
export interface DedicatedConnectionResult {
  /** One object a row, by its columns' names. */
  // biome-ignore lint/suspicious/noExplicitAny: pg's own type of rows, which come with any columns.
  rows: any[];
}

/** A connection of its own, not a pool: a `pg` client that is connected, or anything that behaves like one. */
export interface DedicatedConnection {
  /** Runs one statement. */
  query(text: string, values?: unknown[]): Promise<DedicatedConnectionResult>;
  /** What only a pool has: each of its statements may run on another connection. */
  readonly totalCount?: never;
}

/** @deprecated The name of {@link DedicatedConnection} until 1.3.0. */
export type OwnConnection = DedicatedConnection;

/** @deprecated The name of {@link DedicatedConnectionResult} until 1.3.0. */
export type OwnConnectionResult = DedicatedConnectionResult;

/**
 * For what begins and ends transactions itself.
 *
 * @throws CrmSchemaError `invalid_input` for a pool, and where a transaction is open, which would end with it
 */
export async function checkDedicatedConnection(client: DedicatedConnection): Promise<void> {
  if (typeof client?.query !== 'function' || 'totalCount' in client) {
    throw new CrmSchemaError(
      'invalid_input',
      'client: has to be a connection of its own, not a pool: new pg.Client(…), connected, or what pool.connect() gives.',
    );
  }
  const { rows } = await client.query('select now() <> statement_timestamp() as "isOpen"');
  if (rows[0].isOpen) {
    throw new CrmSchemaError(
      'invalid_input',
      'client: has a transaction open; commit it or roll it back first.',
    );
  }
}
