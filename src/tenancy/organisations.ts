import { CrmSchemaError } from '../errors.js';
import * as queries from '../generated/organisations.js';
import { checkOrganisation } from '../keys.js';
import { fromServerError } from '../statements/database-errors.js';
import type { Queryable } from '../statements/prepared-query.js';
import { sqlStates } from '../statements/sqlstates.js';
import { checkUuid, kindOf, refuse } from '../validation.js';

/** The part of a pool's client that a transaction uses. */
export interface TransactionClient extends Queryable {
  /** Whether the client sends a query before the one before it is answered (`pg`'s option `pipeline`). */
  readonly pipeline?: boolean;
  /** Runs a query, or `begin`, `commit` and `rollback`. */
  // biome-ignore lint/suspicious/noExplicitAny: pg's own type of results.
  query(statement: any): Promise<any>;
  /** Returns the client to its pool; with an error, the pool closes it. */
  release(error?: Error | boolean): void;
  /** Listens for the loss of the connection. */
  on(event: 'error', listener: (error: Error) => void): unknown;
  /** Stops listening. */
  removeListener(event: 'error', listener: (error: Error) => void): unknown;
}

/** The part of `pg`'s pool that a transaction uses. */
export interface TransactionPool {
  /** Checks out a client, for exclusive use until it is released. */
  connect(): Promise<TransactionClient>;
}

/**
 * The type of a pool's client. `pg`'s `connect` also takes a callback, and inference sees only the last
 * overload.
 */
export type ClientOf<Pool> = Pool extends {
  connect: { (): Promise<infer Client>; (callback: infer _Callback): void };
}
  ? Client
  : Pool extends { connect(): Promise<infer Client> }
    ? Client
    : TransactionClient;

/**
 * Sets the organisation for the rest of the caller's transaction: row-level security (RLS) then limits a
 * member of `crm_app` to its rows. Has no effect outside a transaction. {@link withOrganisation} does both.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function organisationSet(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
  },
): Promise<void> {
  checkOrganisation(params);
  const { organisationId } = params;
  await queries.organisationSet.run({ organisationId }, client);
}

/**
 * Runs `work` in a transaction that sees only the rows of one organisation if the user is a member of
 * `crm_app`. The setting ends with the transaction, so the connection's next user starts without one; a
 * setting made for the whole session is also reset. If `work` throws, the transaction is rolled back and the
 * error rethrown.
 *
 * With a pool that pipelines (`pg`'s option `pipeline`), `work` starts while the transaction begins, which saves a round
 * trip; if that fails, so does its first query.
 *
 * Functions called inside still take `organisationId`. Use the client passed to `work`, not the pool: the
 * pool would check out another connection, which has no organisation set. A nested `withOrganisation` also
 * takes another connection: with a pool of one, it waits for ever. Leave `commit` and `rollback` to this
 * function; savepoints are fine.
 *
 * @param pool a pool of `pg`, whose user is a member of `crm_app`
 * @param organisationId the organisation's UUID
 * @param work receives the client, for use until its promise settles: later queries throw, because the
 *   connection may have another user by then; so does releasing the client
 * @returns the result of `work`, once it is committed
 * @throws CrmSchemaError `invalid_input`; `schema_not_found`; `transaction_undone` if a statement failed and `work`
 *   did not rethrow its error, or if `work` ended the transaction or set another organisation
 *
 * @example
 * ```ts
 * import { connectionGetLive, withOrganisation } from '@nurturehub/crm-schema';
 * import pg from 'pg';
 *
 * const pool = new pg.Pool(); // its user is a member of crm_app
 * const organisationId = '00000000-0000-4000-8000-000000000001';
 * const reapit = await withOrganisation(pool, organisationId, (client) =>
 *   connectionGetLive(client, { organisationId, provider: 'reapit' }),
 * );
 * console.log(reapit === null ? 'Reapit is not connected.' : `Reapit is ${reapit.status}.`);
 * ```
 */
