import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll } from 'vitest';
import type { TestDatabase } from './database.js';

/** The group roles that the migrations create. */
export type GroupRole = 'crm_app' | 'crm_worker' | 'crm_reader';

/**
 * Creates a user that is a member of one group role and has no other privileges, as in production, except
 * to read contacts, which the host grants. Returns a pool of it.
 *
 * @param role none: the user is a member of no role
 */
export function useMember({ url, pool }: TestDatabase, role?: GroupRole, max = 10): pg.Pool {
  const name = `crm_test_${randomBytes(6).toString('hex')}`;
  const memberUrl = new URL(url);
  memberUrl.username = name;
  memberUrl.password = 'test';
  const members = new pg.Pool({ connectionString: memberUrl.href, max });
  members.on('error', () => {});
  beforeAll(async () => {
    await pool.query(`create role ${name} login password 'test'`);
    if (role === undefined) return;
    await pool.query(`grant ${role} to ${name}`);
    await pool.query(`grant select (id, organisation_id) on contacts to ${role}`);
  });
  afterAll(async () => {
    await members.end();
    await pool.query(`drop role ${name}`);
  });
  return members;
}
