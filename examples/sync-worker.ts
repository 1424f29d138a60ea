/**
 * A small two-way sync worker to build a real engine from. Run any number of them on any number of machines:
 * if one dies, another resumes where it stopped, and nothing is lost or done twice. run-worker.ts starts it
 * with a CRM in memory. Its database user is a member of crm_worker. The owner of contacts must also grant:
 *   grant select, insert, update, delete on contacts to crm_worker;
 *
 * It keeps the contacts of a table `contacts (id, organisation_id, name, email, phone)` the same here and at the CRMs.
 * Code that differs between CRMs is in the adapters (`crm.ts`, `adapters/`); code that differs between products in
 * `contact-fields.ts`, `contacts.ts`, `apply-records.ts` and `push-contact.ts`; the rest shows how to use the schema.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BatchEvent,
  type ClaimedRun,
  connectionSetAccount,
  outboundChangeClaim,
  type Provider,
  type RequestedRecord,
  type RunEnd,
  type RunKey,
  recordRequestClaim,
  type SyncCursor,
  syncCursorList,
  syncFailureClaim,
  syncRunClaim,
  syncRunFinish,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { Batches } from './batches.js';
import { type Crm, CrmError, type CrmRecord, type CrmRecordKey } from './crm.js';
import { crmErrorOf, failure, isCode, report } from './errors.js';
import { continueFirstFill } from './first-fill.js';
import { type Push, pushContact } from './push-contact.js';
import { withLinks } from './pushed-links.js';
import { readRecord } from './pushing.js';
import { Interrupted, Requests, waitAfter } from './requests.js';
import { type Revocation, revokeNext } from './revoke-tokens.js';
import { inBatches, readPages } from './stream.js';
import { takePage } from './take-page.js';

/** The worker's configuration. */
export interface Worker {
  /** Its name, for people: a host and a process. */
  name: string;
  pool: pg.Pool;
  /** The CRMs that `openCrm` has adapters for; omit it if it has one for each. */
  providers?: readonly Provider[] | undefined;
  /** Signs in to a connection's CRM. See adapters/open-reapit.ts, whose refresh tokens work only once. */
  openCrm(run: ClaimedRun): Promise<Crm>;
  /** How to revoke the tokens of disconnected connections; omit it if nobody disconnects with `revokeWithinSeconds`. */
  revocation?: Revocation | undefined;
  /** How long others wait before they take over from a worker that has died; defaults to 300. */
  leaseSeconds?: number | undefined;
  /** How far before the cursor to read again: longer than the CRM takes to show what it has stored. */
  overlapSeconds?: number | undefined;
  /** How many records are read while others are recorded, at least; defaults to 500. */
  batchRecords?: number | undefined;
}

/** Syncs due connections until the signal. The run in hand then ends after its page or push, and another worker goes on. */
export async function runWorker(worker: Worker, signal: AbortSignal): Promise<void> {
  const { pool, revocation } = worker;
  await Promise.all([
    repeat(() => syncNext(worker, signal), 1, signal),
    revocation && repeat(() => revokeNext(pool, revocation, signal), 10, signal),
  ]);
}

/** Repeats some work until the signal, and pauses when there was none. */
async function repeat(
  work: () => Promise<boolean>,
  pauseSeconds: number,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const found = await work().catch((error) => {
      report(error);
      return false;
    });
    if (!found) await sleep(pauseSeconds * 1000, undefined, { signal }).catch(ignore);
  }
}

/** Syncs the connection that has been due for longest, until the signal. Returns false if none is due. */
export async function syncNext(
  worker: Worker,
  signal: AbortSignal = new AbortController().signal,
): Promise<boolean> {
  if (signal.aborted) return false;
  const { pool, name, providers, leaseSeconds = 300 } = worker;
  const [run] = await syncRunClaim(pool, { worker: name, limit: 1, leaseSeconds, providers });
  if (run === undefined) return false;
  const requests = new Requests(pool, run, leaseSeconds, signal);
  let end: RunEnd;
  try {
    end = { outcome: 'success', hasMore: await new Sync(worker, run, requests).all() };
  } catch (error) {
    if (isCode(error, 'lease_lost')) return true;
    end = endFor(error, requests.crm, run);
  }
  await syncRunFinish(pool, { ...run, ...end }).catch((error) => {
    if (!isCode(error, 'lease_lost')) throw error;
  });
  return true;
}

