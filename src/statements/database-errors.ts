import { CrmSchemaError, type CrmSchemaErrorCode } from '../errors.js';
import { sqlStates } from './sqlstates.js';

/** The error for a violation of each constraint. A CHECK constraint that is not listed is `invalid_input`. */
const constraintCodes: Record<string, readonly [CrmSchemaErrorCode, string]> = {
  crm_connections_pkey: ['connection_exists', 'A connection with this id already exists.'],
  crm_sync_runs_pkey: behindTable('crm_sync_runs_id_seq'),
  crm_sync_failures_id_key: behindTable('crm_sync_failures_id_seq'),
  contact_external_id_changes_pkey: behindTable('contact_external_id_changes_id_seq'),
  crm_erasures_pkey: behindTable('crm_erasures_id_seq'),
  crm_connections_organisation_id_fkey: ['unknown_organisation', 'The organisation does not exist.'],
  crm_connections_organisation_id_provider_live_key: [
    'live_connection_exists',
    'The organisation already has a live connection to this CRM. Disconnect it first.',
  ],
  crm_connections_provider_check: ['unknown_provider', 'The provider is not supported.'],
  crm_connections_credentials_is_jwe_check: [
    'malformed_credentials',
    'Credentials must be a JWE in flattened JSON serialisation, with exactly the required members.',
  ],
  crm_connections_credentials_bound_to_row_check: [
    'credentials_bound_elsewhere',
    'The credentials were encrypted for another organisation, connection or provider.',
  ],
  crm_sync_runs_connection_id_fkey: ['wrong_tenant', 'The organisation has no such connection.'],
  crm_sync_cursors_connection_id_fkey: ['wrong_tenant', 'The organisation has no such connection.'],
  crm_sync_failures_connection_id_fkey: ['wrong_tenant', 'The organisation has no such connection.'],
  crm_outbound_changes_connection_id_fkey: ['wrong_tenant', 'The organisation has no such connection.'],
  crm_outbound_changes_contact_id_fkey: ['wrong_tenant', 'The organisation has no such contact.'],
  crm_sync_log_connection_id_fkey: ['wrong_tenant', 'The organisation has no such connection.'],
  contact_external_ids_contact_id_fkey: ['wrong_tenant', 'The organisation has no such contact.'],
  contact_external_ids_pkey: ['external_id_taken', 'The external id is already mapped.'],
  contact_external_ids_contact_id_provider_key: [
    'contact_taken',
    'The contact has another external id at this provider.',
  ],
  contact_external_ids_provider_check: ['unknown_provider', 'The provider is not supported.'],
  contact_external_id_aliases_contact_id_fkey: ['wrong_tenant', 'The organisation has no such contact.'],
  contact_external_id_aliases_pkey: ['external_id_taken', 'The external id is already mapped.'],
  contact_external_id_aliases_provider_check: ['unknown_provider', 'The provider is not supported.'],
};

/** The error for a number that is taken. */
function behindTable(sequence: string): readonly [CrmSchemaErrorCode, string] {
  return [
    'invalid_input',
    `The sequence ${sequence} is behind its table, as after a restore: crm-schema verify, run as the owner, prints how to set it.`,
  ];
}

const integrityViolation = /^23/;
const unstorableText: ReadonlySet<string> = new Set([
  sqlStates.characterNotInRepertoire,
  sqlStates.untranslatableCharacter,
]);
const missingObject: ReadonlySet<string> = new Set([
  sqlStates.undefinedTable,
  sqlStates.undefinedColumn,
  sqlStates.undefinedFunction,
  sqlStates.invalidSchemaName,
]);

/** The server function that enforces policies. Unlike the message, its name is never translated. */
const policyRoutine = 'ExecWithCheckOptions';

/** An error of the server: the fields of `pg`'s `DatabaseError` that this package reads. */
export interface ServerError extends Error {
  code: string;
  hint?: string;
  constraint?: string;
  table?: string;
  column?: string;
  /** The functions in which the error was raised; undefined if the statement itself was refused. */
  where?: string;
  routine?: string;
}

