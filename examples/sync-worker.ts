/**
 * A small two-way sync worker to build a real engine from. Run any number of them on any number of machines:
 * if one dies, another resumes where it stopped, and nothing is lost or done twice. run-worker.ts starts it
 * with a CRM in memory. Its database user is a member of crm_worker. The owner of contacts must also grant:
 *   grant select, insert, update, delete on contacts to crm_worker;
 *
 * It keeps the name in `contacts (id, organisation_id, name)` the same here and at the CRMs. Code that differs
 * between CRMs is in the adapters (`crm.ts`), code that differs between products in `take-page.ts` and
 * `push-contact.ts`; the rest shows how to use the schema.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  askFrom,
  type BatchEvent,
  type ClaimedRun,
  CrmSchemaError,
  type CursorMove,
  canonicalTimestamp,
  connectionSetAccount,
  outboundChangeClaim,
  type RunEnd,
  type SyncCursor,
  syncBatchRecord,
  syncCursorList,
  syncFailureClaim,
  syncRunClaim,
  syncRunFinish,
  syncRunHeartbeat,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { type Crm, CrmError, type CrmPosition, type CrmRecord, type CrmRecordKey } from './crm.js';
import { failure, isCode, report, unlessFatal } from './errors.js';
import { type Push, pushContact } from './push-contact.js';
import { takePage } from './take-page.js';

/** The worker's configuration. */
export interface Worker {
  /** Its name, for people: a host and a process. */
  name: string;
  pool: pg.Pool;
  /** Signs in to a connection's CRM. See refresh-token.ts for refresh tokens that work only once. */
  openCrm(run: ClaimedRun): Promise<Crm>;
  /** How long others wait before they take over from a worker that has died; defaults to 300. */
  leaseSeconds?: number | undefined;
  /** How far before the cursor to read again: longer than the CRM takes to show what it has stored. */
  overlapSeconds?: number | undefined;
}

/** Syncs due connections until the signal. */
export async function runWorker(worker: Worker, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const found = await syncNext(worker).catch((error) => {
      report(error);
      return false;
    });
    if (!found) await sleep(1000, undefined, { signal }).catch(() => {});
  }
}

/** Syncs the connection that has been due for longest. Returns false if none is due. */
export async function syncNext(worker: Worker): Promise<boolean> {
  const [run] = await syncRunClaim(worker.pool, {
    worker: worker.name,
    limit: 1,
    leaseSeconds: leaseOf(worker),
  });
  if (run === undefined) return false;
  let end: RunEnd;
  const sync = new Sync(worker, run);
  try {
    end = { outcome: 'success', hasMore: await sync.all() };
  } catch (error) {
    if (isCode(error, 'lease_lost')) return true;
    end = endFor(error, sync.credentialsVersion);
  }
  await syncRunFinish(worker.pool, { ...run, ...end }).catch((error) => {
    if (!isCode(error, 'lease_lost')) throw error;
  });
  return true;
}

/** The outcome of a run that an error stopped, and that used this version of the credentials. */
function endFor(error: unknown, credentialsVersion: number): RunEnd {
  // The cursor was reset meanwhile: start again.
  if (isCode(error, 'cursor_conflict')) return { outcome: 'cancelled' };
  if (isCode(error, 'account_changed')) {
    const message = 'The CRM signed in to another account than the one that the connection is to.';
    const changed = { kind: 'auth', retryable: false, message } as const;
    return { outcome: 'failed', error: changed, credentialsVersion };
  }
  if (error instanceof CrmError) {
    const { retryAfterSeconds, credentialsVersion: refusedVersion = credentialsVersion } = error;
    return {
      outcome: 'failed',
      error: error.toSyncError(),
      retryAfterSeconds,
      credentialsVersion: refusedVersion,
    };
  }
  report(error);
  const message = 'The sync could not continue. See the log of the worker.';
  return { outcome: 'failed', error: { kind: 'internal', retryable: true, message } };
}

/** How many records a run claims, and how many it records at a time. */
const claimLimit = 100;
const pushBatch = 10;

/** The longest run before other connections get their turn, and the longest request to a CRM, in seconds. */
const longestRun = 600;
const longestRequest = 60;

/** One run: the sync of one connection. */
class Sync {
  readonly #worker: Worker;
  readonly #run: ClaimedRun;
  readonly #leaseSeconds: number;
  /** The version of the credentials in use: the claim's, until an adapter names another. */
  credentialsVersion: number;
  #batchNumber = 0;
  readonly #began = new Date();
  /** By a monotonic clock. */
  #leaseEndsAt: number;

