import { type SyncDirection, syncDirections } from './types.js';
import { checkEntityType, checkId, checkOneOf, checkUuid, type InputLocation } from './validation.js';

/** Names one connection. */
export interface ConnectionKey {
  /** Whose it is: a UUID. */
  organisationId: string;
  /** A UUID. */
  connectionId: string;
}

/** Names one run: the connection, and the fencing token. */
export interface RunKey extends ConnectionKey {
  /** A bigint, as text. */
  runId: string;
}

/** Names one stream of a connection. */
export interface StreamKey {
  /** `inbound` is from the CRM, `outbound` to it. */
  direction: SyncDirection;
  /** What kind of record it holds, in the provider's terms: lower snake case. */
  entityType: string;
}

/** The two ids that name a connection, for calls about one. */
export function checkConnectionKey(key: { organisationId: unknown; connectionId: unknown }): void {
  checkUuid({ field: 'organisationId' }, key.organisationId);
  checkUuid({ field: 'connectionId' }, key.connectionId);
}

/** Names one run of a connection. */
export function checkRunKey(key: { organisationId: unknown; connectionId: unknown; runId: unknown }): void {
  checkConnectionKey(key);
  checkId({ field: 'runId' }, key.runId);
}

/** @throws CrmSchemaError `invalid_input` */
export function checkStreamKey(stream: StreamKey, at = (field: string): InputLocation => ({ field })): void {
  checkOneOf(at('direction'), stream.direction, syncDirections);
  checkEntityType(at('entityType'), stream.entityType);
}