function isServerError(error: unknown): error is ServerError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}

/**
 * Returns the typed error for a broken rule of this schema, a missing privilege or a missing schema, and any
 * other error unchanged.
 *
 * @param error what a statement of this package threw
 */
export function fromServerError(error: unknown): unknown {
  if (!isServerError(error)) return error;
  if (unstorableText.has(error.code)) {
    return new CrmSchemaError('invalid_input', 'Text must not contain NUL or invalid UTF-8.', {
      cause: safeCause(error),
    });
  }
  if (error.code === sqlStates.organisationNotSet || isPolicyViolation(error)) {
    return new CrmSchemaError(
      'organisation_not_set',
      `The database refused the statement: ${error.message}. Run it in withOrganisation, on the client that it passes, for the organisation of the call; in a transaction of your own or of an ORM, call organisationSet on its client first.`,
      { cause: safeCause(error) },
    );
  }
  if (error.code === sqlStates.accountUnknown) {
    return new CrmSchemaError(
      'account_unknown',
      "The organisation has external ids at this CRM whose account is unknown. Pass idsOfUnknownAccount: 'keep' if they belong to this account, or 'archive' if they do not.",
      { cause: safeCause(error) },
    );
  }
  if (isRefusedStatement(error)) {
    return notPermitted(`The database refused the statement: ${error.message}.`, error);
  }
  if (isMissingObject(error)) {
    return new CrmSchemaError(
      'schema_not_found',
      `The database refused the statement: ${error.message}. The schema is missing or of an older version: run the migrations first, or set the search_path of the session to the schema.`,
      { cause: safeCause(error) },
    );
  }
  if (!integrityViolation.test(error.code) || !isOurTable(error.table)) return error;
  const [code, message] = codeAndMessage(error);
  return new CrmSchemaError(code, message, { cause: safeCause(error) });
}

/**
 * Rethrows an error, with `not_permitted` in place of `organisation_not_set`: for calls of which a worker may make
 * the whole, and an application only the first statements. It must not be told to set an organisation.
 */
export function rethrowAsNotPermitted(error: unknown): never {
  if (!(error instanceof CrmSchemaError) || error.code !== 'organisation_not_set') throw error;
  throw notPermitted('Only crm_worker may make this call.', error.cause);
}

function notPermitted(problem: string, error: unknown): CrmSchemaError {
  return new CrmSchemaError(
    'not_permitted',
    `${problem} Connect as a member of the role that the call needs: crm_app to connect a CRM; crm_worker to claim and purge runs, read credentials, or take a shared rate limit's permits. See "Who may do what" in the README.`,
    { cause: safeCause(error) },
  );
}

/** Only for our own statements. If a function refuses (the host's, in a trigger), its own error says why. */
function isRefusedStatement({ code, where }: ServerError): boolean {
  return code === sqlStates.insufficientPrivilege && where === undefined;
}

/** Only in our own statements. If a host's trigger misses something, its own error says what. */
function isMissingObject({ code, where }: ServerError): boolean {
  return missingObject.has(code) && where === undefined;
}

function isPolicyViolation(error: ServerError): boolean {
  return isRefusedStatement(error) && error.routine === policyRoutine;
}

function isOurTable(table = ''): boolean {
  return /^(crm_|contact_external_)/.test(table);
}

function codeAndMessage(error: ServerError): readonly [CrmSchemaErrorCode, string] {
  const listed = constraintCodes[error.constraint ?? ''];
  return listed ?? ['invalid_input', `The database refused the row: ${error.message}.`];
}

/** The server's error without its detail, which may quote the refused row, credentials included. */
export function safeCause(error: unknown): Partial<ServerError> & Error {
  const { message, ...fields } = error as ServerError;
  const kept = (['code', 'hint', 'constraint', 'table', 'column'] as const)
    .filter((field) => fields[field] !== undefined)
    .map((field) => [field, fields[field]]);
  return Object.assign(new Error(message), Object.fromEntries(kept));
}
