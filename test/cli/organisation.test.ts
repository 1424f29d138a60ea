import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { connectionDisconnect } from '../../src/index.js';
import { runCli, startCli } from '../support/cli.js';
import { connect } from '../support/connection.js';
import { useDatabase } from '../support/database.js';
import { createDetachedMonth, leavingAgency, rowsOf } from '../support/leaving-agency.js';
import { waitUntilSomebodyIsBlocked } from '../support/locks.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const reader = useMember(database, 'crm_reader');

const secret = Buffer.alloc(32, 7).toString('base64');
const env = { DATABASE_URL: database.url, CRM_SCHEMA_ERASURE_KEY: secret, NODE_ENV: 'test' };
const eraseArgs = (organisationId: string, ...others: string[]) => [
  'organisation',
  'erase',
  '--organisation',
  organisationId,
  ...others,
];

beforeAll(() => createDetachedMonth(pool));

let organisationId: string;
beforeEach(async () => {
  ({ organisationId } = await leavingAgency(pool));
});

describe('crm-schema organisation erase', () => {
  test('erases all that is kept, and says how much', async () => {
    const { code, stdout } = await runCli(eraseArgs(organisationId), env);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Erased \d+ rows\.\n/);
    expect(stdout).toMatch(/^crm_sync_log +108$/m);
    expect(stdout).toMatch(/^Proof: \d+ in crm_erasures, under key [0-9a-f]{16}\.\n$/m);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect([...(await rowsOf(pool, organisationId)).keys()]).toEqual(['crm_erasures']);
    // Whoever asks for one of its contacts is told where to look.
    expect((await runCli(['contact', 'erasures', '--contact', randomUUID()], env)).stderr).toMatch(
      / Nor does the erasure of a whole organisation name its contacts: \d+ organisations? in the list\.\n$/,
    );
  });

  test('goes on where it was killed, until nothing is left and the host can delete the organisation', async () => {
    const { organisationId: large } = await leavingAgency(pool, 4000);
    const staying = await rowsOf(pool, organisationId);
    const { child, ended } = startCli(eraseArgs(large, '--batch', '5'), env);
    const erased = async () => {
      const { rows } = await pool.query(
        "select coalesce(max((counts ->> 'crm_sync_log')::integer), 0) as count from crm_erasures where organisation_id = $1",
        [large],
      );
      return rows[0].count as number;
    };
    await expect.poll(erased, { timeout: 30_000, interval: 5 }).toBeGreaterThan(20);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await ended;
    const { rows } = await pool.query(
      "select counts, finished_at from crm_erasures where organisation_id = $1 and subject = 'organisation'",
      [large],
    );
    expect(rows).toMatchObject([{ finished_at: null }]);
    const left = (await rowsOf(pool, large)).size;
    expect(left).toBeGreaterThan(10);

    const again = await runCli(eraseArgs(large, '--json'), env);
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({
      isDryRun: false,
      counts: { crm_sync_log: 4008, crm_connections: 1 },
    });
    expect([...(await rowsOf(pool, large)).keys()]).toEqual(['crm_erasures']);
    expect(await rowsOf(pool, organisationId)).toEqual(staying);
    await pool.query('delete from contacts where organisation_id = $1', [large]);
    await pool.query('delete from organisations where id = $1', [large]);
  });

  test('with --dry-run, counts and changes nothing, without a key', async () => {
    const before = await rowsOf(pool, organisationId);
    const { code, stdout } = await runCli(eraseArgs(organisationId, '--dry-run', '--json'), {
      DATABASE_URL: database.url,
      NODE_ENV: 'production',
    });
    expect(code).toBe(0);
    const { isDryRun, counts } = JSON.parse(stdout);
    expect({ isDryRun, counts }).toMatchObject({
      isDryRun: true,
      counts: { crm_sync_log: 108, crm_connections: 1 },
    });
    expect(await rowsOf(pool, organisationId)).toEqual(before);
  });

  test('prints its progress to standard error', async () => {
    const holder = await pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from crm_connections where organisation_id = $1 for update', [
        organisationId,
      ]);
      const run = runCli(eraseArgs(organisationId, '--batch', '1'), {
        ...env,
        PGOPTIONS: '-c lock_timeout=5min',
      });
      await waitUntilSomebodyIsBlocked(pool);
      // Longer than the two seconds between its lines.
      await sleep(2100);
      await holder.query('rollback');
      const { code, stderr } = await run;
      expect(code).toBe(0);
      expect(stderr).toMatch(/^Erasing: [\d,]+ of \d,?\d{2,3}$/m);
    } finally {
      holder.release(true);
    }
  });

  test('refuses before it erases anything if a month that is kept under another name has events of it', async () => {
    await pool.query(
      `create table kept_2019_01 (like crm_sync_log including all);
       alter table kept_2019_01 add constraint crm_sync_log_connection_id_fkey
         foreign key (organisation_id, connection_id) references crm_connections (organisation_id, id)`,
    );
    try {
      const { rows } = await pool.query('select id from crm_connections where organisation_id = $1 limit 1', [
        organisationId,
      ]);
      await pool.query(
        `insert into kept_2019_01 (organisation_id, connection_id, occurred_at, direction, entity_type, status)
         values ($1, $2, '2019-01-01', 'inbound', 'contact', 'success')`,
        [organisationId, rows[0].id],
      );
      const before = await rowsOf(pool, organisationId);
      expect(await runCli(eraseArgs(organisationId), env)).toEqual({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(
          /^Not searched: kept_2019_01\..*\nkept_2019_01 was a month of the log, and has events of the organisation: delete them there first\.\n$/,
        ),
      });
      expect(await rowsOf(pool, organisationId)).toEqual(before);
    } finally {
      await pool.query('drop table kept_2019_01');
    }
    const { code, stderr } = await runCli(eraseArgs(organisationId), env);
    expect(code, stderr).toBe(0);
  });

  test('refuses while a CRM is connected, and says what to do', async () => {
    const key = await connect(pool, organisationId, 'alto');
    const { code, stdout, stderr } = await runCli(eraseArgs(organisationId), env);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('the organisation is still connected to alto');
    expect(stderr).toContain('Disconnect its CRMs');
    await connectionDisconnect(pool, key);
    expect((await runCli(eraseArgs(organisationId), env)).code).toBe(0);
  });

  test('gives up after lock_timeout, says who blocks it, and can be run again', async () => {
    const holder = await pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from crm_connections where organisation_id = $1 for update', [
        organisationId,
      ]);
      const { code, stderr } = await runCli(eraseArgs(organisationId), {
        ...env,
        PGOPTIONS: '-c lock_timeout=700',
      });
      expect(code).toBe(1);
      expect(stderr).toMatch(
        /^Blocked by process \d+ .*\. The batches before are kept: run it again when that transaction has ended\.$/m,
      );
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    expect((await runCli(eraseArgs(organisationId), env)).code).toBe(0);
  });

  test('exits with 3 if nothing is kept of the organisation', async () => {
    const id = randomUUID();
    expect(await runCli(eraseArgs(id), env)).toEqual({
      code: 3,
      stdout: '',
      stderr: `Nothing is kept of organisation ${id}.\n`,
    });
  });

  test.each([
    [
      'outside development without --allow-production',
      { ...env, NODE_ENV: 'production' },
      2,
      /--allow-production/,
    ],
    ['without a key', { ...env, CRM_SCHEMA_ERASURE_KEY: '' }, 1, /CRM_SCHEMA_ERASURE_KEY is not set/],
    ['with a key that is too short', { ...env, CRM_SCHEMA_ERASURE_KEY: 'c2hvcnQ=' }, 1, /32 random bytes/],
  ])('%s, changes nothing', async (_, environment, exitCode, message) => {
    const before = await rowsOf(pool, organisationId);
    const { code, stderr } = await runCli(eraseArgs(organisationId), environment);
    expect(code).toBe(exitCode);
    expect(stderr).toMatch(message);
    expect(await rowsOf(pool, organisationId)).toEqual(before);
  });

  test('is refused to a user who is not the owner', async () => {
    const { code, stderr } = await runCli(eraseArgs(organisationId), {
      ...env,
      DATABASE_URL: String(reader.options.connectionString),
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/Only the owner/);
  });
});
