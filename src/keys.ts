import { type SyncDirection, syncDirections } from './types.js';
import {
  checkEntityType,
  checkId,
  checkOneOf,
  checkParameter,
  checkUuid,
  type InputLocation,
} from './validation.js';

/** Identifies a connection. */
export interface ConnectionKey {
  /** The organisation's UUID. */
  organisationId: string;
  /** The connection's UUID. */
  connectionId: string;
}

/** Identifies a run: its connection, and the run id, which is the fencing token. */
export interface RunKey extends ConnectionKey {
  /** The run's id: a bigint, as text. */
  runId: string;
}

/** Identifies a stream of a connection. */
export interface StreamKey {
  /** `inbound` is from the CRM, `outbound` to it. */
  direction: SyncDirection;
  /** The kind of record, in the CRM's terms: lower snake case. */
  entityType: string;
}

/**
 * Checks the id of an organisation.
 *
 * @param field the name of the parameter, for the message
 * @throws CrmSchemaError `invalid_input`
 */
export function checkOrganisation(params: { organisationId: unknown }, field = 'params'): void {
  checkParameter(field, params);
  checkUuid({ field: 'organisationId' }, params.organisationId);
}

/**
 * Checks the ids of a connection.
 *
 * @param field the name of the parameter, for the message
 * @throws CrmSchemaError `invalid_input`
 */
export function checkConnectionKey(
  key: { organisationId: unknown; connectionId: unknown },
  field = 'params',
): void {
  checkOrganisation(key, field);
  checkUuid({ field: 'connectionId' }, key.connectionId);
}

/**
 * Checks the ids of a run and its connection.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function checkRunKey(key: { organisationId: unknown; connectionId: unknown; runId: unknown }): void {
  checkConnectionKey(key);
  checkId({ field: 'runId' }, key.runId);
}

/**
 * Checks the direction and the entity type of a stream.
 *
 * @param locate says where a field was given, for the error
 * @throws CrmSchemaError `invalid_input`
 */
export function checkStreamKey(
  stream: StreamKey,
  locate = (field: string): InputLocation => ({ field }),
): void {
  checkOneOf(locate('direction'), stream.direction, syncDirections);
  checkEntityType(locate('entityType'), stream.entityType);
}
