import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createHostTables, databaseUrl, withClient } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { noPgBouncer, startPgBouncer } from '../poolers/pgbouncer.js';
import { useBuiltCli } from './migrations.js';
import { noOpenssl, startMeddler, startPooler, startReplica, startTlsServer } from './servers.js';

const cli = useBuiltCli();
const secret = 'top%20secret';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION);
});
afterAll(() => server.stop());

/** Creates a database with the host tables. It stays until the server is stopped. */
async function database(
  prepare: (client: pg.Client) => Promise<unknown> = createHostTables,
): Promise<string> {
  const name = `test_${randomBytes(4).toString('hex')}`;
  await withClient(server.url, (client) => client.query(`create database ${name}`));
  const url = databaseUrl(server.url, name);
  await withClient(url, prepare);
  return url;
}

/** Creates a user, and returns the same URL for that user. */
async function asUser(url: string, name: string, options = ''): Promise<string> {
  await withClient(url, (client) =>
    client.query(`create role ${name} login password 'top secret' ${options}`),
  );
  const userUrl = new URL(url);
  userUrl.username = name;
  userUrl.password = secret;
  return userUrl.href;
}

/** Expects a run to fail with exactly these lines: no stack, no secret. */
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
  test.each<[string, string, string]>([
    [
      'no URL',
      '',
      'DATABASE_URL is not set: set it to postgres://user:password@host:5432/database, or set PGHOST and the like.',
    ],
    [
      'a value that is not a URL',
      `user:${secret}@localhost/x`,
      'DATABASE_URL is not a URL: it must be postgres://user:password@host:5432/database.',
    ],
    [
      'a password that is not encoded',
      `postgres://user:${secret}%ff@localhost/x`,
      'DATABASE_URL cannot be parsed: percent-encode special characters in its password, @ as %40 and % as %25.',
    ],
    [
      'an unknown host',
      `postgres://user:${secret}@crm-database.invalid/x`,
      'The host name of the database is unknown: check DATABASE_URL.',
    ],
    [
      'a port on which nothing listens',
      `postgres://user:${secret}@127.0.0.1:1/x`,
      'Nothing answers at the address of the database: check DATABASE_URL, and that the server is running.',
    ],
    [
      'a socket that does not exist',
      'postgres://user@%2Fno%2Fsuch%2Ffolder/x',
      'Nothing answers at the address of the database: check DATABASE_URL, and that the server is running.',
    ],
    [
      'a certificate file that does not exist',
      `postgres://user:${secret}@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/no/such/file`,
      'A file that DATABASE_URL names as sslrootcert, sslcert or sslkey cannot be read (ENOENT): check its path and permissions.',
    ],
    [
      'a key in place of the name of its file',
      `postgres://user@127.0.0.1:1/x?sslmode=verify-full&sslkey=${secret}%0A`,
      'A file that DATABASE_URL names as sslrootcert, sslcert or sslkey cannot be read (ENOENT): check its path and permissions.',
    ],
    [
      'an impossible file name',
      `postgres://user@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=%00${secret}`,
      'A file that DATABASE_URL names as sslrootcert, sslcert or sslkey cannot be read (ERR_INVALID_ARG_VALUE): check its path and permissions.',
    ],
    [
      'an invalid port',
      `postgres://user:${secret}@127.0.0.1/x?port=abc`,
      'The port in DATABASE_URL is not a port: it must be a number from 1 to 65535.',
    ],
    [
      'several hosts with ports',
      `postgres://user:${secret}@one:5432,two:5432/x`,
      'pg does not support several hosts: name only that of the primary.',
    ],
    [
      'several hosts',
      `postgres://user:${secret}@one,two/x`,
      'pg does not support several hosts: name only that of the primary.',
    ],
    [
      'several hosts in a parameter',
      `postgres://user:${secret}@/x?host=one,two`,
      'pg does not support several hosts: name only that of the primary.',
    ],
    [
      'a port that is no number',
      `postgres://user:${secret}@one:port/x`,
      'DATABASE_URL is not a URL: it must be postgres://user:password@host:5432/database.',
    ],
    ...['schema', 'currentSchema', 'search_path', 'searchPath'].map(
      (name) =>
        [
          `?${name}=`,
          `postgres://user:${secret}@127.0.0.1:1/x?sslmode=disable&${name}=crm`,
          `pg ignores the parameter ${name} in DATABASE_URL: write options=-csearch_path%3Dcrm instead, which sets search_path.`,
        ] satisfies [string, string, string],
    ),
    [
      'two schemas',
      `postgres://user:${secret}@127.0.0.1:1/x?currentSchema=crm,%20public`,
      'pg ignores the parameter currentSchema in DATABASE_URL: write options=-csearch_path%3Dcrm%2Cpublic instead, which sets search_path.',
    ],
    [
      'sslrootcert=system',
      `postgres://user:${secret}@127.0.0.1:1/x?sslrootcert=system`,
      "pg does not support sslrootcert=system in DATABASE_URL: write sslmode=verify-full alone, which trusts Node's certificate authorities, or name the file of the system's, such as sslrootcert=/etc/ssl/certs/ca-certificates.crt.",
    ],
    [
      'an unknown sslmode',
      `postgres://user:${secret}@127.0.0.1:1/x?sslmode=bogus`,
      'The sslmode in DATABASE_URL is unknown: it must be verify-full, or disable if the network is safe.',
    ],
  ])('explains %s', async (_, url, line) => {
    await expectRefused(url, args, [line]);
  });

  test('explains a wrong password, no password, and a database that does not exist', async () => {
    const wrong = new URL(server.url);
    wrong.password = secret;
    await expectRefused(wrong.href, args, [
      'The database refused the user or the password: check DATABASE_URL.',
    ]);
    wrong.password = '';
    await expectRefused(wrong.href, args, [
      'The database requires a password: add it to DATABASE_URL, or set PGPASSWORD.',
    ]);
    await expectRefused(databaseUrl(server.url, 'elsewhere'), args, [
      'The database does not exist: check DATABASE_URL.',
    ]);
  });
});

