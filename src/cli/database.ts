import pg from 'pg';

/** The words of the environment that `pg` finds a server by; `psql` knows more. */
const variables = ['PGHOST', 'PGPORT', 'PGDATABASE', 'PGUSER'];

/**
 * Runs `work` with a connection to the database that the environment names, as a user who sees the rows of
 * all organisations.
 *
 * @throws Error, which does not show the URL, if there is none or it is not one, or if the user does not
 */
export function withDatabase<Result>(work: (client: pg.Client) => Promise<Result>): Promise<Result> {
  return withConnection(async (client) => {
    await checkSeesAll(client);
    return work(client);
  });
}

/**
 * Runs `work` with a connection to the database that the environment names, whoever the user is.
 *
 * @param limits in milliseconds, for the whole session; a pooler may refuse them
 * @throws Error, which does not show the URL, if there is none or it is not one
 */
export async function withConnection<Result>(
  work: (client: pg.Client) => Promise<Result>,
  limits: Pick<pg.ClientConfig, 'lock_timeout' | 'statement_timeout'> = {},
): Promise<Result> {
  const url = process.env.DATABASE_URL ?? '';
  if (url === '' && !variables.some((name) => process.env[name])) {
    throw new Error(
      'DATABASE_URL is not set: it has to be postgres://user:password@host:5432/database (or set PGHOST and the like).',
    );
  }
  // Ignored, they would lead to another database than psql.
  const ignored = ['PGSERVICE', 'PGHOSTADDR'].find((name) => process.env[name]);
  if (url === '' && ignored !== undefined) {
    throw new Error(`${ignored} is not understood here: set DATABASE_URL, or ${variables.join(', ')}.`);
  }
  if (url !== '' && !(/^postgres(ql)?:\/\//.test(url) && URL.canParse(url))) {
    throw new Error('DATABASE_URL is not a URL: it has to be postgres://user:password@host:5432/database.');
  }
  const port = Number(process.env.PGPORT ?? '5432');
  if (url === '' && !(Number.isInteger(port) && port >= 1 && port <= 65_535)) {
    throw new Error('PGPORT is not a port: it has to be a number from 1 to 65535.');
  }
  const client = newClient({
    ...(url === '' ? {} : { connectionString: checkedTls(url), application_name: 'crm-schema' }),
    connectionTimeoutMillis: 10_000,
    ...limits,
  });
  // The query that is under way says it, too; without a listener it would end the process.
  client.on('error', () => {});
  try {
    await client.connect();
    // Above it, a row that was changed meanwhile would fail a whole batch.
    const { rows } = await client.query('show default_transaction_isolation');
    if (rows[0].default_transaction_isolation !== 'read committed') {
      await client.query('set session characteristics as transaction isolation level read committed');
    }
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** `pg` reads the files that the URL names before anything is connected to. */
function newClient(config: pg.ClientConfig): pg.Client {
  try {
    return new pg.Client(config);
  } catch (error) {
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new Error(
      `A file that DATABASE_URL names, as sslrootcert, sslcert or sslkey, cannot be read: ${message}`,
    );
  }
}

/** `pg` takes these for `verify-full`, and has much to say about it. */
function checkedTls(url: string): string {
  return url.includes('uselibpqcompat')
    ? url
    : url.replace(/([?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/, '$1verify-full');
}

/** Row-level security hides rows without a word: what is shown must not look like all there is. */
async function checkSeesAll(client: pg.Client): Promise<void> {
  const { rows } = await client.query(
    `select
      row_security_active(to_regclass('crm_connections')::oid) as is_active,
      exists (
        select from pg_roles where rolname in ('crm_worker', 'crm_reader') and pg_has_role(oid, 'usage')
      ) as is_member`,
  );
  if (rows[0].is_active && !rows[0].is_member) {
    throw new Error(
      'The user does not see all organisations: connect as a member of crm_worker, or of crm_reader to look on.',
    );
  }
}
