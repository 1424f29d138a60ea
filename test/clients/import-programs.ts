import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { connect } from '../support/connection.js';
import { createTenant, type TestDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const run = promisify(execFile);

const globalParsers = projectPath('test/clients/global-parsers.mjs');

/** What an organisation has of a contact, from both sides. */
async function found(pool: pg.Pool, contactId: string | undefined) {
  const { rows } = await pool.query(
    `select name, external_id as "externalId",
       (select count(*)::int from crm_sync_log where internal_id = contacts.id) as events
     from contacts left join contact_external_ids on contact_id = contacts.id
     where contacts.id = $1`,
    [contactId],
  );
  return rows[0];
}

/** Runs a program of examples/clients, as the user of a pool. */
export function startImport(
  folder: string,
  program: string,
  args: readonly string[],
  user: pg.Pool,
  options: readonly string[] = [],
) {
  return run(process.execPath, [...options, '--import', 'tsx', `clients/${program}.ts`, ...args], {
    cwd: folder,
    env: { ...process.env, DATABASE_URL: user.options.connectionString },
  });
}

/**
 * Tests that each program of examples/clients commits what both sides write together, and undoes it together.
 *
 * @param folder returns the path of the folder that has them as `clients`, once it is there
 */
export function testImports(database: TestDatabase, folder: () => string, programs: readonly string[]): void {
  const { pool } = database;
  const app = useMember(database, 'crm_app');
  beforeAll(async () => {
    // As docs/clients.md says.
    await pool.query('grant select, update (name) on contacts to crm_app');
  });

  const start = (program: string, args: readonly string[], options: readonly string[] = []) =>
    startImport(folder(), program, args, app, options);

  describe.each(programs)('clients/%s.ts', (program) => {
    test('commits what both sides have written, with type parsers that the application has set for all of pg', async () => {
      const { organisationId, contactIds } = await createTenant(pool, 1);
      const [contactId = ''] = contactIds;
      await connect(pool, organisationId);
      const externalId = randomUUID();
      const person = [organisationId, contactId, externalId, 'Ottoline Sprat'];
      const { stdout } = await start(program, person, ['--import', globalParsers]);
      expect(stdout).toBe(`Committed: Ottoline Sprat is ${externalId}.\n`);
      expect(await found(pool, contactId)).toEqual({ name: 'Ottoline Sprat', externalId, events: 1 });
    });

    test('rolls back what both sides have written if the second write of this package is refused', async () => {
      const { organisationId, contactIds } = await createTenant(pool, 2);
      const [contactId = '', otherId = ''] = contactIds;
      await connect(pool, organisationId);
      const externalId = randomUUID();
      const { stdout } = await start(program, [organisationId, contactId, externalId, 'Ottoline Sprat']);
      expect(stdout).toMatch(/^Committed: /);
      const { code, stderr } = await start(program, [
        organisationId,
        otherId,
        externalId,
        'Barnaby Quince',
      ]).catch((error) => error);
      expect(stderr).toMatch(/^Rolled back: external_id_taken: /);
      expect(code).toBe(1);
      expect(await found(pool, otherId)).toEqual({ name: 'Test Person', externalId: null, events: 0 });
    });
  });
}
