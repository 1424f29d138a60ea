import type pg from 'pg';
import { createSamples } from '../queries/every-query.js';
import { connect } from '../support/connection.js';
import { createTenant } from '../support/database.js';
import { eraseContacts } from '../support/erasure.js';
import { tenantWithIds } from '../support/identity.js';
import { insertEvents } from '../support/log-partitions.js';

/** Fills every table, and the first, a later and the last partition of the log. */
export async function fill(pool: pg.Pool): Promise<void> {
  await createSamples(pool);
  const { organisationId, contactIds } = await createTenant(pool, 1);
  const key = await connect(pool, organisationId, 'loop');
  const event = { direction: 'inbound', entityType: 'contact', internalId: contactIds[0] } as const;
  const nextMonth = new Date(Date.now() + 31 * 24 * 60 * 60 * 1000).toISOString();
  await insertEvents(pool, {
    ...key,
    events: [
      ...['1999-12-31T23:59:59.999999Z', nextMonth, '2100-01-01T00:00:00Z'].map(
        (occurredAt) => ({ ...event, occurredAt, status: 'success' }) as const,
      ),
      {
        ...event,
        externalId: '\\N\t"Zoë"\\.',
        status: 'error',
        // Characters that a plain-text dump must escape.
        error: { kind: 'internal', retryable: true, message: "It said:\n\\.\n\t'€\\N'; --" },
      },
    ],
  });
  const withErased = await tenantWithIds(pool, ['loop person 1']);
  await eraseContacts(pool, withErased.organisationId, withErased.contactIds);
}

/** The tables of a database without partitions: ours, the host's and the migrations table. */
export async function tablesOf(client: pg.Pool | pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select relname as name
     from pg_class
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
     order by 1`,
  );
  return rows.map(({ name }) => name);
}

/** Every row of each table as text, after the name of its table or partition. */
export async function contents(client: pg.Pool | pg.ClientBase): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const table of await tablesOf(client)) {
    const { rows } = await client.query<{ line: string }>(
      `select tableoid::regclass || ' ' || "row"::text as line from ${table} as "row" order by 1`,
    );
    found[table] = rows.map(({ line }) => line);
  }
  return found;
}

/** Deletes the rows that the migrations inserted, before rows are restored from another database. */
export async function deleteWhatMigrationsWrote(pool: pg.Pool): Promise<void> {
  for (const [table, lines] of Object.entries(await contents(pool))) {
    if (lines.length > 0 && !table.endsWith('migrations')) await pool.query(`delete from ${table}`);
  }
}
