import { afterEach, beforeAll, beforeEach, vi } from 'vitest';
import { Agency } from '../simulated-crm/agency.js';
import type { TestDatabase } from './database.js';
import { useMember } from './roles.js';

/** Creates an agency for each test of a file, with the example worker as a member of crm_worker. */
export function useAgency(database: TestDatabase): { readonly agency: Agency } {
  const { pool } = database;
  const worker = useMember(database, 'crm_worker');
  const current = { agency: undefined as unknown as Agency };
  beforeAll(async () => {
    await pool.query('grant select, insert, update, delete on contacts to crm_worker');
  });
  beforeEach(async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    current.agency = await Agency.create(pool, worker);
  });
  afterEach(() => current.agency.stop());
  return current;
}
