import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { useDatabase } from '../support/database.js';
import { useBuiltCli } from './migrations.js';

const { url, pool } = useDatabase();
const cli = useBuiltCli();
const user = `crm_test_${randomBytes(6).toString('hex')}`;
const readerUrl = new URL(url);
readerUrl.username = user;
readerUrl.password = 'secret';
const table = 'pgmigrations';

beforeAll(async () => {
  await pool.query(
    `create role ${user} login password 'secret' in role crm_reader; grant select on ${table} to ${user}`,
  );
});
afterAll(() => pool.query(`drop owned by ${user}; drop role ${user}`));

function run(...args: string[]) {
  return cli.run(readerUrl.href, args);
}

describe('row-level security on the migrations table, from which a reader sees no row,', () => {
  beforeAll(() => pool.query(`alter table ${table} enable row level security`));
  afterAll(() => pool.query(`alter table ${table} disable row level security`));

  test.each([['status'], ['plan'], ['up']])('migrate %s says that rows are hidden', async (command) => {
    expect(await run('migrate', command, '--migrations-table', table)).toEqual({
      code: 1,
      stdout: '',
      stderr: `Row-level security hides the rows of ${table} from user ${user}, so which migrations are applied is unknown. As the table's owner, run: alter table public.${table} disable row level security;\n`,
    });
  });

  test('verify says that rows are hidden, without and with drift', async () => {
    const expectHidden = async () => {
      const { code, stdout } = await run('verify', '--json');
      expect({ code, differences: JSON.parse(stdout).differences }).toEqual({
        code: 3,
        differences: [
          {
            kind: 'table',
            name: `public.${table}`,
            expected: 'the applied migrations',
            found: 'rows that row-level security hides from this user, so the schema may be of any version',
            statements: [`alter table public.${table} disable row level security`],
            advice: 'As the owner, then run verify again:',
          },
        ],
      });
    };
    await expectHidden();
    const index = 'crm_sync_runs_expires_at_idx';
    const { rows } = await pool.query(`select pg_get_indexdef('${index}'::regclass) as definition`);
    await pool.query(`drop index ${index}`);
    await expectHidden();
    await pool.query(rows[0].definition);
  });

  test('a user who bypasses the policies sees the rows', async () => {
    expect(await cli.run(url, ['migrate', 'status', '--migrations-table', table])).toMatchObject({ code: 0 });
    expect((await cli.run(url, ['migrate', 'status', '--migrations-table', table])).stdout).toContain(
      'applied',
    );
  });

  test('an owner from whom they are hidden too is told to disable it', async () => {
    const { rows } = await pool.query('select current_user as owner');
    // Roles belong to the cluster: verify of other tests reports a member of crm_reader that may act as the owner.
    await pool.query(
      `alter table ${table} force row level security; revoke crm_reader from ${user}; grant ${rows[0].owner} to ${user}`,
    );
    const env = { PGOPTIONS: `-c role=${user}` };
    expect((await cli.run(url, ['migrate', 'status', '--migrations-table', table], env)).stderr).toContain(
      'Row-level security hides the rows',
    );
    await pool.query(
      `revoke ${rows[0].owner} from ${user}; grant crm_reader to ${user}; alter table ${table} no force row level security`,
    );
  });
});

test('verify reads the migrations that a policy of the owner lets a reader see', async () => {
  await pool.query(
    `alter table ${table} enable row level security; create policy all_rows on ${table} for select using (true)`,
  );
  await pool.query(`insert into ${table} (name, run_on) values ('9998_add_x', now())`);
  expect((await run('verify')).stderr).toMatch(/ is newer than version .* has 9998_add_x\.\n$/);
  await pool.query(`delete from ${table} where name = '9998_add_x'`);
  expect((await run('verify')).stdout).not.toContain('row-level security hides');
  await pool.query(`drop policy all_rows on ${table}; alter table ${table} disable row level security`);
});
