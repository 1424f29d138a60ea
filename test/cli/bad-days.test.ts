import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createHostTables, databaseUrl, withClient } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { noPgBouncer, startPgBouncer } from '../pgbouncer/support.js';
import { useBuiltCli } from './migrations.js';
import { noOpenssl, startMeddler, startReplica, startTlsServer } from './servers.js';

const cli = useBuiltCli();
const secret = 'top%20secret';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION);
});
afterAll(() => server.stop());

/** A database of the server, with the host tables; never mind that it stays until the server goes. */
async function database(
  prepare: (client: pg.Client) => Promise<unknown> = createHostTables,
): Promise<string> {
  const name = `test_${randomBytes(4).toString('hex')}`;
  await withClient(server.url, (client) => client.query(`create database ${name}`));
  const url = databaseUrl(server.url, name);
  await withClient(url, prepare);
  return url;
}

/** A new user of the server: the same URL as him. */
async function asUser(url: string, name: string, options = ''): Promise<string> {
  await withClient(url, (client) =>
    client.query(`create role ${name} login password 'top secret' ${options}`),
  );
  const his = new URL(url);
  his.username = name;
  his.password = secret;
  return his.href;
}

/** Expects a run to fail with these lines and no other word: no stack, no secret. */
async function expectRefused(
  url: string,
  args: string[],
  lines: (string | RegExp)[],
  env: Record<string, string> = {},
): Promise<void> {
  const { code, stdout, stderr } = await cli.run(url, args, env);
  expect({ code, stdout, lines: stderr.split('\n') }).toEqual({
    code: 1,
    stdout: '',
    lines: [...lines.map((line) => (line instanceof RegExp ? expect.stringMatching(line) : line)), ''],
  });
  const { password } = URL.canParse(url) ? new URL(url) : { password: secret };
  for (const found of [secret, 'top secret', ...(password === '' ? [] : [password])]) {
    expect(stderr).not.toContain(found);
  }
}

const commands = [['migrate', 'up'], ['health'], ['partitions', 'list']];

describe.each(commands.map((args) => [args.join(' '), args] as const))('%s', (_, args) => {
  test.each([
    [
      'no URL',
      '',
      'DATABASE_URL is not set: it has to be postgres://user:password@host:5432/database (or set PGHOST and the like).',
    ],
    [
      'what is no URL',
      `user:${secret}@localhost/x`,
      'DATABASE_URL is not a URL: it has to be postgres://user:password@host:5432/database.',
    ],
    [
      'a password that is not encoded',
      `postgres://user:${secret}%ff@localhost/x`,
      'DATABASE_URL cannot be read: write what is special in its password as %…, @ as %40 and % as %25.',
    ],
    [
      'a host that there is not',
      `postgres://user:${secret}@crm-database.invalid/x`,
      "The database's host name is not known: check DATABASE_URL.",
    ],
    [
      'a port where nobody listens',
      `postgres://user:${secret}@127.0.0.1:1/x`,
      "Nothing answers at the database's address: check DATABASE_URL, and whether the server is up.",
    ],
    [
      'a socket that there is not',
      'postgres://user@%2Fno%2Fsuch%2Ffolder/x',
      "Nothing answers at the database's address: check DATABASE_URL, and whether the server is up.",
    ],
    [
      'a certificate that there is not',
      `postgres://user:${secret}@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/no/such/file`,
      'What DATABASE_URL names as sslrootcert, sslcert or sslkey has to be a file that can be read (ENOENT).',
    ],
    [
      'a key in place of its file',
      `postgres://user@127.0.0.1:1/x?sslmode=verify-full&sslkey=${secret}%0A`,
      'What DATABASE_URL names as sslrootcert, sslcert or sslkey has to be a file that can be read (ENOENT).',
    ],
    [
      'a file that can have no such name',
      `postgres://user@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=%00${secret}`,
      'What DATABASE_URL names as sslrootcert, sslcert or sslkey has to be a file that can be read (ERR_INVALID_ARG_VALUE).',
    ],
    [
      'a port that is none',
      `postgres://user:${secret}@127.0.0.1/x?port=abc`,
      'What DATABASE_URL has as one is not a port: it has to be a number from 1 to 65535.',
    ],
    [
      'a way of TLS that there is not',
      `postgres://user:${secret}@127.0.0.1:1/x?sslmode=bogus`,
      'The sslmode in DATABASE_URL has to be verify-full, or disable if the way there is safe.',
    ],
  ])('says what to do about %s', async (_, url, line) => {
    await expectRefused(url, args, [line]);
  });

  test('says what to do about a wrong password, none, and a database that there is not', async () => {
    const wrong = new URL(server.url);
    wrong.password = secret;
    await expectRefused(wrong.href, args, [
      'The database refuses the user or the password: check DATABASE_URL.',
    ]);
    wrong.password = '';
    await expectRefused(wrong.href, args, [
      'The database wants a password: add it to DATABASE_URL, or set PGPASSWORD.',
    ]);
    await expectRefused(databaseUrl(server.url, 'elsewhere'), args, [
      'There is no such database: check DATABASE_URL.',
    ]);
  });
});

