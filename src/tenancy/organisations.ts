import { CrmSchemaError } from '../errors.js';
import * as queries from '../generated/organisations.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkUuid, refuse } from '../validation.js';

/** The part of a pool's client that a transaction needs. */
export interface TransactionClient extends Queryable {
  /** Runs a query, or `begin`, `commit` and `rollback`. */
  // biome-ignore lint/suspicious/noExplicitAny: pg's own type of results.
  query(statement: any): Promise<any>;
  /** Gives it back to its pool; with an error, to be closed. */
  release(error?: Error | boolean): void;
  /** Listens for the loss of the connection. */
  on(event: 'error', listener: (error: Error) => void): unknown;
  /** Stops listening. */
  removeListener(event: 'error', listener: (error: Error) => void): unknown;
}

/** The part of `pg`'s pool that is used. */
export interface TransactionPool {
  /** Gives a client that is nobody else's until it is released. */
  connect(): Promise<TransactionClient>;
}

/** What a pool connects: `pg`'s also takes a callback, and inference sees the last way of calling alone. */
export type ClientOf<Pool> = Pool extends {
  connect: { (): Promise<infer Client>; (callback: infer _Callback): void };
}
  ? Client
  : Pool extends { connect(): Promise<infer Client> }
    ? Client
    : TransactionClient;

/**
 * Sets, for the rest of a transaction that the caller has begun, the organisation whose rows a member of
 * `crm_app` sees. Outside a transaction it has no effect. {@link withOrganisation} does both.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function organisationSet(
  client: Queryable,
  params: {
    /** Whose rows are seen: a UUID. */
    organisationId: string;
  },
): Promise<void> {
  const { organisationId } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  await queries.organisationSet.run({ organisationId }, client);
}

/**
 * Runs `work` in a transaction in which a member of `crm_app` sees the rows of one organisation, and no
 * others. The setting ends with the transaction, so that the next user of the connection has none; also one
 * that somebody made for the whole session is taken back. What `work` throws undoes the transaction, and is
 * thrown again.
 *
 * The functions called within still take `organisationId`. Use the client that is lent, not the pool: that
 * would take another connection, on which no organisation is set. So does a `withOrganisation` within: with
 * a pool of one connection, it waits for ever. Leave `commit` and `rollback` to this function; savepoints
 * are fine.
 *
 * @param pool of `pg`, whose user is a member of `crm_app`
 * @param work gets the client, to use until its promise has settled: a query after that, or giving the
 *   client back, throws, because somebody else may have the connection by then
 * @returns what `work` returns, once that is committed
 * @throws CrmSchemaError `invalid_input`; `transaction_undone` if a statement failed and `work` did not pass
 *   that on, or if `work` ended the transaction itself or set another organisation
 */
export async function withOrganisation<Pool extends TransactionPool, Result>(
  pool: Pool,
  organisationId: string,
  work: (client: ClientOf<Pool>) => Promise<Result>,
): Promise<Result> {
  checkUuid({ field: 'organisationId' }, organisationId);
  checkPool(pool);
  const client = await pool.connect();
  // A connection that is lost between two statements says so here, too; the next statement throws.
  const ignore = () => {};
  client.on('error', ignore);
  const lent = lend(client);
  let broken: Error | undefined;
  try {
    // Two statements in one message, here and at the end, so that the second takes no time of its own.
    await client.query(`begin; select crm_set_organisation('${organisationId}')`);
    const result = await lent.to(work as (client: TransactionClient) => Promise<Result>);
    await checkUnended(client, organisationId);
    await client.query(`commit; ${forget}`);
    return result;
  } catch (error) {
    // A connection on which even this fails is not given back to the pool.
    await client.query(`rollback; ${forget}`).catch((reason: Error) => {
      broken = reason;
    });
    throw error;
  } finally {
    client.removeListener('error', ignore);
    client.release(broken);
  }
}

/** A client connects as well, but itself. */
function checkPool(pool: TransactionPool): void {
  if (typeof pool?.connect === 'function' && !('getTypeParser' in pool)) return;
  refuse(
    { field: 'pool' },
    'has to be a pool, new pg.Pool(…), and not a client: the transaction gets its own',
  );
}

/** What is set for the whole session shows through once a transaction is over. */
const forget = 'reset crm_schema.organisation_id';

/** The setting ends with its transaction, which is how it is known again. */
async function checkUnended(client: TransactionClient, organisationId: string): Promise<void> {
  const { rows } = await client
    .query("select current_setting('crm_schema.organisation_id', true) as id")
    .catch((error: { code?: string }) => {
      if (error.code !== inFailedTransaction) throw error;
      throw new CrmSchemaError(
        'transaction_undone',
        'The transaction was undone, because a statement in it had failed.',
        { cause: error },
      );
    });
  if (rows[0].id === organisationId.toLowerCase()) return;
  throw new CrmSchemaError(
    'transaction_undone',
    'The work within withOrganisation ended the transaction by itself, or set another organisation. What it has not committed was undone.',
  );
}

/** The server's answer to whatever is asked after a statement has failed. */
const inFailedTransaction = '25P02';

/** A client as it is lent to some work, which can neither give it back nor use it once the work is over. */
function lend(client: TransactionClient) {
  let isOver = false;
  const lent: TransactionClient = new Proxy(client, {
    get(target, key) {
      if (key === 'release') {
        return () => {
          throw new Error('withOrganisation gives the client back by itself.');
        };
      }
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        // Asked at each call: a method may have been taken from the client before.
        if (isOver && key === 'query') {
          throw new Error('The transaction is over: await each query within withOrganisation.');
        }
        const result: unknown = value.apply(target, args);
        // What is chained, as after on(), is lent as well.
        return result === target ? lent : result;
      };
    },
  });
  return {
    async to<Result>(work: (client: TransactionClient) => Promise<Result>): Promise<Result> {
      try {
        return await work(lent);
      } finally {
        isOver = true;
      }
    },
  };
}
