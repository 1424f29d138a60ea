import { CrmSchemaError } from '../errors.js';

/** What a pipeline can tell apart. `unmet`: nothing failed, but something is not as it should be. */
export const exitCodes = { done: 0, failed: 1, usage: 2, unmet: 3 } as const;

/** What was asked about is not there, which is no failure: ends with the exit code `unmet`. */
export class Lacking extends Error {}

const lost = 'The connection to the database was lost. What was done stays; run it again for the rest.';

const outdated =
  'The schema is not there, or of an older version: run the migrations first, or name its schema in PGOPTIONS="-c search_path=…".';

/** What to do about the failures that are to be expected: by SQLSTATE, or by Node's code. */
const advice: Record<string, string> = {
  '28P01': 'The database refuses the user or the password: check DATABASE_URL.',
  '28000': 'The database refuses the user: check DATABASE_URL, and whether the server wants TLS.',
  '3D000': 'There is no such database: check DATABASE_URL.',
  // A table, a column or a function that there is not.
  '42P01': outdated,
  '42703': outdated,
  '42883': outdated,
  '42501':
    'The user may not do this: connect as a member of crm_worker, or of crm_reader to look at health and failures.',
  '25006': 'The database is read-only, perhaps a replica: connect to the primary.',
  ECONNREFUSED:
    "Nothing answers at the database's address: check DATABASE_URL, and whether the server is up.",
  ENOTFOUND: "The database's host name is not known: check DATABASE_URL.",
  ETIMEDOUT: 'The database does not answer in time: check DATABASE_URL and the network.',
  // Ended by an administrator, by the crash of another session, or by a shutdown.
  '57P01': lost,
  '57P02': lost,
  ECONNRESET: lost,
  EPIPE: lost,
  pooler:
    'A pooler is between here and the database, and refuses a setting of the session: connect to the database itself.',
  '57P03': 'The database is starting up or shutting down: try again in a moment.',
};

/** One line for people: what happened and what to do. Never a stack, never a secret. */
export function explain(error: unknown): string {
  if (error instanceof CrmSchemaError) return error.message;
  const { code, message } = error as { code?: string; message?: string };
  const known = advice[code ?? ''];
  if (known !== undefined) return known;
  const line = (message || String(error)).split('\n', 1).join('');
  // What pg says of it has no code.
  if (line === 'timeout expired') return advice.ETIMEDOUT as string;
  if (line.startsWith('Connection terminated')) return lost;
  if (line.startsWith('unsupported startup parameter')) return advice.pooler as string;
  return code === undefined || line.includes(code) ? line : `${line} (${code})`;
}
