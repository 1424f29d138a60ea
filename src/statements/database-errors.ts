import { CrmSchemaError, type CrmSchemaErrorCode } from '../errors.js';

/** What each constraint means when it is violated; those of the CHECKs that are not here are `invalid_input`. */
const constraintCodes: Record<string, readonly [CrmSchemaErrorCode, string]> = {
  crm_connections_pkey: ['connection_exists', 'A connection with this id exists already.'],
  crm_connections_organisation_id_fkey: ['unknown_organisation', 'There is no such organisation.'],
  crm_connections_organisation_id_provider_live_key: [
    'live_connection_exists',
    'The organisation already has a live connection to this CRM: disconnect it first.',
  ],
  crm_connections_provider_check: ['unknown_provider', 'The provider is not one that can be connected.'],
  crm_connections_credentials_is_jwe_check: [
    'malformed_credentials',
    'Credentials have to be a JWE in flattened JSON serialisation, with exactly the agreed members.',
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
  contact_external_ids_pkey: ['external_id_taken', 'The external id is mapped already.'],
  contact_external_ids_contact_id_provider_key: [
    'contact_taken',
    'The contact has another external id at this provider.',
  ],
  contact_external_ids_provider_check: ['unknown_provider', 'The provider is not one that can be connected.'],
};

/** SQLSTATEs: class 23, text that the server cannot store, no organisation set, and a lack of privilege. */
const integrityViolation = /^23/;
const unstorableText = new Set(['22021', '22P05']);
const organisationNotSet = 'CRM05';
const insufficientPrivilege = '42501';

/** Where the server refuses a row for a policy: unlike its message, this is in no language. */
const policyRoutine = 'ExecWithCheckOptions';

/** The fields of `pg`'s DatabaseError that are read here. */
export interface DatabaseError extends Error {
  code: string;
  hint?: string;
  constraint?: string;
  table?: string;
  column?: string;
  /** The functions that it happened in; none if a statement was refused by itself. */
  where?: string;
  routine?: string;
}

function isDatabaseError(error: unknown): error is DatabaseError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}

/**
 * The typed error for a violated rule of this schema, or a lack of privilege; anything else is returned untouched.
 *
 * @param error what a statement of this package failed with
 */
export function fromDatabaseError(error: unknown): unknown {
  if (!isDatabaseError(error)) return error;
  if (unstorableText.has(error.code)) {
    return new CrmSchemaError('invalid_input', 'Text may not contain NUL or broken UTF-8.', {
      cause: safeCause(error),
    });
  }
  if (error.code === organisationNotSet || isPolicyViolation(error)) {
    return new CrmSchemaError(
      'organisation_not_set',
      `The database refuses it: ${error.message}. Run it within withOrganisation, with the client that it lends, for the organisation that the call names.`,
      { cause: safeCause(error) },
    );
  }
  if (isRefusedStatement(error)) {
    return new CrmSchemaError(
      'not_permitted',
      `The database refuses it: ${error.message}. Connect as a member of the role that the call needs: to connect a CRM crm_app; to claim runs, to purge them and to read credentials crm_worker; see "As whom" in the README.`,
      { cause: safeCause(error) },
    );
  }
  if (!integrityViolation.test(error.code) || !isOurs(error.table)) return error;
  const [code, message] = meaning(error);
  return new CrmSchemaError(code, message, { cause: safeCause(error) });
}

/** Of a statement of ours: what a function of somebody else's refuses, in a trigger, is his to explain. */
function isRefusedStatement({ code, where }: DatabaseError): boolean {
  return code === insufficientPrivilege && where === undefined;
}

function isPolicyViolation(error: DatabaseError): boolean {
  return isRefusedStatement(error) && error.routine === policyRoutine;
}

function isOurs(table = ''): boolean {
  return /^(crm_|contact_external_ids)/.test(table);
}

function meaning(error: DatabaseError): readonly [CrmSchemaErrorCode, string] {
  const constraint = error.constraint ?? '';
  const known = constraintCodes[constraint];
  if (known !== undefined) return known;
  return ['invalid_input', `The database refuses the row: ${error.message}.`];
}

/** What the server said, without its detail, which may quote the refused row, credentials and all. */
export function safeCause(error: unknown): Partial<DatabaseError> & Error {
  const { message, ...fields } = error as DatabaseError;
  const kept = (['code', 'hint', 'constraint', 'table', 'column'] as const)
    .filter((field) => fields[field] !== undefined)
    .map((field) => [field, fields[field]]);
  return Object.assign(new Error(message), Object.fromEntries(kept));
}