test('a URL is accepted as pg accepts it: without a host, and with a socket', async () => {
  const url = await database();
  const { username, password, port, hostname, pathname } = new URL(url);
  const env = { PGPASSWORD: decodeURIComponent(password) };
  // A server under test may have no socket: this one leads to its port.
  const socketFolder = await mkdtemp(join(tmpdir(), 'crm-schema-socket-'));
  const socket = createServer((from) => {
    const to = connect(Number(port), hostname);
    for (const end of [from, to]) end.on('error', () => {});
    from.pipe(to).pipe(from);
  }).listen(join(socketFolder, `.s.PGSQL.${port}`));
  await once(socket, 'listening');
  onTestFinished(async () => {
    socket.close();
    await rm(socketFolder, { recursive: true });
  });
  const user = `${username}@`;
  const onTcp = { ...env, PGHOST: hostname, PGPORT: port };
  const forms: [string, Record<string, string>][] = [
    [`postgres://${user}${pathname}`, onTcp],
    [`postgresql://@${pathname}`, { ...onTcp, PGUSER: username }],
    [`postgresql://${pathname}`, { ...onTcp, PGUSER: username }],
    [`postgres://${user}${pathname}?host=${hostname}&port=${port}`, env],
    [`Postgres://${user}${hostname}:${port}${pathname}`, env],
    [`postgres://${user}${pathname}?host=${socketFolder}&port=${port}`, env],
    [`postgres://${user}${encodeURIComponent(socketFolder)}:${port}${pathname}`, env],
  ];
  for (const [form, variables] of forms) {
    expect(await cli.run(form, ['migrate', 'status'], variables), form).toMatchObject({
      code: 0,
      stderr: '',
    });
  }
  const inSchema = `${url}?options=-csearch_path%3Dcrm`;
  await withClient(url, (client) => client.query('create schema crm'));
  expect((await cli.run(inSchema, ['migrate', 'status'])).stdout).toContain('Schema crm,');
});

describe('migrate explains a connection problem:', () => {
  test('a server that does not support TLS', async () => {
    await expectRefused(
      `${server.url}?sslmode=require`,
      ['migrate', 'up'],
      [
        'The server does not support TLS, but DATABASE_URL asks for it: remove sslmode if the network is safe.',
      ],
    );
  });

  test.skipIf(noOpenssl)('a server that requires TLS, with an untrusted certificate', async () => {
    const { server: strict, certificate, stop } = await startTlsServer();
    onTestFinished(stop);
    await expectRefused(
      strict.url,
      ['migrate', 'status'],
      [
        'The server requires TLS, or does not accept this user from here: add ?sslmode=verify-full to DATABASE_URL, or ask its administrator.',
      ],
    );
    const untrusted =
      "The server's certificate is not trusted: name its certificate authority in DATABASE_URL, sslrootcert=/path/to/ca.pem.";
    // pg treats it as verify-full, and would print a long warning.
    for (const mode of ['require', 'verify-full']) {
      await expectRefused(`${strict.url}?sslmode=${mode}`, ['migrate', 'status'], [untrusted]);
    }
    const trusting = `${strict.url}?sslmode=verify-full&sslrootcert=${certificate}`;
    await expectRefused(
      `${trusting}&sslcert=${fileURLToPath(import.meta.url)}&sslkey=${certificate}`,
      ['migrate', 'status'],
      ['sslcert or sslkey in DATABASE_URL cannot be used: both files must be PEM, and belong together.'],
    );
    expect(await cli.run(trusting, ['migrate', 'status'])).toMatchObject({ code: 0, stderr: '' });
  });

  test.skipIf(noPgBouncer)('a pooler, through which others could migrate at the same time', async () => {
    const url = await database();
    const pooler = await startPgBouncer({ connections: 5, users: [url] });
    const through = pooler.through(url);
    onTestFinished(() => pooler.stop());
    const line =
      'Poolers are not supported here, and this connection goes through one: through it, the migration lock would not keep other migrators out. Connect to the database directly.';
    await expectRefused(through, ['migrate', 'up'], [line]);
    await expectRefused(through, ['migrate', 'down', '--to', '0', '--allow-production'], [line]);
    // Reading is safe.
    expect(await cli.run(through, ['migrate', 'status', '--check'])).toMatchObject({
      code: 3,
      stderr: '',
    });
    await expectRefused(
      through,
      ['migrate', 'up'],
      [
        'Poolers are not supported here, and this connection goes through one, which refused a setting of the session: connect to the database directly.',
      ],
      { PGOPTIONS: '-c statement_timeout=5s' },
    );
  });

  test('a connection limit', async () => {
    const url = await asUser(await database(), 'crowded', 'connection limit 1');
    // The second connection, which looks for blocking sessions, is refused.
    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        'The server has no connections left: close some, or raise max_connections or the connection limit of the user or database.',
      ],
    );
  });
});