/** The outcome of a run that an error stopped. */
function endFor(error: unknown, crm: Crm | undefined, run: ClaimedRun): RunEnd {
  // The cursor was reset meanwhile, or the worker stops: the connection is due at once.
  if (isCode(error, 'cursor_conflict') || error instanceof Interrupted) return { outcome: 'cancelled' };
  const failed = crmErrorOf(error);
  if (failed === undefined) {
    report(error);
    const message = 'The sync could not continue. See the log of the worker.';
    return { outcome: 'failed', error: { kind: 'internal', retryable: true, message } };
  }
  return {
    outcome: 'failed',
    error: failed.toSyncError(),
    retryAfterSeconds: waitAfter(failed, crm, run.provider),
    // The one that was refused, so that a refusal says nothing of credentials that were replaced meanwhile.
    credentialsVersion: failed.credentialsVersion ?? crm?.credentialsVersion ?? run.credentialsVersion,
  };
}

/**
 * How many records a run claims, and how many of them at a time. A claim postpones the next attempt, so a run that is
 * told to stop does what it has claimed.
 */
const claimLimit = 100;
const claimBatch = 5;

/** How many runs read a requested record before the streams, if none of them has managed to. */
const patientAttempts = 3;

/** The longest run before other connections get their turn, in seconds. */
const longestRun = 600;

/** One run: the sync of one connection. */
class Sync {
  readonly #worker: Worker;
  readonly #run: ClaimedRun;
  readonly #requests: Requests;
  readonly #batches: Batches;
  readonly #began = new Date();
  /** The push during which the line was cut. No other is tried in this run. */
  #cut: { push: Push; error: CrmError } | undefined;

  constructor(worker: Worker, run: ClaimedRun, requests: Requests) {
    this.#worker = worker;
    this.#run = run;
    this.#requests = requests;
    this.#batches = new Batches(worker.pool, run, requests);
  }

