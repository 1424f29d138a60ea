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
  const client = newClient({
    ...(url === '' ? {} : { connectionString: checkedTls(url) }),
    fallback_application_name: 'crm-schema',
    connectionTimeoutMillis: 10_000,
    ...limits,
  });
  // The query that is under way says it, too; without a listener it would end the process.
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query(settings);
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/**
 * What users or databases have otherwise: above read committed, a row that was changed meanwhile would fail a whole
 * batch; times are read as ISO; and the rest is what the SQL of this package is written for. Only what differs is
 * set, for a pooler may give the session to others.
 */
const settings = `
  select pg_catalog.set_config(name, wanted, false)
  from (
    values
      ('default_transaction_isolation'::text, 'read committed'::text),
      ('datestyle', 'ISO'),
      ('standard_conforming_strings', 'on'),
      ('quote_all_identifiers', 'off'),
      ('row_security', 'on')
  ) as settings (name, wanted)
  where not pg_catalog.starts_with(pg_catalog.current_setting(name), wanted)`;

/**
 * A client, for which `pg` reads the files that the URL names before anything is connected to.
 *
 * @throws Error that does not say what is named: it may be a key in place of its file
 */
function newClient(config: pg.ClientConfig): pg.Client {
  let client: pg.Client;
  try {
    client = new pg.Client(config);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!/^(E[A-Z]+|ERR_INVALID_ARG_VALUE)$/.test(code)) throw error;
    throw new Error(
      `What DATABASE_URL names as sslrootcert, sslcert or sslkey has to be a file that can be read (${code}).`,
    );
  }
  if (!(Number.isInteger(client.port) && client.port >= 1 && client.port <= 65_535)) {
    const place = /^\d*$/.test(process.env.PGPORT ?? '') ? 'What DATABASE_URL has as one' : 'PGPORT';
    throw new Error(`${place} is not a port: it has to be a number from 1 to 65535.`);
  }
  return client;
}

/** `pg` takes these for `verify-full`, and has much to say about it; and so any other word. */
function checkedTls(url: string): string {
  if (/[?&]sslmode=(?!(disable|allow|prefer|require|verify-ca|verify-full|no-verify)(&|$))/.test(url)) {
    throw new Error(
      'The sslmode in DATABASE_URL has to be verify-full, or disable if the way there is safe.',
    );
  }
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