  constructor(worker: Worker, run: ClaimedRun) {
    this.#worker = worker;
    this.#run = run;
    this.credentialsVersion = run.credentialsVersion;
    this.#leaseSeconds = leaseOf(worker);
    this.#leaseEndsAt = performance.now() + this.#leaseSeconds * 1000;
  }

  /** Pushes, retries failures, and pulls. Returns whether more is waiting. */
  async all(): Promise<boolean> {
    const crm = await withTimeout(this.#worker.openCrm(this.#run));
    const { pool } = this.#worker;
    this.credentialsVersion = crm.credentialsVersion ?? this.credentialsVersion;
    // Before anything is read or written: the ids of another account mean other people.
    if (crm.account !== undefined) await connectionSetAccount(pool, { ...this.#run, account: crm.account });
    const changes = await outboundChangeClaim(pool, { ...this.#run, limit: claimLimit });
    const failures = await syncFailureClaim(pool, { ...this.#run, limit: claimLimit });
    // Each contact once: of two pushes in one batch, the second would be based on the version before the first.
    const pushes = new Map<string, Push>();
    for (const { direction, recordId, entityType } of failures)
      if (direction === 'outbound') pushes.set(recordId, { contactId: recordId, entityType });
    for (const { contactId, version } of changes)
      pushes.set(contactId, { ...pushes.get(contactId), contactId, changeVersion: version });
    await this.#push(crm, [...pushes.values()]);
    for (const { direction, entityType, recordId } of failures) {
      if (direction === 'inbound') await this.#pullOne(crm, { entityType, externalId: recordId });
    }
    const cursors = await syncCursorList(pool, this.#run);
    let isAllRead = true;
    for (const entityType of new Set(crm.entityTypes)) {
      const cursor = cursors.find((each) => each.direction === 'inbound' && each.entityType === entityType);
      if (!(await this.#pull(crm, entityType, cursor))) isAllRead = false;
    }
    return !isAllRead || changes.length === claimLimit || failures.length === claimLimit;
  }

  /** Reads a stream and records each page with the cursor. Returns whether it reached the end. */
  async #pull(crm: Crm, entityType: string, cursor: SyncCursor | undefined): Promise<boolean> {
    let version = cursor?.version ?? 0;
    let reached = cursor?.position?.syncedTo ?? null;
    let from: CrmPosition | null = cursor?.position ?? null;
    if (from?.kind === 'timestamp') {
      from = { kind: 'timestamp', syncedTo: askFrom(reached, this.#worker) as string };
    }
    for (;;) {
      const start = from;
      const page = await this.#ask(() => crm.readPage(entityType, start));
      if (!page.isLast && JSON.stringify(page.next) === JSON.stringify(start)) {
        throw new CrmError('provider', 'The CRM returned the same page twice.', { retryable: true });
      }
      // A repeated page may end before the cursor, which then stays where it is. A wrong time in the future
      // would let the cursor pass every change until then.
      const syncedTo = latest(reached, earliest(page.next.syncedTo, this.#began));
      const position = { ...page.next, syncedTo } as CursorMove['position'];
      await this.#record((client) => this.#take(client, entityType, page.records), {
        direction: 'inbound',
        entityType,
        version,
        position,
      });
      version += 1;
      reached = syncedTo;
      from = page.next;
      if (page.isLast) return true;
      if (Date.now() > this.#began.getTime() + longestRun * 1000) return false;
    }
  }

  /** Retries a record that failed. That the CRM does not show it does not mean that it is deleted. */
  async #pullOne(crm: Crm, key: CrmRecordKey): Promise<void> {
    const record = await this.#ask(() => crm.read(key.entityType, key.externalId)).catch(unlessFatal);
    await this.#record(async (client) => {
      if (record instanceof CrmError) return [{ direction: 'inbound', ...key, ...failure(record) }];
      return this.#take(client, key.entityType, [record ?? { ...key, name: '', state: 'hidden' }]);
    });
  }

  #take(client: pg.ClientBase, entityType: string, records: CrmRecord[]): Promise<BatchEvent[]> {
    return takePage(client, this.#run, this.#worker.name, entityType, records);
  }

  /** Writes the current contacts to the CRM, and records a few at a time. */
  async #push(crm: Crm, pushes: Push[]): Promise<void> {
    const pushing = {
      pool: this.#worker.pool,
      run: this.#run,
      ask: this.#ask.bind(this),
      checkLease: this.#heartbeat.bind(this),
      take: async (record: CrmRecord) => {
        let events: BatchEvent[] = [];
        await this.#record(async (client) => {
          events = await this.#take(client, record.entityType, [record]);
          return events;
        });
        return events;
      },
    };
    for (let start = 0; start < pushes.length; start += pushBatch) {
      const events: BatchEvent[] = [];
      try {
        for (const push of pushes.slice(start, start + pushBatch))
          await pushContact(pushing, crm, push, events);
      } finally {
        // Even if the CRM fails halfway, the contacts already written are recorded.
        await this.#record(async () => events);
      }
    }
  }

  /** Sends a request to the CRM while the lease is live, and repeats it after a short rate limit. */
  async #ask<Answer>(request: () => Promise<Answer>): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      // A delayed worker must not overwrite what another has written meanwhile.
      if (performance.now() > this.#leaseEndsAt - this.#leaseSeconds * 500) await this.#heartbeat();
      try {
        return await withTimeout(request());
      } catch (error) {
        const wait =
          error instanceof CrmError && error.kind === 'rate_limited' ? error.retryAfterSeconds : undefined;
        if (wait === undefined || wait > this.#leaseSeconds / 2 || attempt === 5) throw error;
        await sleep(wait * 1000);
      }
    }
  }

  async #heartbeat(): Promise<void> {
    await syncRunHeartbeat(this.#worker.pool, { ...this.#run, leaseSeconds: this.#leaseSeconds });
    this.#leaseEndsAt = performance.now() + this.#leaseSeconds * 1000;
  }

  /**
   * Records a batch in one transaction with the changes to our own tables. If the response is lost, it
   * repeats the batch; the number of a batch that was recorded makes the repetition a no-op.
   */
  async #record(apply: (client: pg.ClientBase) => Promise<BatchEvent[]>, cursor?: CursorMove): Promise<void> {
    this.#batchNumber += 1;
    const batch = { ...this.#run, batchNumber: this.#batchNumber, leaseSeconds: this.#leaseSeconds };
    for (let attempt = 1; ; attempt += 1) {
      try {
        const began = performance.now();
        await transaction(this.#worker.pool, async (client) => {
          // First, so that the connection is locked before any contact, and a lost lease is found early.
          await syncRunHeartbeat(client, batch);
          const events = await apply(client);
          const cursors = cursor === undefined ? [] : [cursor];
          const { outcome } = await syncBatchRecord(client, { ...batch, events, cursors });
          return outcome === 'recorded';
        });
        this.#leaseEndsAt = began + this.#leaseSeconds * 1000;
        return;
      } catch (error) {
        // If a contact was deleted meanwhile, the next attempt finds that it no longer exists.
        const isLasting = error instanceof CrmSchemaError && error.code !== 'wrong_tenant';
        if (isLasting || attempt === 5) throw error;
        await sleep(attempt * 200);
      }
    }
  }
}

/** Limits a request's time, so that one without a response does not block the worker. */
async function withTimeout<Answer>(answer: Promise<Answer>): Promise<Answer> {
  const ending = new AbortController();
  const late = sleep(longestRequest * 1000, undefined, { signal: ending.signal }).then(() => {
    throw new CrmError('timeout', `No response within ${longestRequest} seconds.`, { retryable: true });
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    ending.abort();
    late.catch(ignore);
  }
}

/** Runs `work` in a transaction, and rolls back if it returns false or throws. */
async function transaction(pool: pg.Pool, work: (client: pg.ClientBase) => Promise<boolean>): Promise<void> {
  const client = await pool.connect();
  // The failing statement reports a lost connection; without a listener, the loss would end the process.
  client.on('error', ignore);
  let failure: unknown;
  try {
    await client.query('begin');
    const isWanted = await work(client);
    await client.query(isWanted ? 'commit' : 'rollback');
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    client.off('error', ignore);
    // A client whose transaction failed is closed, which rolls it back.
    client.release(failure !== undefined);
  }
}

function ignore(): void {}

function leaseOf({ leaseSeconds = 300 }: Worker): number {
  return leaseSeconds;
}

/** Limits a time from the CRM to our own time. */
function earliest(point: string | null | undefined, now: Date): string | null {
  if (point == null) return null;
  const [first] = [canonicalTimestamp(point), canonicalTimestamp(now.toISOString())].sort();
  return first as string;
}

/** The later of two times, either of which may be unknown. */
function latest(one: string | null, other: string | null | undefined): string | null {
  if (other == null) return one;
  const point = canonicalTimestamp(other);
  return one === null || point > one ? point : one;
}
