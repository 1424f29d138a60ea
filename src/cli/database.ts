import pg from 'pg';

/** The words of the environment that `pg`, like `psql`, finds a server by. */
const variables = ['PGHOST', 'PGHOSTADDR', 'PGDATABASE', 'PGUSER', 'PGSERVICE'];

/**
 * Runs `work` with a connection to the database that the environment names.
 *
 * @throws Error, which does not show the URL, if there is none or it is not one
 */
export async function withDatabase<Result>(work: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const url = process.env.DATABASE_URL ?? '';
  if (url === '' && !variables.some((name) => process.env[name])) {
    throw new Error('DATABASE_URL is not set: it has to be postgres://user:password@host:5432/database.');
  }
  if (url !== '' && !(/^postgres(ql)?:\/\//.test(url) && URL.canParse(url))) {
    throw new Error('DATABASE_URL is not a URL: it has to be postgres://user:password@host:5432/database.');
  }
  const client = new pg.Client(url === '' ? {} : { connectionString: url, application_name: 'crm-schema' });
  // The query that is under way says it, too; without a listener it would end the process.
  client.on('error', () => {});
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}