  /** Pushes, retries failures, reads what webhooks have named, and pulls. Returns whether more is waiting. */
  async all(): Promise<boolean> {
    this.#requests.checkSignal();
    const crm = await this.#requests.open(() => this.#worker.openCrm(this.#run));
    const { pool } = this.#worker;
    // Before anything is read or written: the ids of another account mean other people.
    if (crm.account !== undefined) await connectionSetAccount(pool, { ...this.#run, account: crm.account });
    try {
      await continueFirstFill(pool, this.#run);
      // Changes first: a push closes the failure of an earlier one.
      const areMoreChanges = await this.#inBatches(async (claim) => {
        if (this.#cut !== undefined) return 0;
        const changes = await outboundChangeClaim(pool, claim);
        await this.#push(
          crm,
          changes.map(({ contactId, version }) => ({ contactId, changeVersion: version })),
        );
        return changes.length;
      });
      const areMoreFailures = await this.#inBatches(async (claim) => {
        const failures = await syncFailureClaim(pool, claim);
        const ofPushes = failures.filter(({ direction }) => direction === 'outbound');
        await this.#push(
          crm,
          ofPushes.map(({ recordId, entityType }) => ({ contactId: recordId, entityType })),
        );
        for (const { direction, entityType, recordId } of failures) {
          if (direction === 'inbound') await this.#pullOne(crm, { entityType, externalId: recordId });
        }
        return failures.length;
      });
      // One that has stopped its runs must not keep the streams from being read.
      const late: RequestedRecord[] = [];
      const areMoreRequests = await this.#inBatches(async (claim) => {
        const requested = await recordRequestClaim(pool, claim);
        for (const record of requested) {
          if (record.attempts > patientAttempts) late.push(record);
          else await this.#pullOne(crm, record, [record]);
        }
        return requested.length;
      });
      const cursors = await syncCursorList(pool, this.#run);
      let isAllRead = true;
      for (const entityType of new Set(crm.entityTypes)) {
        const cursor = cursors.find((each) => each.direction === 'inbound' && each.entityType === entityType);
        if (!(await this.#pull(crm, entityType, cursor))) isAllRead = false;
      }
      for (const record of late) await this.#pullOne(crm, record, [record]);
      await this.#blameRecord(crm);
      return !isAllRead || areMoreChanges || areMoreFailures || areMoreRequests;
    } catch (error) {
      // What is recorded is a success: only a run that could do nothing is cancelled.
      if (error instanceof Interrupted && this.#batches.count > 0) return true;
      throw error;
    }
  }

  /** Claims and does some work, again and again. Returns whether there may be more than a run claims. */
  async #inBatches(work: (claim: RunKey & { limit: number }) => Promise<number>): Promise<boolean> {
    for (let claimed = 0; claimed < claimLimit; claimed += claimBatch) {
      this.#requests.checkSignal();
      if ((await work({ ...this.#run, limit: claimBatch })) < claimBatch) return false;
    }
    return true;
  }

  /** Reads a stream, and records what is read with the cursor. Returns whether it reached the end. */
  async #pull(crm: Crm, entityType: string, cursor: SyncCursor | undefined): Promise<boolean> {
    const { overlapSeconds, batchRecords = 500 } = this.#worker;
    const pages = readPages(
      (from) => this.#requests.read(() => crm.readPage(entityType, from)),
      cursor?.position,
      { overlapSeconds, now: this.#began },
    );
    let version = cursor?.version ?? 0;
    for await (const read of inBatches(pages, batchRecords)) {
      const { records, position, isLast } = read;
      await this.#batches.record((client) => this.#take(client, entityType, records), {
        cursors: [{ direction: 'inbound', entityType, version, position }],
      });
      version += 1;
      if (!isLast && Date.now() > this.#began.getTime() + longestRun * 1000) return false;
    }
    return true;
  }

  /**
   * Reads one record: one that failed before, or that a webhook has named. That the CRM does not show it does not mean
   * that it is deleted.
   */
  async #pullOne(crm: Crm, { entityType, externalId }: CrmRecordKey, requested: RequestedRecord[] = []) {
    const key = { entityType, externalId };
    const record = await readRecord({ ask: (request) => this.#requests.read(request) }, crm, key);
    const apply = async (client: pg.ClientBase): Promise<BatchEvent[]> => {
      if (record instanceof CrmError) return [{ direction: 'inbound', ...key, ...failure(record) }];
      return this.#take(client, entityType, [record ?? { ...key, name: '', state: 'hidden' }]);
    };
    await this.#batches.record(apply, { requested });
  }

  #take(client: pg.ClientBase, entityType: string, records: CrmRecord[]): Promise<BatchEvent[]> {
    return takePage(client, this.#run, this.#worker.name, entityType, records);
  }

  /**
   * Writes the current contacts to the CRM, and records that. If the line is cut, the run goes on: what it reads then
   * tells whether it was the CRM or the record.
   */
  async #push(crm: Crm, pushes: Push[]): Promise<void> {
    if (this.#cut !== undefined) return;
    const requests = this.#requests;
    const pushing = {
      pool: this.#worker.pool,
      run: this.#run,
      ask: requests.send.bind(requests),
      checkLease: requests.heartbeat.bind(requests),
      take: async (record: CrmRecord) => {
        let events: BatchEvent[] = [];
        await this.#batches.record(async (client) => {
          events = await this.#take(client, record.entityType, [record]);
          return events;
        });
        return events;
      },
    };
    const events: BatchEvent[] = [];
    let current: Push | undefined;
    try {
      for (const push of pushes) {
        current = push;
        await pushContact(pushing, crm, push, events);
      }
    } catch (error) {
      const isCut = error instanceof CrmError && error.kind === 'network' && !(error instanceof Interrupted);
      if (!isCut || current === undefined) throw error;
      this.#cut = { push: current, error };
    } finally {
      // Even if the CRM fails halfway, the contacts already written are recorded.
      if (events.length > 0) await this.#batches.record((client) => withLinks(client, this.#run, events));
    }
  }

  /** The CRM has answered since the line was cut: the contact fails alone, and does not stop each run. */
  async #blameRecord(crm: Crm): Promise<void> {
    if (this.#cut === undefined) return;
    const { push, error } = this.#cut;
    if (crm.entityTypes.length === 0) throw error;
    const { contactId: internalId, entityType = 'contact', changeVersion } = push;
    await this.#batches.record(async () => [
      { direction: 'outbound', entityType, internalId, changeVersion, ...failure(error) },
    ]);
  }
}

function ignore(): void {}
