import type pg from 'pg';
import type { Difference, VerifyOptions } from '../../src/verify/verify.js';
import { verify, verifyInTransaction } from '../../src/verify/verify.js';

/** What differs, read on a dedicated connection. */
export async function differencesOf(client: pg.ClientBase): Promise<Difference[]> {
  return (await verify(client)).differences;
}

/** What differs within the client's transaction, whose settings are restored. */
export async function differencesIn(client: pg.ClientBase, options?: VerifyOptions): Promise<Difference[]> {
  await client.query('savepoint before_verify');
  try {
    return (await verifyInTransaction(client, options)).differences;
  } finally {
    await client.query('rollback to savepoint before_verify');
  }
}

/** Whether a difference's statements, if any, can run in a transaction. */
export function isTransactional({ statements }: Difference): boolean {
  return !statements.some((statement) => / concurrently /.test(statement));
}
