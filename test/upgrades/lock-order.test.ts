import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { migrations } from '../support/migrations.js';
import { install, migrateTo, useInstallation, useLogins } from './installation.js';
import { deadlocks, lockOrder } from './lock-order.js';
import { type ReleasedQuery, releases } from './releases.js';
import { calledAt, samples } from './samples.js';

const logins = useLogins();

/**
 * Locks crm_connections before contacts, and cannot change because it was released: a transaction that changed
 * a contact and then a connection may have to retry.
 */
const releasedInWrongOrder = '0005_create_crm_outbound_changes.sql';

/**
 * Whether SQL takes its locks with a lock_timeout below one second, after which PostgreSQL looks for deadlocks: its
 * own, or that of crm_run_in_schema. Before that it may lock only what it has created, and lock out maintenance
 * (crm_wait_for_vacuum).
 */
function givesWay(sql: string): boolean {
  const statements = sql.replace(/^alter table (\w+)[^;]*;$/gm, (statement, table) =>
    sql.includes(`create table ${table} (`) ? '' : statement,
  );
  const first = statements.search(
    /lock_timeout = '\d{1,3}ms'|crm_run_in_schema\((\$alter\$)?\s*'?(lock|alter) table/,
  );
  return first >= 0 && !/^(lock|alter|drop) /m.test(statements.slice(0, first));
}

/** Runs a query as the host does, in the transaction that changes a contact: contacts are locked first. */
function afterContact({ name, text, parameterNames }: ReleasedQuery) {
  const [params = {}] = samples[name]?.calls ?? [];
  return async (client: pg.ClientBase) => {
    await client.query("select set_config('crm_schema.now', $1, true)", [calledAt]);
    await client.query(
      'update contacts set name = name where id = (select min(id::text)::uuid from contacts)',
    );
    await client.query(
      text,
      parameterNames.map((parameter) => params[parameter] ?? null),
    );
  };
}

const upgraded = releases.filter(({ lastMigration }) => lastMigration < migrations.length);

describe.each(upgraded)('queries of $version', (release) => {
  const database = useInstallation(logins);
  const { pool } = database;
  beforeAll(() => install(database, logins, release));

  /** Whether no earlier release with the same tables sends the same query. */
  function isNew({ text }: ReleasedQuery): boolean {
    return !releases
      .slice(0, releases.indexOf(release))
      .filter(({ lastMigration }) => lastMigration === release.lastMigration)
      .some(({ queries }) => queries.some((query) => query.text === text));
  }

  /** Which queries deadlock with SQL that runs in one transaction, and over which tables. */
  async function deadlocksWith(sql: string): Promise<Record<string, string[]>> {
    if (givesWay(sql)) return {};
    const order = await lockOrder(pool, (client) => client.query(sql));
    const found: Record<string, string[]> = {};
    for (const query of release.queries.filter(isNew)) {
      const places = await deadlocks(pool, order, afterContact(query));
      if (places.length > 0) found[query.name] = places;
    }
    return found;
  }

  test('do not deadlock with an up, one transaction per file', async () => {
    for (const [position, { file, up }] of migrations.entries()) {
      if (position < release.lastMigration) continue;
      expect(await deadlocksWith(up), file).toEqual({});
      await migrateTo(database, logins, position + 1);
    }
  });

  test('do not deadlock with a down', async () => {
    for (const [position, { file, down }] of [...migrations.entries()].toReversed()) {
      if (position < release.lastMigration) continue;
      if (file === releasedInWrongOrder) {
        const places = Object.values(await deadlocksWith(down)).flat();
        expect(new Set(places)).toEqual(new Set(['waits for crm_connections, has contacts']));
      } else {
        expect(await deadlocksWith(down), file).toEqual({});
      }
      await migrateTo(database, logins, position);
    }
  });
});
