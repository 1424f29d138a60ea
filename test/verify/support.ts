import type pg from 'pg';
import type { Difference } from '../../src/verify/verify.js';
import { verification, verify } from '../../src/verify/verify.js';

/** What differs, for a connection of its own. */
export async function differencesOf(client: pg.ClientBase): Promise<Difference[]> {
  return (await verify(client)).differences;
}

/** What differs within the client's transaction, whose settings stay as they are. */
export async function differencesIn(client: pg.ClientBase): Promise<Difference[]> {
  await client.query('savepoint before_verify');
  try {
    return (await verification(client)).differences;
  } finally {
    await client.query('rollback to savepoint before_verify');
  }
}

/** Whether a difference can be mended in a transaction, or not at all. */
export function isTransactional({ statements }: Difference): boolean {
  return !statements.some((statement) => / concurrently /.test(statement));
}
