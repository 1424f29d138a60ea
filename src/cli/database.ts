import type pg from 'pg';
import { isThroughPooler } from '../statements/dedicated-connection.js';
import { requiredSettings, setForSession } from '../statements/session-settings.js';

/** The environment variables by which `pg` finds a server; `psql` knows more. */
const serverVariables = ['PGHOST', 'PGPORT', 'PGDATABASE', 'PGUSER'];

const urlForm = 'postgres://user:password@host:5432/database';

const notAUrl = `DATABASE_URL is not a URL: it must be ${urlForm}.`;

const severalHosts = 'pg does not support several hosts: name only that of the primary.';

/**
 * Runs `work` with a connection to the database that the environment names, as a user who sees the rows of all
 * organisations.
 *
 * @throws Error, which never shows the URL, if there is none or it is invalid, or if the user does not see all rows
 */
export function withUnrestrictedConnection<Result>(
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  return withConnection(async (client) => {
    await checkSeesAllOrganisations(client);
    return work(client);
  });
}

/**
 * Runs `work` with two connections of any user: `watcher` finds out which sessions block `client`.
 *
 * @throws Error, which never shows the URL, if there is none or it is invalid
 */
export function withWatchedConnection<Result>(
  work: (client: pg.Client, watcher: pg.Client) => Promise<Result>,
): Promise<Result> {
  return withConnection((client) => withConnection((watcher) => work(client, watcher)));
}

/**
 * Runs `work` with a connection of any user to the database that the environment names.
 *
 * @throws Error, which never shows the URL, if there is none or it is invalid
 */
export async function withConnection<Result>(work: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const url = readDatabaseUrl();
  const client = await newClient({
    ...(url === '' ? {} : { connectionString: withVerifiedTls(url) }),
    fallback_application_name: 'crm-schema',
    connectionTimeoutMillis: 10_000,
  });
  // The running query fails with the same error; without a listener it would end the process.
  client.on('error', () => {});
  try {
    await client.connect();
    await setRequiredSettings(client);
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/**
 * Reads and checks `DATABASE_URL`.
 *
 * @returns an empty text if other variables name the server
 * @throws Error, which never shows the URL
 */
function readDatabaseUrl(): string {
  const url = process.env.DATABASE_URL ?? '';
  if (url === '' && !serverVariables.some((name) => process.env[name])) {
    throw new Error(`DATABASE_URL is not set: set it to ${urlForm}, or set PGHOST and the like.`);
  }
  // psql would follow these to another database.
  const unsupported = ['PGSERVICE', 'PGHOSTADDR'].find((name) => process.env[name]);
  if (url === '' && unsupported !== undefined) {
    throw new Error(`${unsupported} is not supported: set DATABASE_URL, or ${serverVariables.join(', ')}.`);
  }
  // pg takes any text for a URL. The other two forms are its own, for a socket.
  if (url !== '' && !/^(postgres(ql)?:\/\/|socket:|\/)/i.test(url)) throw new Error(notAUrl);
  checkParameters(url);
  return url;
}

/** @throws Error through a pooler, if anything has to be set: the pooler would pass it on to other clients */
async function setRequiredSettings(client: pg.Client): Promise<void> {
  const { rows } = await client.query(
    `select key as name, value as wanted, pg_catalog.current_setting(key) as current
     from pg_catalog.json_each_text($1::json)
     where not pg_catalog.starts_with(pg_catalog.current_setting(key), value)`,
    [JSON.stringify(requiredSettings)],
  );
  const [setting] = rows;
  if (setting === undefined) return;
  if (await isThroughPooler(client)) {
    throw new Error(
      `The user or database sets ${setting.name} to ${setting.current}, which crm-schema cannot change through a pooler: connect to the database directly.`,
    );
  }
  await setForSession(client, Object.fromEntries(rows.map(({ name, wanted }) => [name, wanted])));
}

/**
 * Makes a client. `pg` reads the files that the URL names here, before it connects.
 *
 * @throws Error that does not repeat the name of a file: someone may have given the key itself
 */
async function newClient(config: pg.ClientConfig): Promise<pg.Client> {
  // Loaded when needed: pg may not be installed, and help does not need it.
  const { Client } = (await import('pg')).default;
  let client: pg.Client;
  try {
    client = new Client(config);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ERR_INVALID_URL') {
      // It reads the second host as a part of the first one's port.
      throw new Error(
        /^\w+:\/\/([^/?#]*@)?[^/?#@]*,/.test(config.connectionString ?? '') ? severalHosts : notAUrl,
      );
    }
    if (!/^(E[A-Z]+|ERR_INVALID_ARG_VALUE)$/.test(code)) throw error;
    throw new Error(
      `A file that DATABASE_URL names as sslrootcert, sslcert or sslkey cannot be read (${code}): check its path and permissions.`,
    );
  }
  if (!client.host.startsWith('/') && client.host.includes(',')) throw new Error(severalHosts);
  if (!(Number.isInteger(client.port) && client.port >= 1 && client.port <= 65_535)) {
    const source = /^\d*$/.test(process.env.PGPORT ?? '') ? 'The port in DATABASE_URL' : 'PGPORT';
    throw new Error(`${source} is not a port: it must be a number from 1 to 65535.`);
  }
  return client;
}

/** Refuses parameters that other drivers understand, and `pg` ignores or takes for something else. */
function checkParameters(url: string): void {
  for (const [name, value] of new URLSearchParams(url.replace(/^[^?]*\??/, ''))) {
    if (/^(current_?schema|schema|(schema_)?search_?path)$/i.test(name)) {
      const option = encodeURIComponent(`-csearch_path=${value.replaceAll(/\s/g, '') || 'crm'}`);
      throw new Error(
        `pg ignores the parameter ${name} in DATABASE_URL: write options=${option} instead, which sets search_path.`,
      );
    }
    if (name === 'sslrootcert' && value === 'system') {
      throw new Error(
        "pg does not support sslrootcert=system in DATABASE_URL: write sslmode=verify-full alone, which trusts Node's certificate authorities, or name the file of the system's, such as sslrootcert=/etc/ssl/certs/ca-certificates.crt.",
      );
    }
  }
}

/** `pg` treats some modes as `verify-full`, with long warnings, and any unknown word as well. */
function withVerifiedTls(url: string): string {
  if (/[?&]sslmode=(?!(disable|allow|prefer|require|verify-ca|verify-full|no-verify)(&|$))/.test(url)) {
    throw new Error(
      'The sslmode in DATABASE_URL is unknown: it must be verify-full, or disable if the network is safe.',
    );
  }
  return url.includes('uselibpqcompat')
    ? url
    : url.replace(/([?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/, '$1verify-full');
}

/** Row-level security hides rows silently, and a partial answer must not look complete. */
async function checkSeesAllOrganisations(client: pg.Client): Promise<void> {
  const { rows } = await client.query(
    `select
      row_security_active(to_regclass('crm_connections')::oid) as is_active,
      exists (
        select from pg_roles where rolname in ('crm_worker', 'crm_reader') and pg_has_role(oid, 'usage')
      ) as is_member`,
  );
  if (rows[0].is_active && !rows[0].is_member) {
    throw new Error(
      'The user does not see all organisations: connect as a member of crm_worker, or of crm_reader for read-only access.',
    );
  }
}
