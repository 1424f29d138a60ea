import { CrmSchemaError } from '../errors.js';
import { sqlStates } from '../statements/sqlstates.js';

const sessionTimedOut =
  'The server ended the session because of a timeout: raise idle_in_transaction_session_timeout, transaction_timeout or idle_session_timeout, at least for this user. Committed work is kept.';

const connectionLost =
  'The connection to the database was lost. Committed work is kept: run the command again for the rest.';

const schemaOutdated =
  'The schema is missing or of an older version: run crm-schema migrate up first, or name its schema in PGOPTIONS="-c search_path=…".';

const certificateUntrusted =
  "The server's certificate is not trusted: name its certificate authority in DATABASE_URL, sslrootcert=/path/to/ca.pem.";

const nothingAnswers =
  'Nothing answers at the address of the database: check DATABASE_URL, and that the server is running.';

const hostUnknown = 'The host name of the database is unknown: check DATABASE_URL.';

/** Advice about errors of the server and of the network, by SQLSTATE or by Node's code. */
const serverAdvice: Record<string, string> = {
  [sqlStates.invalidPassword]: 'The database refused the user or the password: check DATABASE_URL.',
  [sqlStates.invalidAuthorizationSpecification]:
    'The database refused the user: check DATABASE_URL, and whether the server requires TLS.',
  [sqlStates.invalidCatalogName]: 'The database does not exist: check DATABASE_URL.',
  [sqlStates.readOnlySqlTransaction]: 'The database is read-only, perhaps a replica: connect to the primary.',
  [sqlStates.lockNotAvailable]:
    'Another session holds a lock that this command needs: find it in pg_locks, and run the command again when its transaction has ended.',
  [sqlStates.diskFull]: "The server's disk is full: free some space, and run the command again.",
  [sqlStates.outOfMemory]: 'The server is out of memory: free some, and run the command again.',
  [sqlStates.tooManyConnections]:
    'The server has no connections left: close some, or raise max_connections or the connection limit of the user or database.',
  ECONNREFUSED: nothingAnswers,
  EHOSTUNREACH: nothingAnswers,
  ENETUNREACH: nothingAnswers,
  ENOTFOUND: hostUnknown,
  EAI_AGAIN: hostUnknown,
  ETIMEDOUT: 'The database did not answer in time: check DATABASE_URL and the network.',
  // Terminated by an administrator, by the crash of another session, or by a shutdown.
  [sqlStates.adminShutdown]: connectionLost,
  [sqlStates.crashShutdown]: connectionLost,
  [sqlStates.idleInTransactionSessionTimeout]: sessionTimedOut,
  [sqlStates.transactionTimeout]: sessionTimedOut,
  [sqlStates.idleSessionTimeout]: sessionTimedOut,
  [sqlStates.queryCanceled]:
    'A statement was cancelled, or took longer than statement_timeout allows: run the command again, best when the database is quiet.',
  [sqlStates.deadlockDetected]: 'This command and another session were deadlocked: run the command again.',
  ECONNRESET: connectionLost,
  EPIPE: connectionLost,
  [sqlStates.cannotConnectNow]: 'The database is starting up or shutting down: try again in a moment.',
  DEPTH_ZERO_SELF_SIGNED_CERT: certificateUntrusted,
  SELF_SIGNED_CERT_IN_CHAIN: certificateUntrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: certificateUntrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: certificateUntrusted,
  CERT_HAS_EXPIRED: "The server's certificate has expired: ask its administrator to renew it.",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "The server's certificate is for another host name: check the host in DATABASE_URL.",
};

/** Advice where a command does not find what it expects in the database. */
const schemaAdvice: Record<string, string> = {
  [sqlStates.undefinedTable]: schemaOutdated,
  [sqlStates.undefinedColumn]: schemaOutdated,
  [sqlStates.undefinedFunction]: schemaOutdated,
  [sqlStates.insufficientPrivilege]:
    'The user may not do this: connect as a member of crm_worker, or of crm_reader to view health and failures. If the user already is, the schema may be older than this version: run crm-schema migrate status as the owner.',
};

/** Advice about errors without a code of their own, by their message. */
const messageAdvice: readonly (readonly [RegExp, string])[] = [
  // In the words of Node, Bun, Deno and Yarn Plug'n'Play.
  [
    /^(Cannot|Could not) find (package|module) 'pg'|tried to access pg \(a peer dependency\)/,
    'The package pg is not installed beside this one: npm install pg',
  ],
  [
    /^(Cannot|Could not) find (package|module) '/,
    'A dependency of this package is not installed: reinstall the package, with its dependencies.',
  ],
  [
    /no encryption$/,
    'The server requires TLS, or does not accept this user from here: add ?sslmode=verify-full to DATABASE_URL, or ask its administrator.',
  ],
  [
    /^The server does not support SSL/,
    'The server does not support TLS, but DATABASE_URL asks for it: remove sslmode if the network is safe.',
  ],
  [
    /^SASL: .*password must be/,
    'The database requires a password: add it to DATABASE_URL, or set PGPASSWORD.',
  ],
  [
    /^URI malformed$/,
    'DATABASE_URL cannot be parsed: percent-encode special characters in its password, @ as %40 and % as %25.',
  ],
  [
    /^error:[0-9A-F]+:(PEM|asn1 encoding|x509 certificate) routines/,
    'sslcert or sslkey in DATABASE_URL cannot be used: both files must be PEM, and belong together.',
  ],
  // A Unix-domain socket.
  [/^connect (ENOENT|EACCES)/, nothingAnswers],
  [/^timeout expired$/, serverAdvice.ETIMEDOUT as string],
  [/^Connection terminated|^Client has encountered a connection error/, connectionLost],
  [
    /^unsupported startup parameter/,
    'Poolers are not supported here, and this connection goes through one, which refused a setting of the session: connect to the database directly.',
  ],
];

/**
 * Explains an error to people in one line: what happened, then what to do. The hint of one of our migrations is a
 * second line. Never a stack, never a secret.
 */
export function explainError(error: unknown): string {
  if (!(error instanceof CrmSchemaError)) return explainByCode(error, { ...serverAdvice, ...schemaAdvice });
  const { message, code, cause } = error;
  // Where the server refused, the library's words are for programs.
  if (code === 'not_permitted' && cause !== undefined)
    return schemaAdvice[sqlStates.insufficientPrivilege] as string;
  if (code === 'schema_not_found' && cause !== undefined) return schemaOutdated;
  if (code !== 'migration_failed') return message;
  return message.replace((cause as Error).message, () => explainByCode(cause, serverAdvice));
}

function explainByCode(error: unknown, adviceByCode: Record<string, string>): string {
  const { code = '', message, hint } = error as { code?: string; message?: string; hint?: string };
  const line = (message || String(error)).split('\n', 1).join('');
  const advice = messageAdvice.find(([pattern]) => pattern.test(line))?.[1] ?? adviceByCode[code];
  if (advice !== undefined) return advice;
  if (code === sqlStates.insufficientPrivilege) return `${line}: connect as the owner of the tables.`;
  // Raised by our migrations and functions.
  if (code.startsWith('CRM')) return [line, hint].filter(Boolean).join('\n');
  return line.includes(code) ? line : `${line} (${code})`;
}