describe('on the way to the server', () => {
  test('TLS that it does not speak', async () => {
    await expectRefused(
      `${server.url}?sslmode=require`,
      ['migrate', 'up'],
      [
        'The server does not speak TLS, which is asked for: take sslmode out of DATABASE_URL, if the way there is safe.',
      ],
    );
  });

  test.skipIf(noOpenssl)('TLS that it requires, with a certificate that nobody knows', async () => {
    const { server: strict, certificate, stop } = await startTlsServer();
    onTestFinished(stop);
    await expectRefused(
      strict.url,
      ['migrate', 'status'],
      [
        'The server wants TLS, or does not let this user in from here: add ?sslmode=verify-full to DATABASE_URL, or ask its administrator.',
      ],
    );
    const untrusted =
      "The server's certificate is not one that is trusted: name that of its authority in DATABASE_URL, sslrootcert=/path/to/ca.pem.";
    // pg takes it for verify-full, and would say so in many lines.
    for (const mode of ['require', 'verify-full']) {
      await expectRefused(`${strict.url}?sslmode=${mode}`, ['migrate', 'status'], [untrusted]);
    }
    const trusting = `${strict.url}?sslmode=verify-full&sslrootcert=${certificate}`;
    await expectRefused(
      `${trusting}&sslcert=${fileURLToPath(import.meta.url)}&sslkey=${certificate}`,
      ['migrate', 'status'],
      [
        'What DATABASE_URL names as sslcert or sslkey cannot be used: both have to be PEM, and belong together.',
      ],
    );
    expect(await cli.run(trusting, ['migrate', 'status'])).toMatchObject({ code: 0, stderr: '' });
  });

  test.skipIf(noPgBouncer)('a pooler, behind which others could migrate at the same time', async () => {
    const url = await database();
    const pooler = await startPgBouncer(url, 5);
    onTestFinished(() => pooler.stop());
    const line =
      'A pooler is between here and the database, where no lock keeps other migrators out: connect to the database itself.';
    await expectRefused(pooler.url, ['migrate', 'up'], [line]);
    await expectRefused(pooler.url, ['migrate', 'down', '--to', '0', '--allow-production'], [line]);
    // To look is safe.
    expect(await cli.run(pooler.url, ['migrate', 'status', '--check'])).toMatchObject({
      code: 3,
      stderr: '',
    });
    await expectRefused(
      pooler.url,
      ['migrate', 'up'],
      [
        'A pooler is between here and the database, and refuses a setting of the session: connect to the database itself.',
      ],
      { PGOPTIONS: '-c search_path=public' },
    );
  });

  test('a limit of connections', async () => {
    const url = await asUser(await database(), 'crowded', 'connection limit 1');
    // The second connection looks on, and does not come about.
    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        'The server takes no more connections: end some, or raise max_connections or the limit of the user or database.',
      ],
    );
  });
});