describe('migrate up explains a server that is', () => {
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

  test('too old', async () => {
    // There is no such binary, so this server is asked to be newer than it is.
    const meddler = await startMeddler(await database(), (sent) =>
      sent.replace('::integer < 150000', '::integer < 990000'),
    );
    onTestFinished(() => meddler.stop());
    await expectRefused(
      meddler.url,
      ['migrate', 'up'],
      [
        /^0001_prepare_host_tables failed: this database does not fit the CRM schema: PostgreSQL \d.* is too old, 15 is the oldest supported$/,
        /^Run these migrations in the database that holds both tables, /,
      ],
    );
  });

  test('out of disk space', async () => {
    // The server's error when a file cannot grow.
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
      [
        "0001_prepare_host_tables failed: The server's disk is full: free some space, and run the command again.",
      ],
    );
  });

  test('gone in the middle, and keeps earlier migrations', async () => {
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
        '0003_create_crm_sync_log failed: The connection to the database was lost. Committed work is kept: run the command again for the rest.',
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
        '0006_add_sync_schedule failed: The connection to the database was lost. Committed work is kept: run the command again for the rest.\n',
    });
  });
});

describe('migrate up in a database', () => {
  test('without the host tables says what is missing, and leaves nothing behind', async () => {
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

  test('in which the user lacks privileges names the statement that grants each', async () => {
    const owners = await database();
    const url = await asUser(owners, 'deploy');
    const run = (sql: string) => withClient(owners, (client) => client.query(sql));

    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        "User deploy may not create objects in schema public. As the schema's owner, run: grant create on schema public to deploy;",
      ],
    );
    await run('grant create on schema public to deploy');
    const statements =
      'create role crm_app nologin; create role crm_worker nologin; create role crm_reader nologin;';
    await expectRefused(
      url,
      ['migrate', 'up'],
      [
        `The roles crm_app, crm_worker, crm_reader are missing, and user deploy may not create roles. As a user with CREATEROLE, run: ${statements}`,
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
          'User stranger may not read crm_schema_migrations: connect as its owner, or have the owner grant select on it.',
        ],
      );
    }
  });
});

// Last, because it creates the roles that other tests expect to be missing.
test('commands that change anything refuse a pooler that announces its own process', async () => {
  const url = await database();
  expect(await cli.run(url, ['migrate', 'up'])).toMatchObject({ code: 0 });
  const pooler = await startPooler(url);
  onTestFinished(() => pooler.stop());
  const refusal = /^Poolers are not supported here, and this connection goes through one: /;
  for (const args of [
    ['migrate', 'up'],
    ['partitions', 'ensure'],
    ['partitions', 'drop'],
    ['partitions', 'drop', '--dry-run'],
  ]) {
    await expectRefused(pooler.url, args, [refusal]);
  }
  const reading = [['migrate', 'status', '--check'], ['partitions', 'list'], ['health'], ['verify']];
  for (const args of reading) {
    expect(await cli.run(pooler.url, args), args.join(' ')).toMatchObject({ code: 0, stderr: '' });
  }
  // To set it would reach other clients.
  await withClient(url, (client) =>
    client.query(`alter database ${new URL(url).pathname.slice(1)} set datestyle = 'German'`),
  );
  for (const args of reading) {
    await expectRefused(pooler.url, args, [
      'The user or database sets datestyle to German, DMY, which crm-schema cannot change through a pooler: connect to the database directly.',
    ]);
    expect(await cli.run(url, args), args.join(' ')).toMatchObject({ code: 0, stderr: '' });
  }
});
