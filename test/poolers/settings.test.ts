import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '../support/cli.js';
import { connect } from '../support/connection.js';
import { testRingKey } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import type { Pooler } from './pooler.js';
import { poolers } from './poolers.js';
import { publicCalls, publicNames, refusePoolers } from './public-calls.js';

const refusal = /^Poolers are not supported here, and this connection goes through one: /;

/** Settings that are unusual, so that none is restored by chance, and that crm-schema accepts. */
const unusual = {
  search_path: 'public, pg_temp',
  timezone: 'Asia/Kathmandu',
  lock_timeout: '7s',
  statement_timeout: '77s',
  idle_session_timeout: '777s',
  idle_in_transaction_session_timeout: '77s',
};

// A file needs a test.
test.skipIf(poolers.length > 0).todo('behind PgBouncer and Odyssey, which are not installed here');

describe.each(poolers)('behind $name', ({ start, discards }) => {
  const database = useDatabase();
  const { pool, url } = database;
  const nobody = useMember(database).options.connectionString as string;
  let calls: Awaited<ReturnType<typeof publicCalls>>;
  let pooler: Pooler;
  /** The arguments of each command that connects to a database. */
  let commands: Record<string, string[]>;

  beforeAll(async () => {
    for (const [name, value] of Object.entries(unusual)) {
      const { rows } = await pool.query(
        "select format('alter database %I set %I = %s', current_database(), $1::text, $2::text) as sql",
        [name, name === 'search_path' ? value : `'${value}'`],
      );
      await pool.query(rows[0].sql);
    }
    calls = await publicCalls(pool);
    const { organisationId } = await createTenant(pool);
    const { connectionId } = await connect(pool, organisationId);
    const one = ['--organisation', organisationId, '--connection', connectionId];
    const table = ['--migrations-table', 'pgmigrations'];
    commands = {
      'migrate up': table,
      'migrate down': [...table, '--to', '11'],
      'migrate status': table,
      'migrate plan': table,
      health: [],
      'failures list': one,
      'failures replay': [...one, '--from', '2026-01-01T00:00Z', '--before', '2026-02-01T00:00Z'],
      'credentials status': [],
      'credentials rotate': [],
      'partitions ensure': [],
      'partitions list': [],
      'partitions drop': [],
      verify: [],
    };
    pooler = await start({ connections: 1, users: [url, nobody] });
  });
  afterAll(() => pooler.stop());

  /** What the next client finds on the only connection to the server. */
  async function nextClient(databaseUrl: string): Promise<Record<string, unknown>> {
    const client = new pg.Client({ connectionString: pooler.through(databaseUrl), application_name: 'next' });
    await client.connect();
    try {
      // Its own settings appear once it is loaded.
      await client.query('do $$ begin end $$');
      const { rows: settings } = await client.query('select name, setting from pg_settings order by name');
      const { rows: session } = await client.query(
        `select
           pg_backend_pid() as pid,
           current_user::text as role,
           nullif(current_setting('crm_schema.organisation_id', true), '') as organisation,
           (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
           (select count(*)::integer from pg_class where pg_is_other_temp_schema(relnamespace) or relnamespace = pg_my_temp_schema()) as temporary`,
      );
      return { ...session[0], ...Object.fromEntries(settings.map(({ name, setting }) => [name, setting])) };
    } finally {
      await client.end();
    }
  }

  /** Runs `work` with a client and a pool, through the pooler. */
  async function withClients<Result>(
    databaseUrl: string,
    work: (client: pg.Client, clients: pg.Pool) => Promise<Result>,
  ): Promise<Result> {
    const config = { connectionString: pooler.through(databaseUrl), application_name: 'next' };
    const client = new pg.Client(config);
    const clients = new pg.Pool({ ...config, max: 1 });
    await client.connect();
    try {
      return await work(client, clients);
    } finally {
      // A pooler closes the server's connection if the client leaves before the answer ends.
      await client.query('select');
      await Promise.all([client.end(), clients.end()]);
    }
  }

  test('what a client sets for its session reaches the next client, unless the pooler resets it', async () => {
    const before = await nextClient(url);
    await withClients(url, async (client) => {
      await client.query("set work_mem = '5MB'");
      expect(await nextClient(url)).toEqual(discards ? before : { ...before, work_mem: '5120' });
      await client.query('reset work_mem');
    });
    expect(await nextClient(url)).toEqual(before);
  });

  test('every public function is tried', () => {
    expect(Object.keys(calls).toSorted()).toEqual([...new Set(publicNames)].toSorted());
  });

  test('every public function works or refuses clearly, and leaves the settings of the connection', async () => {
    const before = await nextClient(url);
    expect(before).toMatchObject({ TimeZone: 'Asia/Kathmandu', lock_timeout: '7000', locks: 0 });
    const outcomes: Record<string, unknown> = {};
    for (const [name, call] of Object.entries(calls)) {
      outcomes[name] = await withClients(url, call).then(
        () => 'works',
        ({ message }) => (refusal.test(message) ? 'refuses' : message),
      );
      expect(await nextClient(url), name).toEqual(before);
    }
    expect(outcomes).toEqual(
      Object.fromEntries(
        Object.keys(calls).map((name) => [name, refusePoolers.has(name) ? 'refuses' : 'works']),
      ),
    );
  });

  test('every public function leaves the settings of the connection when the server refuses it', async () => {
    const before = await nextClient(nobody);
    const works: string[] = [];
    for (const [name, call] of Object.entries(calls)) {
      await withClients(nobody, call).then(
        () => works.push(name),
        () => {},
      );
      expect(await nextClient(nobody), name).toEqual(before);
    }
    // For these a user needs no privilege.
    expect(works).toEqual(['organisationSet', 'verify']);
  });

  test('a transaction that fails at the end leaves the settings of the connection', async () => {
    const before = await nextClient(url);
    await withClients(url, async (client, clients) => {
      for (const [name, call] of Object.entries(calls)) {
        if (/^(migrat|partitions|verify|credentialsR|withOrganisation)/.test(name)) continue;
        await client.query('begin');
        await call(client, clients).catch(() => {});
        await client.query('select 1 / 0').catch(() => {});
        await client.query('rollback');
        expect(await nextClient(url), name).toEqual(before);
      }
    });
  });

  /** Runs a command with the given database. */
  function run(name: string, databaseUrl: string) {
    const next = { kty: 'oct', k: Buffer.alloc(32, 1).toString('base64url'), alg: 'A256KW', kid: 'next' };
    return runCli([...name.split(' '), ...(commands[name] as string[])], {
      DATABASE_URL: databaseUrl,
      CRM_SCHEMA_KEYS: JSON.stringify({ current: 'next', keys: [next, testRingKey()] }),
      NODE_ENV: 'test',
      PGAPPNAME: 'next',
    });
  }

  test('every command works or refuses in one line, and leaves the settings of the connection', async () => {
    const before = await nextClient(url);
    for (const name of Object.keys(commands)) {
      const through = await run(name, pooler.through(url));
      expect(await nextClient(url), name).toEqual(before);
      if (/^(migrate (up|down)|partitions (ensure|drop))$/.test(name)) {
        expect(through, name).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(refusal) });
        expect(through.stderr.trimEnd()).not.toContain('\n');
      } else {
        const { code, stderr } = await run(name, url);
        expect({ code: through.code, stderr: through.stderr }, name).toEqual({ code, stderr });
        expect(through.stderr, name).not.toMatch(/error|ERR/);
      }
    }
  });

  test('every command leaves the settings of the connection when it fails', async () => {
    const before = await nextClient(nobody);
    for (const name of Object.keys(commands)) {
      await run(name, pooler.through(nobody));
      expect(await nextClient(nobody), name).toEqual(before);
    }
  });

  test('a command that reads refuses a database that sets what it must change', async () => {
    const sets = (clause: string) => pool.query(`alter database ${new URL(url).pathname.slice(1)} ${clause}`);
    // Its connections are new, so that they have the setting.
    const fresh = await start({ connections: 1, users: [url, nobody] });
    try {
      await sets("set datestyle = 'German'");
      expect(await run('health', fresh.through(url))).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('sets datestyle to German, DMY, which crm-schema cannot change'),
      });
      await sets('reset datestyle');
    } finally {
      await fresh.stop();
    }
  });
});
