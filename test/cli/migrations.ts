import { randomBytes } from 'node:crypto';
import { inject, onTestFinished } from 'vitest';
import { databaseUrl, withClient } from '../../dev/database.js';

/**
 * A database of one test, with the host tables, dropped after it.
 *
 * @returns its URL, as a superuser
 */
export async function freshDatabase(): Promise<string> {
  const serverUrl = inject('serverUrl');
  const prefix = inject('databasePrefix');
  const name = `${prefix}_${randomBytes(6).toString('hex')}`;
  await withClient(serverUrl, (client) => client.query(`create database ${name} template ${prefix}_host`));
  onTestFinished(async () => {
    await withClient(serverUrl, (client) => client.query(`drop database ${name} with (force)`));
  });
  return databaseUrl(serverUrl, name);
}

/** The names that are recorded, in the order in which they were. */
export async function recorded(url: string, table = 'crm_schema_migrations'): Promise<string[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query(`select name from ${table} order by id`);
    return rows.map(({ name }) => name);
  });
}
