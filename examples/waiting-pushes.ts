// What waits to be pushed, and what becomes of it when the CRM's record is read.
import {
  type BatchEvent,
  type ClaimedRun,
  type ContactExternalRecord,
  externalRecordCheckMany,
  outboundChangeListWaiting,
  type WaitingChange,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { hashOf } from './contact-fields.js';
import type { CrmRecord } from './crm.js';
import { isAlive, isKnownContent } from './records.js';

/** Those of the given contacts that are not pushed yet, by contact id. Lock the contacts first. */
export async function listWaiting(
  client: pg.Pool | pg.ClientBase,
  run: ClaimedRun,
  contactIds: Iterable<string>,
): Promise<Map<string, WaitingChange>> {
  const ids = [...contactIds];
  if (ids.length === 0) return new Map();
  const waiting = await outboundChangeListWaiting(client, { ...run, contactIds: ids });
  return new Map(waiting.map((push) => [push.contactId, push]));
}

/** A record that was read, the contact's other records at the CRM, and its push if it is to be closed. */
interface Agreement {
  record: CrmRecord;
  others: readonly ContactExternalRecord[];
  push: WaitingChange | undefined;
}

/**
 * The events that close failed pushes, if the CRM now has what they were to write: in the record that was read, and in
 * each other that it has of the contact.
 */
export async function closeAgreed(
  client: pg.ClientBase,
  run: ClaimedRun,
  agreements: readonly Agreement[],
): Promise<BatchEvent[]> {
  // A later change is pushed in any case.
  const failed = agreements.filter(({ push }) => push?.hasFailed && push.changeVersion === null);
  const rest = failed.flatMap(({ record, others, push }) =>
    others.filter(isAlive).map(({ entityType, externalId, remoteState: state }) => ({
      contactId: push?.contactId,
      sent: { entityType, externalId, state, contentHash: hashOf(record) },
    })),
  );
  const records = rest.map(({ sent }) => sent);
  const decisions = records.length === 0 ? [] : await externalRecordCheckMany(client, { ...run, records });
  const differ = new Set(
    rest.filter((_, index) => !isKnownContent(decisions[index]?.decision)).map(({ contactId }) => contactId),
  );
  return failed
    .filter(({ push }) => !differ.has(push?.contactId))
    .map(({ record: { entityType }, push }) => ({
      direction: 'outbound',
      entityType,
      internalId: push?.contactId,
      status: 'skipped',
      reason: 'unchanged',
    }));
}
