import * as queries from './generated/organisations.js';
import type { Queryable } from './prepared-query.js';
import { checkUuid } from './validation.js';

/** The part of a pool's client that a transaction needs. */
export interface TransactionClient extends Queryable {
  // biome-ignore lint/suspicious/noExplicitAny: pg's own type of results.
  query(statement: any): Promise<any>;
  release(error?: Error | boolean): void;
  on(event: 'error', listener: (error: Error) => void): unknown;
  removeListener(event: 'error', listener: (error: Error) => void): unknown;
}

/** The part of `pg`'s pool that is used. */
export interface TransactionPool {
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
  { organisationId }: { organisationId: string },
): Promise<void> {
  checkUuid({ field: 'organisationId' }, organisationId);
  await queries.organisationSet.run({ organisationId }, client);
}

/**
 * Runs `work` in a transaction in which a member of `crm_app` sees the rows of one organisation, and no
 * others. The setting ends with the transaction, so that the next user of the connection sees none.
 * What `work` throws undoes the transaction, and is thrown again.
 *
 * @param pool of `pg`, whose user is a member of `crm_app`
 * @param work gets the client, to use until its promise has settled: a query after that, or giving the
 *   client back, throws, because somebody else may have the connection by then
 * @returns what `work` returns, once that is committed
 * @throws CrmSchemaError `invalid_input`; Error if a statement failed and `work` did not pass that on
 */
export async function withOrganisation<Pool extends TransactionPool, Result>(
  pool: Pool,
  organisationId: string,
  work: (client: ClientOf<Pool>) => Promise<Result>,
): Promise<Result> {
  checkUuid({ field: 'organisationId' }, organisationId);
  const client = await pool.connect();
  // A connection that is lost between two statements says so here, too; the next statement throws.
  const ignore = () => {};
  client.on('error', ignore);
  const lent = lend(client);
  let broken: Error | undefined;
  try {
    await client.query('begin');
    await organisationSet(client, { organisationId });
    const result = await lent.to(work as (client: TransactionClient) => Promise<Result>);
    const { command } = await client.query('commit');
    // The server's answer to the commit of a transaction in which a statement had failed.
    if (command === 'ROLLBACK') {
      throw new Error('The transaction was undone, because a statement in it had failed.');
    }
    return result;
  } catch (error) {
    // A connection on which even this fails is not given back to the pool.
    await client.query('rollback').catch((reason: Error) => {
      broken = reason;
    });
    throw error;
  } finally {
    client.removeListener('error', ignore);
    client.release(broken);
  }
}

/** A client as it is lent to some work, which can neither give it back nor use it once the work is over. */
function lend(client: TransactionClient) {
  let isOver = false;
  const refuse = (problem: string) => () => {
    throw new Error(problem);
  };
  const lent = new Proxy(client, {
    get(target, key) {
      if (key === 'release') return refuse('withOrganisation gives the client back by itself.');
      if (isOver && key === 'query') {
        return refuse('The transaction is over: await each query within withOrganisation.');
      }
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
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
