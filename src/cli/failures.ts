import { CrmSchemaError } from '../errors.js';

/** What a pipeline can tell apart. `unmet`: nothing failed, but something is not as it should be. */
export const exitCodes = { done: 0, failed: 1, usage: 2, unmet: 3 } as const;

/** What was asked about is not there, which is no failure: ends with the exit code `unmet`. */
export class Lacking extends Error {}

const timedOut =
  'The server ended the session by a timeout of its own: raise what it names, at least for this user. What was done stays.';

const lost = 'The connection to the database was lost. What was done stays; run it again for the rest.';

const outdated =
  'The schema is not there, or of an older version: run crm-schema migrate up first, or name its schema in PGOPTIONS="-c search_path=…".';

const untrusted =
  "The server's certificate is not one that is trusted: name that of its authority in DATABASE_URL, sslrootcert=/path/to/ca.pem.";

const refused =
  "Nothing answers at the database's address: check DATABASE_URL, and whether the server is up.";

const unknownHost = "The database's host name is not known: check DATABASE_URL.";

/** What to do about failures of the server, and on the way to it: by SQLSTATE, or by Node's code. */
const serverAdvice: Record<string, string> = {
  '28P01': 'The database refuses the user or the password: check DATABASE_URL.',
  '28000': 'The database refuses the user: check DATABASE_URL, and whether the server wants TLS.',
  '3D000': 'There is no such database: check DATABASE_URL.',
  '25006': 'The database is read-only, perhaps a replica: connect to the primary.',
  '55P03':
    'Somebody holds a lock that is in the way: see pg_locks for whom, and run it again when that has ended.',
  '53100': "The server's disk is full: make room there, and run it again.",
  '53200': 'The server is out of memory: see to that, and run it again.',
  '53300':
    'The server takes no more connections: end some, or raise max_connections or the limit of the user or database.',
  ECONNREFUSED: refused,
  EHOSTUNREACH: refused,
  ENETUNREACH: refused,
  ENOTFOUND: unknownHost,
  EAI_AGAIN: unknownHost,
  ETIMEDOUT: 'The database does not answer in time: check DATABASE_URL and the network.',
  // Ended by an administrator, by the crash of another session, or by a shutdown.
  '57P01': lost,
  '57P02': lost,
  // idle_in_transaction_session_timeout, transaction_timeout and idle_session_timeout.
  '25P03': timedOut,
  '25P04': timedOut,
  '57P05': timedOut,
  '57014':
    'A statement was cancelled, or took longer than statement_timeout lets it: run it again, best in a quiet hour.',
  '40P01': 'Another session was in the way, and each waited for the other: run it again.',
  ECONNRESET: lost,
  EPIPE: lost,
  '57P03': 'The database is starting up or shutting down: try again in a moment.',
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  CERT_HAS_EXPIRED: "The server's certificate has expired: its administrator has to renew it.",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "The server's certificate is for another host name: check the host in DATABASE_URL.",
};

/** What to do where a command does not find what it expects in the database. */
const schemaAdvice: Record<string, string> = {
  // A table, a column or a function that there is not.
  '42P01': outdated,
  '42703': outdated,
  '42883': outdated,
  '42501':
    'The user may not do this: connect as a member of crm_worker, or of crm_reader to look at health and failures.',
};

/** What has no code of its own, by how its message begins; or, among those of one code, by what it has in it. */
const words: readonly (readonly [RegExp, string])[] = [
  [
    /no encryption$/,
    'The server wants TLS, or does not let this user in from here: add ?sslmode=verify-full to DATABASE_URL, or ask its administrator.',
  ],
  [
    /^The server does not support SSL/,
    'The server does not speak TLS, which is asked for: take sslmode out of DATABASE_URL, if the way there is safe.',
  ],
  [/^SASL: .*password must be/, 'The database wants a password: add it to DATABASE_URL, or set PGPASSWORD.'],
  [
    /^URI malformed$/,
    'DATABASE_URL cannot be read: write what is special in its password as %…, @ as %40 and % as %25.',
  ],
  [
    /^error:[0-9A-F]+:(PEM|asn1 encoding|x509 certificate) routines/,
    'What DATABASE_URL names as sslcert or sslkey cannot be used: both have to be PEM, and belong together.',
  ],
  // By way of a socket in a folder.
  [/^connect (ENOENT|EACCES)/, refused],
  [/^timeout expired$/, serverAdvice.ETIMEDOUT as string],
  [/^Connection terminated|^Client has encountered a connection error/, lost],
  [
    /^unsupported startup parameter/,
    'A pooler is between here and the database, and refuses a setting of the session: connect to the database itself.',
  ],
];

/**
 * For people: what happened and what to do, in a line; a migration's own hint is another. Never a stack,
 * never a secret.
 */
export function explain(error: unknown): string {
  if (!(error instanceof CrmSchemaError)) return explained(error, { ...serverAdvice, ...schemaAdvice });
  const { message, code, cause } = error;
  // The library's own words are for programs that call it as one role or another.
  if (code === 'not_permitted') return schemaAdvice['42501'] as string;
  if (code !== 'migration_failed') return message;
  return message.replace((cause as Error).message, () => explained(cause, serverAdvice));
}

function explained(error: unknown, advice: Record<string, string>): string {
  const { code = '', message, hint } = error as { code?: string; message?: string; hint?: string };
  const line = (message || String(error)).split('\n', 1).join('');
  const known = words.find(([pattern]) => pattern.test(line))?.[1] ?? advice[code];
  if (known !== undefined) return known;
  if (code === '42501') return `${line}: connect as the owner of the tables.`;
  // These are of our migrations and functions.
  if (code.startsWith('CRM')) return [line, hint].filter(Boolean).join('\n');
  return line.includes(code) ? line : `${line} (${code})`;
}