describe('a server that is', () => {
  test('starting up', async () => {
    const starting = await startReplica(false, createHostTables);
    onTestFinished(() => starting.stop());
    await expectRefused(
      starting.url,
      ['migrate', 'up'],
      ['The database is starting up or shutting down: try again in a moment.'],
    );
  });

  test('a replica', async () => {
    const replica = await startReplica(true, createHostTables);
    onTestFinished(() => replica.stop());
    await expectRefused(
      replica.url,
      ['migrate', 'up'],
      [
        '0001_prepare_host_tables failed: The database is read-only, perhaps a replica: connect to the primary.',
      ],
    );
    expect(await cli.run(replica.url, ['migrate', 'status'])).toMatchObject({ code: 0, stderr: '' });
  });

  test('set to read only', async () => {
    await expectRefused(
      await database(),
      ['migrate', 'up'],
      [
        '0001_prepare_host_tables failed: The database is read-only, perhaps a replica: connect to the primary.',
      ],
      { PGOPTIONS: '-c default_transaction_read_only=on' },
    );
  });

  test('of a version that is too old', async () => {
    // There is no such binary, so this one is asked to be newer than it is.
    const meddler = await startMeddler(await database(), (sent) =>
      sent.replace('::integer < 150000', '::integer < 990000'),
    );
    onTestFinished(() => meddler.stop());
    await expectRefused(
      meddler.url,
      ['migrate', 'up'],
      [
        /^0001_prepare_host_tables failed: this database does not fit the CRM schema: PostgreSQL [\d.]+ is too old, 15 is the oldest supported$/,
        /^Run these migrations in the database that holds both tables, /,
      ],
    );
  });

  test('full', async () => {
    // As the server says it when a file cannot grow.
    const url = await database(async (client) => {
      await createHostTables(client);
      await client.query(`
        create function run_full() returns event_trigger language plpgsql as $$
        begin
          raise exception using errcode = '53100', message = 'could not extend file "base/5/16384": No space left on device';
        end
        $$;
        create event trigger full_disk on ddl_command_end when tag in ('CREATE TABLE') execute function run_full()`);
    });
    await expectRefused(
      url,
      ['migrate', 'up'],
      ["0001_prepare_host_tables failed: The server's disk is full: make room there, and run it again."],
    );
  });

  test('gone in the middle, and what was done stays', async () => {
    const url = await database();
    const meddler = await startMeddler(url, (sent) =>
      sent.includes('create table crm_sync_log') ? null : sent,
    );
    onTestFinished(() => meddler.stop());
    const { code, stdout, stderr } = await cli.run(meddler.url, ['migrate', 'up']);
    expect({ code, stdout, lines: stderr.split('\n').slice(2) }).toEqual({
      code: 1,
      stdout: '',
      lines: [
        '0003_create_crm_sync_log failed: The connection to the database was lost. What was done stays; run it again for the rest.',
        '',
      ],
    });
    expect(await cli.run(url, ['migrate', 'up', '--to', '3'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Applied 1 migration in /),
    });
  });

  test('shut down in the middle', async () => {
    const other = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION);
    onTestFinished(() => other.stop());
    await withClient(other.url, createHostTables);
    expect(await cli.run(other.url, ['migrate', 'up', '--to', '5'])).toMatchObject({ code: 0 });
    const holder = new pg.Client({ connectionString: other.url });
    holder.on('error', () => {});
    await holder.connect();
    await holder.query('begin; lock table crm_connections in access share mode');
    const { ended } = cli.start(other.url, ['migrate', 'up']);
    const waiting = "select from pg_locks where locktype = 'relation' and not granted";
    while ((await holder.query(waiting)).rowCount === 0) await sleep(20);
    await other.stop();
    expect(await ended).toEqual({
      code: 1,
      stdout: '',
      stderr:
        '0006_add_sync_schedule failed: The connection to the database was lost. What was done stays; run it again for the rest.\n',
    });
  });
});

describe('a database', () => {
  test('without the host tables: says what is missing, and leaves nothing', async () => {
    const url = await database(async () => {});
    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        '0001_prepare_host_tables failed: this database does not fit the CRM schema: table contacts is missing; table organisations is missing',
        'Run these migrations in the database that holds both tables, with a search_path that finds them (now: public).',
      ],
    );
    await withClient(url, async (client) => {
      const { rows } = await client.query("select from pg_class where relnamespace = 'public'::regnamespace");
      expect(rows).toEqual([]);
    });
  });

  test('in which the user may not do enough: each message has the statement that helps', async () => {
    const owners = await database();
    const url = await asUser(owners, 'deploy');
    const run = (sql: string) => withClient(owners, (client) => client.query(sql));

    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        'User deploy may not create in schema public: as its owner, run: grant create on schema public to deploy;',
      ],
    );
    await run('grant create on schema public to deploy');
    const statements =
      'create role crm_app nologin; create role crm_worker nologin; create role crm_reader nologin;';
    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        `Missing are the roles crm_app, crm_worker, crm_reader, and user deploy may not create any: as a user with CREATEROLE, run: ${statements}`,
      ],
    );
    await run(statements);
    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        '0001_prepare_host_tables failed: this database does not fit the CRM schema: user deploy may not reference contacts (grant references on public.contacts to deploy); user deploy may not reference organisations (grant references on public.organisations to deploy)',
        /^Run these migrations in the database that holds both tables, /,
      ],
    );
    await run('grant references on contacts, organisations to deploy');
    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        '0001_prepare_host_tables failed: contacts needs a unique index on (organisation_id, id), and user deploy does not own the table',
        /^As its owner, run: create unique index concurrently .*;$/,
      ],
    );
    await run('create unique index concurrently on contacts (organisation_id, id)');
    expect(await cli.run(url, ['migrate', 'up'])).toMatchObject({ code: 0 });

    const stranger = await asUser(owners, 'stranger');
    await run('grant create on schema public to stranger');
    for (const command of ['up', 'status', 'plan']) {
      await expectRefused(
        stranger,
        ['migrate', command],
        [
          'User stranger may not read crm_schema_migrations: connect as its owner, who can also grant select on it.',
        ],
      );
    }
  });
});
