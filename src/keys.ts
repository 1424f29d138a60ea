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
  /** The organisation that owns it: a UUID. */
  organisationId: string;
  /** A UUID. */
  connectionId: string;
}

/** Identifies a run: its connection, and the run id, which is the fencing token. */
export interface RunKey extends ConnectionKey {
  /** A bigint, as text. */
  runId: string;
}

/** Identifies a stream of a connection. */
export interface StreamKey {
  /** `inbound` is from the CRM, `outbound` to it. */
  direction: SyncDirection;
  /** The kind of record, in the provider's terms: lower snake case. */
  entityType: string;
}

/**
 * @param field the name of the parameter, for the message
 * @throws CrmSchemaError `invalid_input`
 */
export function checkOrganisation(params: { organisationId: unknown }, field = 'params'): void {
  checkParameter(field, params);
  checkUuid({ field: 'organisationId' }, params.organisationId);
}

/**
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

/** @throws CrmSchemaError `invalid_input` */
export function checkRunKey(key: { organisationId: unknown; connectionId: unknown; runId: unknown }): void {
  checkConnectionKey(key);
  checkId({ field: 'runId' }, key.runId);
}

/** @throws CrmSchemaError `invalid_input` */
export function checkStreamKey(stream: StreamKey, at = (field: string): InputLocation => ({ field })): void {
  checkOneOf(at('direction'), stream.direction, syncDirections);
  checkEntityType(at('entityType'), stream.entityType);
}
