import { readdir } from 'node:fs/promises';
import { projectPath } from '../../dev/database.js';

/** What `application.mjs` prints on a database with the host tables, if all is well. */
export async function expectedOutput(): Promise<object> {
  return {
    migrations: (await readdir(projectPath('migrations'))).length,
    differences: [],
    // This month and the next three, and the catch-all.
    partitions: 5,
    refusal: [true, 'live_connection_exists'],
    failures: 1,
    token: 'a token',
    status: 'active',
  };
}