export async function withOrganisation<Pool extends TransactionPool, Result>(
  pool: Pool,
  organisationId: string,
  work: (client: ClientOf<Pool>) => Promise<Result>,
): Promise<Result> {
  checkUuid({ field: 'organisationId' }, organisationId);
  checkPool(pool);
  if (typeof work !== 'function') refuse({ field: 'work' }, `must be a function, not ${kindOf(work)}`);
  const client = await pool.connect();
  // A connection lost between two statements emits an error event; the next statement throws anyway.
  const ignore = () => {};
  client.on('error', ignore);
  let connectionError: Error | undefined;
  try {
    // Several statements in one message, here and at the end, to save round trips.
    const beginning: Promise<unknown> = client
      .query(`begin; select crm_set_organisation('${organisationId}')`)
      .catch((error: unknown) => {
        throw fromServerError(error);
      });
    const lent = () => lend(client, work as (client: TransactionClient) => Promise<Result>);
    const result = client.pipeline ? await withoutWaiting(beginning, lent) : await beginning.then(lent);
    await commitIfStillSet(client, organisationId);
    return result;
  } catch (error) {
    // If even this fails, the pool must close the connection.
    await client.query(`rollback; ${resetOrganisation}`).catch((reason: Error) => {
      connectionError = reason;
    });
    throw error;
  } finally {
    client.removeListener('error', ignore);
    client.release(connectionError);
  }
}

/**
 * Does the work while the transaction begins, which saves a round trip: on a client that pipelines, the first query of
 * the work is sent with it. If the transaction can't begin, the server refuses that query, too.
 */
async function withoutWaiting<Result>(
  beginning: Promise<unknown>,
  work: () => Promise<Result>,
): Promise<Result> {
  const [begun, done] = await Promise.allSettled([beginning, work()]);
  if (begun.status === 'rejected') throw begun.reason;
  if (done.status === 'rejected') throw done.reason;
  return done.value;
}

/** A client also has `connect`, so look for a method that only clients have. */
function checkPool(pool: TransactionPool): void {
  if (typeof pool?.connect === 'function' && !('getTypeParser' in pool)) return;
  refuse(
    { field: 'pool' },
    'must be a pool, new pg.Pool(…), not a client: the transaction checks out its own client',
  );
}

/** A setting made for the whole session would reappear once the transaction is over. */
const resetOrganisation = 'reset crm_schema.organisation_id';

/**
 * Commits, unless `work` has ended the transaction or set another organisation: the setting ends with its transaction, so
 * while it is set the transaction is still open. Otherwise a division by zero keeps the rest of the message from running.
 */
async function commitIfStillSet(client: TransactionClient, organisationId: string): Promise<void> {
  const isSet = `coalesce(current_setting('crm_schema.organisation_id', true), '') = '${organisationId.toLowerCase()}'`;
  await client
    .query(`select 1 / (${isSet})::integer; commit; ${resetOrganisation}`)
    .catch((error: { code?: string; where?: string }) => {
      if (error.code === sqlStates.inFailedSqlTransaction) {
        throw new CrmSchemaError(
          'transaction_undone',
          'The transaction was rolled back because a statement in it failed.',
          { cause: error },
        );
      }
      // That of a deferred trigger says where it is from.
      if (error.code !== sqlStates.divisionByZero || error.where !== undefined) throw error;
      throw new CrmSchemaError(
        'transaction_undone',
        'The work inside withOrganisation ended the transaction or set another organisation. Uncommitted changes were rolled back.',
      );
    });
}

/** Lends a client to `work`, which cannot release it, nor use it once it is over. */
async function lend<Result>(
  client: TransactionClient,
  work: (client: TransactionClient) => Promise<Result>,
): Promise<Result> {
  let isOver = false;
  const lent: TransactionClient = new Proxy(client, {
    get(target, key) {
      if (key === 'release') {
        return () => {
          throw new Error('withOrganisation releases the client itself.');
        };
      }
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        // Checked at each call, because a method may have been read from the client earlier.
        if (isOver && key === 'query') {
          throw new Error('The transaction is over: await each query inside withOrganisation.');
        }
        const result: unknown = value.apply(target, args);
        // A method that returns the client, such as on(), must return the lent one.
        return result === target ? lent : result;
      };
    },
  });
  try {
    return await work(lent);
  } finally {
    isOver = true;
  }
}
