import { withoutRow } from '../errors.js';
import * as queries from '../generated/external_record_checks.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import { type Provider, type RemoteState, remoteStates, type TimestampInput } from '../types.js';
import {
  checkBatch,
  checkContentHash,
  checkFields,
  checkFlag,
  checkObject,
  checkOneOf,
  checkParameter,
  checkRemoteVersion,
  fieldsOf,
  type InputLocation,
} from '../validation.js';
import { checkRecord } from './external-records.js';

/** A record as a CRM has sent it. */
export interface SentRecord {
  /** The kind of record, in the CRM's terms: `contact`, `landlord`, `applicant` … Lower snake case. */
  entityType: string;
  /** Case-sensitive text, whatever type the CRM sends: see `toExternalId`. */
  externalId: string;
  /** The version of the record, exactly as the CRM writes it: an ETag with its quotes, 1 to 512 bytes. */
  version?: string | null | undefined;
  /** When the record was last modified, by the CRM's clock. */
  modifiedAt?: TimestampInput | null | undefined;
  /** The state of the record; defaults to `active`, because the CRM shows it. */
  state?: RemoteState | null | undefined;
  /**
   * `contentHash` of its mapped fields. Without it, only a version tells that nothing has changed; with it, a new
   * version of the same content is no change either.
   */
  contentHash?: string | null | undefined;
  /**
   * Whether it was read by its id, just now: then it is not older than what is known, whatever its time and content.
   * Defaults to false: a list may show a record late.
   */
  isCurrent?: boolean | undefined;
}

const sentRecordFields = fieldsOf<SentRecord>({
  entityType: true,
  externalId: true,
  version: true,
  modifiedAt: true,
  state: true,
  contentHash: true,
  isCurrent: true,
});

/** What to do with a record that a CRM has sent. */
export type RecordDecision = UnlinkedRecordDecision | LinkedRecordDecision;

/** What to do with a record that is linked to no contact. */
export interface UnlinkedRecordDecision {
  /** There is none. */
  contactId: null;
  /** There is nothing to match. */
  matchedBy: null;
  /**
   * - `unknown`: create a contact and link it; or, if the record is deleted or merged, skip it
   * - `contact_deleted`: the person was erased, or NurtureHub deleted the contact that was linked to it. Skip it with reason `erased`, or the
   *   contact would be back: only a person should link it again (`contactExternalIdLink`)
   * - `older`: it was modified before the same record earlier in `records`: skip it with reason `older`
   */
  decision: 'unknown' | 'contact_deleted' | 'older';
  /** Nothing is known of it. */
  hasNewContent: false;
}

/** What to do with a record that is linked to a contact. */
export interface LinkedRecordDecision {
  /** The contact that the record belongs to. */
  contactId: string;
  /** Whether the record is the contact's primary id or an alias. */
  matchedBy: 'primary' | 'alias';
  /**
   * - `revived`: it was deleted or merged, and is back. It may be another person's now: do not apply it before
   *   somebody links it again (`contactExternalIdLink`) or unlinks it
   * - `echo`: our own last push has come back, for the first time: skip it with reason `echo`
   * - `unchanged`: its version or its content is what is known: skip it with reason `unchanged`
   * - `older`: it was modified before the one that is known, or before the same record earlier in `records`; or its
   *   content was replaced lately, and no later time says that it is back: skip it with reason `older`
   * - `changed`: apply it; or, if a change of the contact waits to be pushed (`outboundChangeListWaiting`), skip it
   *   with reason `pending_push`, because what is here is newer; with `hasNewContent` as well, it is a conflict
   */
  decision: 'revived' | 'echo' | 'unchanged' | 'older' | 'changed';
  /**
   * Whether its content is known to differ from what was last read or pushed; without a `contentHash`, whether its
   * version does. False where nothing is known to compare it with.
   */
  hasNewContent: boolean;
}

/**
 * Decides what to do with records that a CRM has sent, before they are applied. Call it in the transaction that
 * applies them and records the batch: it locks the records until then, in the order of their keys. Another
 * state is always a change, except that a record which was deleted or merged is `revived`. Otherwise nothing has
 * changed if the version is the one that is known, unless it was read with another content, or else if the content is.
 *
 * A time alone does not prove that a record is older. So if an event has reason `older` and another content than the
 * known one, `syncBatchRecord` asks for the record, and the next run is given it (`recordRequestClaim`): what a run reads
 * by its id is never older. The same holds for a record without a later time whose content was replaced within the last
 * day: a list may show a push late. For a record that was read by its id, say so (`isCurrent`).
 *
 * @returns the decision on each record, in order
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`, with `rowIndex`
 */
export async function externalRecordCheckMany(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The CRM. */
    provider: Provider;
    /** Up to a few thousand. */
    records: readonly SentRecord[];
  },
): Promise<RecordDecision[]> {
  checkOrganisation(params);
  const { organisationId, provider } = params;
  const records = checkBatch('records', params.records);
  const columns: Omit<queries.ExternalRecordCheckParams, 'organisationId' | 'provider'> = {
    entityTypes: [],
    externalIds: [],
    versions: [],
    modifiedAts: [],
    states: [],
    contentHashes: [],
    areCurrent: [],
  };
  records.forEach((record, rowIndex) => {
    checkSentRecord(record, provider, rowIndex);
    const { version, modifiedAt, state, contentHash } = record;
    columns.entityTypes.push(record.entityType);
    columns.externalIds.push(record.externalId);
    columns.versions.push(version ?? null);
    columns.modifiedAts.push(
      modifiedAt == null ? null : timestampParameter({ field: 'modifiedAt', rowIndex }, modifiedAt),
    );
    columns.states.push(state ?? 'active');
    columns.contentHashes.push(contentHash ?? null);
    columns.areCurrent.push(record.isCurrent ?? false);
  });
  const rows = await queries.externalRecordCheck.run({ organisationId, provider, ...columns }, client);
  return rows.map(
    ({ contactId, matchedBy, decision, hasNewContent }) =>
      ({ contactId, matchedBy, decision, hasNewContent }) as RecordDecision,
  );
}

/** The parameters of {@link externalRecordCheck}. */
export interface ExternalRecordCheckParams extends SentRecord {
  /** The organisation's UUID. */
  organisationId: string;
  /** The CRM. */
  provider: Provider;
}

/**
 * Decides what to do with one record that a CRM has sent: see {@link externalRecordCheckMany}.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function externalRecordCheck(
  client: Queryable,
  params: ExternalRecordCheckParams,
): Promise<RecordDecision> {
  checkParameter('params', params);
  const { organisationId, provider, ...record } = params;
  const [decision] = await externalRecordCheckMany(client, {
    organisationId,
    provider,
    records: [record],
  }).catch(withoutRow);
  return decision as RecordDecision;
}

function checkSentRecord(record: SentRecord, provider: Provider, rowIndex: number): void {
  const at = (field: string): InputLocation => ({ field, rowIndex });
  checkObject(at('record'), record);
  checkFields(at('record'), record, sentRecordFields);
  checkRecord({ ...record, provider }, rowIndex);
  if (record.version != null) checkRemoteVersion(at('version'), record.version);
  if (record.state != null) checkOneOf(at('state'), record.state, remoteStates);
  if (record.contentHash != null) checkContentHash(at('contentHash'), record.contentHash);
  if (record.isCurrent !== undefined) checkFlag(at('isCurrent'), record.isCurrent);
}
