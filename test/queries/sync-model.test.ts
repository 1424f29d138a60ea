import fc from 'fast-check';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type BatchEvent,
  type ConnectionKey,
  type CrmSchemaError,
  connectionRequestSync,
  outboundChangeClaim,
  outboundChangeRecord,
  type RunKey,
  type SyncError,
  syncBatchRecord,
  syncCursorList,
  syncCursorReset,
  syncFailureClaim,
  syncFailureList,
  syncRunClaim,
  syncRunFinish,
  syncRunHeartbeat,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';

/**
 * Runs claim, batch, finish, fail, crash and expire in any order, and compares the database with a model that
 * is simple enough to trust: plain values, one step at a time. After a crash, a worker does nothing more.
 */

const { pool, url } = useDatabase();

const lease = 300;
const interval = 900;
const start = Date.parse('2026-11-16T09:00:00Z');
const stream = { direction: 'inbound', entityType: 'contact' } as const;
const records = ['1', '2', '3'] as const;
const retryable: SyncError = { kind: 'provider', retryable: true, message: 'It was 500.' };
const hopeless: SyncError = { kind: 'validation', retryable: false, message: 'No name.' };

type Step =
  | { do: 'pass'; seconds: number }
  | { do: 'claim'; worker: number }
  | {
      do: 'heartbeat' | 'succeed' | 'fail' | 'forbid' | 'cancel' | 'claimFailures' | 'claimChanges';
      worker: number;
    }
  | {
      do: 'batch';
      worker: number;
      /** Relative to the next batch number: 0, a repetition, or one too many. */
      shift: number;
      outcomes: { record: number; error: 'none' | 'retryable' | 'hopeless' }[];
      /** Seconds by which the cursor advances, from the version that the worker read or an older one. */
      move: { seconds: number; isStale: boolean } | null;
      /** Whether the claimed change is recorded as pushed. */
      isPush: boolean;
    }
  | { do: 'request' | 'reset' | 'change' };

const worker = fc.nat({ max: 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      seconds: fc.constantFrom(1, 100, 299, 300, 1000, 20_000, 90_000),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('claim' as const), worker }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'heartbeat' as const,
        'succeed' as const,
        'fail' as const,
        'forbid' as const,
        'cancel' as const,
        'claimFailures' as const,
        'claimChanges' as const,
      ),
      worker,
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('batch' as const),
      worker,
      shift: fc.constantFrom(0, 0, 0, 0, -1, 1),
      outcomes: fc.array(
        fc.record({
          record: fc.nat({ max: 2 }),
          error: fc.constantFrom('none' as const, 'retryable' as const, 'hopeless' as const),
        }),
        { maxLength: 4 },
      ),
      move: fc.option(
        fc.record({
          seconds: fc.constantFrom(-1, 0, 60),
          isStale: fc.constantFrom(false, false, false, true),
        }),
      ),
      isPush: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom('request' as const, 'reset' as const, 'change' as const) }),
  },
);

/** A worker's memory. It does not know whether its run still holds the lease. */
interface WorkerMemory {
  run: RunKey | null;
  batchNumber: number;
  pushing: string | null;
}

interface Failure {
  attempts: number;
  firstFailed: number;
  isFinal: boolean;
  /** Random, as drawn by the database. Its bounds are checked. */
  nextAttempt: number;
}

/** The model's whole state. Times are in seconds after the start. */
class Model {
  now = 0;
  due = 0;
  notBefore: number | null = null;
  isRequested = false;
  failures = 0;
  firstFailed: number | null = null;
  isError = false;
  lastSynced: number | null = null;
  /** Whether every record failed in a sync that came to its end, and none has succeeded since. */
  areRecordsFailing = false;
  open: { id: string; expires: number; batchNumber: number; logged: number; succeeded: number } | null = null;
  logged = 0;
  cursor: { version: number; syncedTo: number | null } = { version: 0, syncedTo: null };
  failing = new Map<string, Failure>();
  /** The version of the waiting change, and when it can be claimed. */
  change: { version: string; nextAttempt: number } | null = null;

