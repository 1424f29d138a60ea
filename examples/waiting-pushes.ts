// What waits to be pushed, and what becomes of it when the CRM's record is read.
import {
  type BatchEvent,
  type ClaimedRun,
  contentHash,
  externalRecordCheckMany,
  outboundChangeListWaiting,
  type WaitingChange,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import type { CrmRecord } from './crm.js';
import { isAlive, recordsOf } from './records.js';

/** Those of the given contacts that are not pushed yet, by contact id. Lock the contacts first. */
export async function listWaiting(
  client: pg.Pool | pg.ClientBase,
  run: ClaimedRun,
  contactIds: Iterable<string>,
): Promise<Map<string, WaitingChange>> {
  const waiting = await outboundChangeListWaiting(client, { ...run, contactIds: [...contactIds] });
  return new Map(waiting.map((push) => [push.contactId, push]));
}

/**
 * The event that closes a failed push, if the CRM now has what it was to write: in the record that was read, and in
 * each other that it has of the contact.
 */
export async function closeIfAgreed(
  client: pg.ClientBase,
  run: ClaimedRun,
  push: WaitingChange | undefined,
  record: CrmRecord,
): Promise<BatchEvent[]> {
  // A later change is pushed in any case.
  if (push === undefined || !push.hasFailed || push.changeVersion !== null) return [];
  const others = (await recordsOf(client, run, push.contactId, record)).filter(isAlive);
  const ours = contentHash({ name: record.name });
  const decisions = await externalRecordCheckMany(client, {
    ...run,
    records: others.map(({ entityType, externalId, remoteState: state }) => ({
      entityType,
      externalId,
      state,
      contentHash: ours,
    })),
  });
  const isAgreed = decisions.every(({ decision }) => decision === 'echo' || decision === 'unchanged');
  const { entityType } = record;
  const { contactId: internalId } = push;
  return isAgreed
    ? [{ direction: 'outbound', entityType, internalId, status: 'skipped', reason: 'unchanged' }]
    : [];
}
