// What the CRM's records say, and which of them are a contact's.
import {
  type BatchEvent,
  type ClaimedRun,
  type ContactExternalRecord,
  canonicalTimestamp,
  externalRecordCheck,
  externalRecordListByContacts,
  type RecordDecision,
  remoteStates,
  type SentRecord,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { hashOf } from './contact-fields.js';
import { CrmError, type CrmRecord, type CrmRecordKey } from './crm.js';

/** The records of a contact at the CRM of a run. */
export async function recordsOf(
  client: pg.Pool | pg.ClientBase,
  run: ClaimedRun,
  contactId: string,
): Promise<ContactExternalRecord[]> {
  return (await recordsOfMany(client, run, [contactId])).get(contactId) ?? [];
}

/** The records of contacts at the CRM of a run, by contact id. */
export async function recordsOfMany(
  client: pg.Pool | pg.ClientBase,
  { organisationId, provider }: ClaimedRun,
  contactIds: readonly string[],
): Promise<Map<string, ContactExternalRecord[]>> {
  if (contactIds.length === 0) return new Map();
  const records = await externalRecordListByContacts(client, { organisationId, contactIds });
  const byContact = new Map<string, ContactExternalRecord[]>();
  for (const record of records.filter((each) => each.provider === provider))
    byContact.set(record.contactId, [...(byContact.get(record.contactId) ?? []), record]);
  return byContact;
}

/** Whether two keys name one record. */
export function isSameRecord(one: CrmRecordKey, other: CrmRecordKey): boolean {
  return one.entityType === other.entityType && one.externalId === other.externalId;
}

/** Whether the CRM still has the record. A hidden one may be shown again. */
export function isAlive({ remoteState }: ContactExternalRecord): boolean {
  return remoteState !== 'deleted' && remoteState !== 'merged';
}

/** Whether the CRM shows the record, and so says what is in it. */
export function isShown({ state }: CrmRecord): boolean {
  return state === 'active' || state === 'archived';
}

/** Whether a decision says that the content was known before. */
export function isKnownContent(decision: RecordDecision['decision'] | undefined): boolean {
  return decision === 'echo' || decision === 'unchanged';
}

/** What to do with a record, without locking it for longer than the call. */
export async function decisionOn(
  pool: pg.Pool,
  { organisationId, provider }: ClaimedRun,
  record: CrmRecord,
): Promise<RecordDecision['decision']> {
  const { decision } = await externalRecordCheck(pool, {
    organisationId,
    provider,
    ...sentRecordOf(record),
  });
  return decision;
}

/** What an event says of the record at the CRM. */
export type RemoteFields = Pick<
  BatchEvent,
  'remoteVersion' | 'remoteModifiedAt' | 'remoteState' | 'contentHash'
>;

/** What an event says of the record at the CRM. A merge is recorded apart. */
export function remoteFieldsOf(record: CrmRecord): RemoteFields {
  const { state } = record;
  return {
    remoteVersion: versionOf(record),
    remoteModifiedAt: modifiedAtOf(record),
    remoteState: state === 'merged' ? 'deleted' : state,
    contentHash: isShown(record) ? hashOf(record) : null,
  };
}

/** What `externalRecordCheckMany` needs of a record. */
export function sentRecordOf(record: CrmRecord, fields = remoteFieldsOf(record)): SentRecord {
  const { entityType, externalId } = record;
  const { remoteVersion, remoteModifiedAt, remoteState, contentHash } = fields;
  return {
    entityType,
    externalId,
    version: remoteVersion,
    modifiedAt: remoteModifiedAt,
    state: remoteState,
    contentHash,
    isCurrent: record.isCurrent,
  };
}

/** The version, if it can be stored. */
function versionOf({ version }: CrmRecord): string | null {
  return isStorable(version) ? version : null;
}

/** The modified time, if it is one. */
function modifiedAtOf({ modifiedAt }: CrmRecord): string | null {
  try {
    return modifiedAt == null ? null : canonicalTimestamp(modifiedAt);
  } catch {
    return null;
  }
}

/**
 * Why nothing can be recorded of a record as the adapter gives it; null if something can. Another type than was asked for
 * would be another record.
 */
export function refusalOf(record: CrmRecord, wantedType: string): CrmError | null {
  const { entityType, externalId, state } = record;
  const problem = !isStorable(externalId)
    ? 'The CRM sent a record id that cannot be stored.'
    : entityType !== wantedType
      ? 'The adapter gave a record of another entity type than it was asked for.'
      : !remoteStates.includes(state)
        ? 'The adapter gave a record a state that is not one of those in CrmRecord.'
        : null;
  return problem === null ? null : new CrmError('validation', problem, { retryable: false });
}

/** Why an answer is not the record that was asked for; null if it is. */
export function mismatchOf(record: CrmRecord, { entityType, externalId }: CrmRecordKey): CrmError | null {
  const refusal = refusalOf(record, entityType);
  if (refusal !== null || record.externalId === externalId) return refusal;
  return new CrmError(
    'conflict',
    'The CRM answers with another record, as after a merge that it does not tell: merge the two contacts here, or unlink this record. Then replay or dismiss this failure.',
    { retryable: false },
  );
}

/** Whether an id or a version of the CRM can be stored. */
export function isStorable(text: string | null | undefined): text is string {
  if (typeof text !== 'string' || !/\S/.test(text)) return false;
  return !/\0|\p{Surrogate}/u.test(text) && Buffer.byteLength(text) <= 512;
}

/** Extracts our UUID from a CRM's reference; null if it is not one of ours. */
export function uuidIn(reference: string | null | undefined): string | null {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.exec(reference ?? '')?.[0].toLowerCase() ?? null;
}
