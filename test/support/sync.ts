import type pg from 'pg';
import { expect } from 'vitest';
import {
  type ClaimedRun,
  type ConnectionKey,
  type Provider,
  type Queryable,
  syncRunClaim,
} from '../../src/index.js';
import { atNine as atNineOn, type Clock, nine } from './clock.js';
import { connect } from './connection.js';
import { createTenant, type TestDatabase } from './database.js';

/** Setup for tests that sync the connections of a database while time stands still. */
export function syncSetup({ pool, url }: TestDatabase) {
  return {
    /** Runs `work` on a client whose time is stopped at nine. */
    atNine: (work: (client: pg.Client, clock: Clock) => Promise<void>) => atNineOn(url, work),

    /** Connects a CRM for a new organisation, or the given one. The connection is due at nine, or at `dueAt`. */
    async connectDue(
      provider: Provider = 'reapit',
      { dueAt = nine, organisationId }: { dueAt?: string; organisationId?: string } = {},
    ): Promise<ConnectionKey> {
      const tenant = organisationId ?? (await createTenant(pool)).organisationId;
      const key = await connect(pool, tenant, provider);
      await makeDue(pool, key, dueAt);
      return key;
    },
  };
}

/** Makes a connection due at the given time, by default long ago. */
export async function makeDue(
  client: pg.Pool | pg.ClientBase,
  { connectionId }: { connectionId: string },
  dueAt = '2026-01-01T00:00:00Z',
): Promise<void> {
  await client.query('update crm_connections set next_sync_at = $2 where id = $1', [connectionId, dueAt]);
}

/** Claims the longest due connection. */
export async function claimOne(client: Queryable, leaseSeconds = 300): Promise<ClaimedRun> {
  const [run, ...others] = await syncRunClaim(client, { worker: 'test', limit: 1, leaseSeconds });
  expect(others).toEqual([]);
  return run ?? expect.unreachable('nothing was due');
}

/**
 * Makes statements wait after they have taken their snapshot: `crm_now()` first sleeps for as many seconds as the
 * session's setting `test.delay` says.
 */
export async function delayStatements(pool: pg.Pool): Promise<void> {
  await pool.query(
    `create or replace function crm_now() returns timestamptz language plpgsql stable set search_path = '' as $$
     begin
       perform pg_catalog.pg_sleep(coalesce(nullif(current_setting('test.delay', true), ''), '0')::float8);
       return statement_timestamp();
     end $$`,
  );
}