  holds(run: RunKey | null): boolean {
    return run !== null && this.open?.id === run.runId && this.open.expires > this.now;
  }

  failed(kind: 'provider' | 'auth' | 'abandoned'): void {
    this.failures += 1;
    this.firstFailed ??= this.now;
    if (kind === 'auth' || (this.failures >= 5 && this.now - this.firstFailed >= 3600)) this.isError = true;
  }
}

/** Runs steps in the database and in the model, and compares the two after each step. */
class Comparison {
  readonly model = new Model();
  readonly #client: pg.Client;
  readonly #key: ConnectionKey;
  readonly #contactId: string;
  readonly #workers: WorkerMemory[] = [0, 1].map(() => ({ run: null, batchNumber: 0, pushing: null }));

  constructor(client: pg.Client, key: ConnectionKey, contactId: string) {
    this.#client = client;
    this.#key = key;
    this.#contactId = contactId;
  }

  async run(given: Step): Promise<void> {
    await this.#setClock();
    await this.#take(given);
    await this.#compare();
  }

  async #setClock(): Promise<void> {
    await this.#client.query("select set_config('crm_schema.now', $1, false)", [time(this.model.now)]);
  }

  async #take(given: Step): Promise<void> {
    const { model } = this;
    const client = this.#client;
    switch (given.do) {
      case 'pass':
        model.now += given.seconds;
        return this.#setClock();
      case 'request': {
        await connectionRequestSync(client, { ...this.#key, connectionIds: [this.#key.connectionId] });
        model.isRequested = true;
        model.due = Math.min(model.due, Math.max(model.now, model.notBefore ?? 0));
        return;
      }
      case 'reset': {
        const found = await syncCursorReset(client, { ...this.#key, ...stream });
        expect(found).toBe(model.cursor.version > 0);
        if (!found) return;
        model.cursor = { version: model.cursor.version + 1, syncedTo: null };
        model.lastSynced = null;
        return;
      }
      case 'change': {
        await outboundChangeRecord(client, { ...this.#key, contactIds: [this.#contactId] });
        const { rows } = await client.query(
          'select version from crm_outbound_changes where connection_id = $1',
          [this.#key.connectionId],
        );
        expect(rows[0].version).not.toBe(model.change?.version);
        model.change = { version: rows[0].version, nextAttempt: model.now };
        this.#isNew = true;
        return;
      }
      case 'claim':
        return this.#claim(this.#workers[given.worker] as WorkerMemory);
      case 'batch':
        return this.#batch(this.#workers[given.worker] as WorkerMemory, given);
      default:
        return this.#ofRun(this.#workers[given.worker] as WorkerMemory, given.do);
    }
  }

  #isNew = false;

  async #claim(memory: WorkerMemory): Promise<void> {
    const { model } = this;
    const runs = await syncRunClaim(this.#client, { worker: 'model', limit: 10, leaseSeconds: lease });
    if (model.open !== null && model.open.expires <= model.now) {
      model.open = null;
      model.failed('abandoned');
      model.due = model.notBefore = await this.#drawn('next_sync_at', model.failures, 1, 3600);
    }
    if (this.#isNew) {
      this.#isNew = false;
      model.isRequested = true;
      model.due = Math.min(model.due, Math.max(model.now, model.notBefore ?? 0));
    }
    if (model.open === null && model.due <= model.now) {
      expect(runs).toHaveLength(1);
      const run = runs[0] as RunKey;
      model.open = { id: run.runId, expires: model.now + lease, batchNumber: 0, logged: 0, succeeded: 0 };
      model.due = model.now + interval;
      model.isRequested = false;
      memory.run = { ...this.#key, runId: run.runId };
      memory.batchNumber = 0;
      memory.pushing = null;
    } else expect(runs).toEqual([]);
  }

  async #ofRun(
    memory: WorkerMemory,
    what: Exclude<Step['do'], 'batch' | 'pass' | 'claim' | 'request' | 'reset' | 'change'>,
  ): Promise<void> {
    const { model } = this;
    const client = this.#client;
    const run = memory.run ?? { ...this.#key, runId: '0' };
    const calls = {
      heartbeat: () => syncRunHeartbeat(client, { ...run, leaseSeconds: lease }),
      succeed: () => syncRunFinish(client, { ...run, outcome: 'success' }),
      fail: () => syncRunFinish(client, { ...run, outcome: 'failed', error: retryable }),
      forbid: () =>
        syncRunFinish(client, { ...run, outcome: 'failed', error: { ...hopeless, kind: 'auth' } }),
      cancel: () => syncRunFinish(client, { ...run, outcome: 'cancelled' }),
      claimFailures: () => syncFailureClaim(client, run),
      claimChanges: () => outboundChangeClaim(client, run),
    };
    const result = await calls[what]().catch((error: CrmSchemaError) => error.code);
    if (!model.holds(memory.run)) {
      expect(result).toBe('lease_lost');
      return;
    }
    const open = model.open as NonNullable<Model['open']>;
    switch (what) {
      case 'heartbeat':
        open.expires = Math.max(open.expires, model.now + lease);
        model.due = Math.max(model.due, open.expires);
        return;
      case 'claimFailures': {
        const due = [...model.failing].filter(
          ([, { isFinal, nextAttempt }]) => !isFinal && nextAttempt <= model.now,
        );
        expect((result as { recordId: string }[]).map(({ recordId }) => recordId).toSorted()).toEqual(
          due.map(([id]) => id).toSorted(),
        );
        for (const [id, failure] of due) {
          failure.nextAttempt = await this.#drawn('next_attempt_at', failure.attempts + 1, 60, 21_600, id);
        }
        return;
      }
      case 'claimChanges': {
        const isDue = model.change !== null && model.change.nextAttempt <= model.now;
        expect(result).toHaveLength(isDue ? 1 : 0);
        if (!isDue || model.change === null) return;
        memory.pushing = model.change.version;
        expect(result).toMatchObject([{ version: model.change.version }]);
        this.#isNew = false;
        const { rows } = await client.query(
          'select next_attempt_at from crm_outbound_changes where connection_id = $1',
          [this.#key.connectionId],
        );
        model.change.nextAttempt = seconds(rows[0].next_attempt_at);
        expect(model.change.nextAttempt).toBeGreaterThan(model.now);
        return;
      }
      case 'succeed': {
        model.open = null;
        model.due = model.isRequested ? model.now : model.now + interval;
        if (model.cursor.syncedTo !== null)
          model.lastSynced = Math.max(model.lastSynced ?? Number.NEGATIVE_INFINITY, model.cursor.syncedTo);
        if (open.succeeded === 0 && open.logged >= 3) {
          model.areRecordsFailing = true;
          model.failed('provider');
          model.notBefore = await this.#drawn('next_sync_at', model.failures, 60, 21_600);
          model.due = Math.max(model.due, model.notBefore);
          return;
        }
        model.notBefore = null;
        if (open.succeeded === 0 && model.areRecordsFailing) return;
        model.areRecordsFailing = model.isError = false;
        model.failures = 0;
        model.firstFailed = null;
        return;
      }
      case 'cancel':
        model.open = null;
        model.due = Math.min(model.due, model.now);
        return;
      default:
        model.open = null;
        model.failed(what === 'forbid' ? 'auth' : 'provider');
        model.due = model.notBefore = await this.#drawn('next_sync_at', model.failures, 60, 21_600);
    }
  }

  async #batch(
    memory: WorkerMemory,
    { shift, outcomes, move, isPush }: Step & { do: 'batch' },
  ): Promise<void> {
    const { model } = this;
    const errors = { none: null, retryable, hopeless };
    const events = outcomes.map(({ record, error }): BatchEvent => {
      const event = { ...stream, externalId: records[record] as string };
      const found = errors[error];
      return found === null ? { ...event, status: 'success' } : { ...event, status: 'error', error: found };
    });
    const pushing = isPush ? memory.pushing : null;
    if (pushing !== null) {
      events.push({
        direction: 'outbound',
        entityType: 'contact',
        internalId: this.#contactId,
        status: 'success',
        changeVersion: pushing,
      });
    }
    const version = Math.max(0, model.cursor.version - (move?.isStale ? 1 : 0));
    const syncedTo = (model.cursor.syncedTo ?? 0) + (move?.seconds ?? 0);
    const cursors =
      move === null
        ? []
        : [{ ...stream, version, position: { kind: 'timestamp', syncedTo: time(syncedTo) } as const }];
    const batchNumber = memory.batchNumber + 1 + shift;
    const run = memory.run ?? { ...this.#key, runId: '0' };
    if (batchNumber < 1) return;
    const result = await syncBatchRecord(this.#client, {
      ...run,
      batchNumber,
      events,
      cursors,
      leaseSeconds: lease,
    })
      .then(({ outcome }) => outcome)
      .catch((error: CrmSchemaError) => error.code);

    const holds = model.holds(memory.run);
    const isOurs = memory.run !== null;
    if (isOurs && batchNumber <= memory.batchNumber) return void expect(result).toBe('repeated');
    if (!holds) return void expect(result).toBe('lease_lost');
    if (batchNumber > memory.batchNumber + 1) return void expect(result).toBe('batch_out_of_order');
    if (move !== null && version !== model.cursor.version) return void expect(result).toBe('cursor_conflict');
    if (move !== null && model.cursor.syncedTo !== null && syncedTo < model.cursor.syncedTo) {
      return void expect(result).toBe('cursor_moved_backwards');
    }
    expect(result).toBe('recorded');
    memory.batchNumber = batchNumber;
    const open = model.open as NonNullable<Model['open']>;
    open.batchNumber = batchNumber;
    open.logged += events.length;
    open.succeeded += events.filter(({ status }) => status === 'success').length;
    model.logged += events.length;
    open.expires = Math.max(open.expires, model.now + lease);
    model.due = Math.max(model.due, open.expires);
    if (move !== null) model.cursor = { version: version + 1, syncedTo };
    if (pushing !== null && model.change?.version === pushing) model.change = null;
    const last = new Map(outcomes.map(({ record, error }) => [records[record] as string, error]));
    for (const [id, error] of last) {
      if (error === 'none') {
        model.failing.delete(id);
        continue;
      }
      const before = model.failing.get(id);
      const attempts = (before?.attempts ?? 0) + 1;
      const firstFailed = before?.firstFailed ?? model.now;
      const isFinal = error === 'hopeless' || (attempts >= 10 && model.now - firstFailed >= 86_400);
      const nextAttempt = isFinal
        ? Number.NaN
        : await this.#drawn('next_attempt_at', attempts, 60, 21_600, id);
      model.failing.set(id, { attempts, firstFailed, isFinal, nextAttempt });
    }
  }

  /** Checks a random delay against its bounds, and returns it. */
  async #drawn(
    column: 'next_sync_at' | 'next_attempt_at',
    attempts: number,
    base: number,
    longest: number,
    recordId?: string,
  ): Promise<number> {
    const { rows } =
      recordId === undefined
        ? await this.#client.query(
            `select coalesce(not_before_at, ${column}) as at from crm_connections where id = $1`,
            [this.#key.connectionId],
          )
        : await this.#client.query(
            `select ${column} as at from crm_sync_failures where connection_id = $1 and record_id = $2`,
            [this.#key.connectionId, recordId],
          );
    const drawn = seconds(rows[0].at);
    const whole = Math.min(base * 2 ** Math.min(attempts - 1, 20), longest);
    expect(drawn - this.model.now).toBeGreaterThanOrEqual(whole / 2 - 0.01);
    expect(drawn - this.model.now).toBeLessThanOrEqual(whole + 0.01);
    return drawn;
  }

  /** Compares the whole state of the database with the model's. */
  async #compare(): Promise<void> {
    const { model } = this;
    const { connectionId } = this.#key;
    const { rows } = await this.#client.query(
      `select status, failure_count, first_failed_at, next_sync_at, last_synced_at, sync_requested_at is not null as is_requested,
         (select jsonb_agg(jsonb_build_object('id', id::text, 'batch', batch_number, 'logged', success_count + skipped_count + error_count))
          from crm_sync_runs where connection_id = $1 and ended_at is null) as open,
         (select expires_at from crm_sync_runs where connection_id = $1 and ended_at is null) as expires_at,
         (select count(*)::integer from crm_sync_log where connection_id = $1) as logged,
         (select version from crm_outbound_changes where connection_id = $1) as change
       from crm_connections where id = $1`,
      [connectionId],
    );
    const [row] = rows;
    const { open } = model;
    expect({
      status: row.status,
      failures: row.failure_count,
      firstFailed: secondsOrNull(row.first_failed_at),
      due: Math.round(seconds(row.next_sync_at)),
      lastSynced: secondsOrNull(row.last_synced_at),
      isRequested: row.is_requested,
      open: row.open?.[0] ?? null,
      expires: secondsOrNull(row.expires_at),
      logged: row.logged,
      change: row.change,
    }).toEqual({
      status: model.isError ? 'error' : 'active',
      failures: model.failures,
      firstFailed: model.firstFailed,
      due: Math.round(model.due),
      lastSynced: model.lastSynced,
      isRequested: model.isRequested,
      open: open && { id: open.id, batch: open.batchNumber, logged: open.logged },
      expires: open?.expires ?? null,
      logged: model.logged,
      change: model.change?.version ?? null,
    });
    const failures = await syncFailureList(this.#client, this.#key);
    expect(
      failures.map(({ recordId, attempts, gaveUpAt }) => [recordId, attempts, gaveUpAt !== null]).toSorted(),
    ).toEqual([...model.failing].map(([id, { attempts, isFinal }]) => [id, attempts, isFinal]).toSorted());
    const [cursor] = await syncCursorList(this.#client, this.#key);
    expect({
      version: cursor?.version ?? 0,
      syncedTo: secondsOrNull(cursor?.position?.syncedTo ?? null),
    }).toEqual(model.cursor);
  }
}

function time(secondsAfter: number): string {
  return new Date(start + secondsAfter * 1000).toISOString();
}

function seconds(at: Date | string): number {
  return (new Date(at).getTime() - start) / 1000;
}

function secondsOrNull(at: Date | string | null): number | null {
  return at === null ? null : seconds(at);
}

test('the database matches the model, whatever workers do and wherever they stop', {
  timeout: 300_000,
}, async () => {
  await withClient(url, async (client) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }), async (steps) => {
        // Removes what earlier runs of this property left.
        await pool.query('truncate crm_sync_runs, crm_sync_cursors, crm_sync_failures, crm_outbound_changes');
        await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
        const { organisationId, contactIds } = await createTenant(pool, 1);
        const key = await connect(pool, organisationId);
        await pool.query('update crm_connections set next_sync_at = $2 where id = $1', [
          key.connectionId,
          time(0),
        ]);
        const comparison = new Comparison(client, key, contactIds[0] as string);
        for (const each of steps) await comparison.run(each);
      }),
      {
        numRuns: Number(process.env.MODEL_RUNS ?? 60),
        ...(process.env.MODEL_SEED ? { seed: Number(process.env.MODEL_SEED) } : {}),
      },
    );
  });
});
