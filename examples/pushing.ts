// What a push needs of its run, and what it reads at the CRM before it writes.
import type { BatchEvent, ClaimedRun } from '@nurturehub/crm-schema';
import type pg from 'pg';
import { type Crm, CrmError, type CrmRecord, type CrmRecordKey } from './crm.js';
import { unlessFatal } from './errors.js';
import { mismatchOf } from './records.js';

/** What a push needs of the run. */
export interface Pushing {
  pool: pg.Pool;
  run: ClaimedRun;
  /** Sends a request to the CRM while the lease is live. */
  ask<Answer>(request: () => Promise<Answer>): Promise<Answer>;
  /** Throws if the lease is lost. */
  checkLease(): Promise<void>;
  /** Applies a record that was read, and records its events, which it returns. */
  take(record: CrmRecord): Promise<BatchEvent[]>;
}

/** What is known of a push before the CRM has answered. */
export interface PushEvent {
  direction: 'outbound';
  entityType: string;
  internalId: string;
  changeVersion: string | undefined;
}

/** Reads a record. Returns an error of this record, also if nothing could be recorded of the answer. */
export async function readRecord(
  { ask }: Pick<Pushing, 'ask'>,
  crm: Crm,
  key: CrmRecordKey,
): Promise<CrmRecord | CrmError | null> {
  const found = await ask(() => crm.read(key.entityType, key.externalId)).catch(unlessFatal);
  if (found === null || found instanceof CrmError) return found;
  return mismatchOf(found, key) ?? found;
}
