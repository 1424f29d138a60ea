import { randomUUID } from 'node:crypto';
import type { Queryable, QueryConfig } from '../statements/prepared-query.js';
import { kindOf, refuse } from '../validation.js';

/** The part of `pg`'s pool that {@link shareClients} uses. */
export interface SharedPool {
  /** Listens for a client that is checked out, or released. */
  // biome-ignore lint/suspicious/noExplicitAny: as in pg's own types, whose listeners take different arguments.
  on(event: 'acquire' | 'release', listener: (...args: any[]) => void): unknown;
}

/** A client of the pool, from its checkout to its release. */
interface Checkout {
  readonly client: Queryable;
  readonly tokens: Set<string>;
  isOver: boolean;
}

/**
 * Asks for the client that runs it. A client of a shared pool sends a token in place of the null, so that the answer
 * reaches {@link clientOf} through whatever stands between.
 */
const question = 'select null::text as client';

/** The checkouts that tokens stand for, until a token is redeemed or the client released. */
const checkoutsByToken = new Map<string, Checkout>();

/**
 * Lets {@link clientOf} find the clients of a pool inside an ORM's transactions.
 *
 * @param pool a pool of `pg`, to be given to the ORM
 * @returns the same pool
 * @throws CrmSchemaError `invalid_input`
 */
export function shareClients<Pool extends SharedPool>(pool: Pool): Pool {
  if (typeof pool?.on !== 'function' || 'getTypeParser' in pool) {
    refuse({ field: 'pool' }, 'must be a pool, new pg.Pool(…)');
  }
  const checkouts = new WeakMap<object, Checkout>();
  const seen = new WeakSet<object>();
  pool.on('acquire', (client: Queryable) => {
    checkouts.set(client, { client, tokens: new Set(), isOver: false });
    if (seen.has(client)) return;
    seen.add(client);
    answerQuestions(client, () => checkouts.get(client));
  });
  pool.on('release', (_error: unknown, client: Queryable) => {
    const checkout = checkouts.get(client);
    if (checkout === undefined) return;
    checkout.isOver = true;
    for (const token of checkout.tokens) checkoutsByToken.delete(token);
  });
  return pool;
}

/** Replaces a client's `query` by one that also answers the question. */
function answerQuestions(client: Queryable, current: () => Checkout | undefined): void {
  const query = client.query as (...args: unknown[]) => unknown;
  const answering = (...args: unknown[]): unknown => {
    const [statement, ...others] = args as [string | QueryConfig, ...unknown[]];
    const isText = typeof statement === 'string';
    const checkout = current();
    if ((isText ? statement : statement?.text) !== question || checkout === undefined) {
      return query.apply(client, args);
    }
    const token = randomUUID();
    checkout.tokens.add(token);
    checkoutsByToken.set(token, checkout);
    const text = question.replace('null', `'${token}'`);
    // Without a name, because the server may have prepared another token under it.
    return query.apply(client, [isText ? text : { ...statement, text, name: undefined }, ...others]);
  };
  client.query = answering as Queryable['query'];
}

/**
 * Returns the `pg` client of an ORM's transaction, for the functions of this package. What they write is committed or
 * rolled back with what the ORM writes. Takes one round trip.
 *
 * @param run runs a statement without parameters in the transaction, by whatever the ORM has for this, and returns
 *   its rows, or a result that has them as `rows`
 * @returns the client, for use until the transaction is over: later queries throw, because the connection may have
 *   another user by then
 * @throws CrmSchemaError `invalid_input` if the statement did not run on a client of a pool that {@link shareClients}
 *   has been called on
 *
 * @example
 * ```ts
 * import { connectionGetLive, organisationSet } from '@nurturehub/crm-schema';
 * import { clientOf, shareClients } from '@nurturehub/crm-schema/clients';
 * import pg from 'pg';
 *
 * const pool = shareClients(new pg.Pool()); // its user is a member of crm_app; give it to the ORM
 * const organisationId = '00000000-0000-4000-8000-000000000001';
 * const transaction = await pool.connect(); // what an ORM does
 * const client = await clientOf((statement) => transaction.query(statement));
 * await transaction.query('begin');
 * await organisationSet(client, { organisationId });
 * console.log(await connectionGetLive(client, { organisationId, provider: 'reapit' }));
 * await transaction.query('commit');
 * transaction.release();
 * ```
 */
export async function clientOf(run: (statement: string) => PromiseLike<unknown>): Promise<Queryable> {
  if (typeof run !== 'function') refuse({ field: 'run' }, `must be a function, not ${kindOf(run)}`);
  const token = String(firstValue(await run(question)));
  const checkout = checkoutsByToken.get(token);
  if (checkout === undefined) {
    refuse(
      { field: 'run' },
      'must run the statement, in a transaction of an ORM whose pool went through shareClients, and return its result',
    );
  }
  checkoutsByToken.delete(token);
  checkout.tokens.delete(token);
  return {
    query: async (config) => {
      if (checkout.isOver) throw new Error('The transaction is over: await each query inside it.');
      return checkout.client.query(config);
    },
  };
}

/** The first value of the first row of a result, in whatever form a library returns it. */
function firstValue(result: unknown): unknown {
  const rows = Array.isArray(result) ? result : (result as { rows?: unknown } | null)?.rows;
  const [row]: unknown[] = Array.isArray(rows) ? rows : [];
  return Object.values(row ?? {})[0];
}
