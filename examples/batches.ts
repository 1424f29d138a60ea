// Records the batches of a run, each in one transaction with the changes to our own tables.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BatchEvent,
  type ClaimedRun,
  CrmSchemaError,
  type CursorMove,
  type RequestedRecord,
  recordRequestClear,
  syncBatchRecord,
  syncRunHeartbeat,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import type { Requests } from './requests.js';

/** The batches of one run. */
export class Batches {
  readonly #pool: pg.Pool;
  readonly #run: ClaimedRun;
  readonly #requests: Requests;
  /** How many were recorded, or were tried to be. */
  count = 0;

  constructor(pool: pg.Pool, run: ClaimedRun, requests: Requests) {
    this.#pool = pool;
    this.#run = run;
    this.#requests = requests;
  }

  /**
   * Records a batch. If the response is lost, repeats it: the number of a batch that was recorded makes the repetition
   * a no-op.
   *
   * @param apply makes the changes to our own tables, and returns the events
   * @param rest.requested the records that a webhook had named, which the batch has read
   */
  async record(
    apply: (client: pg.ClientBase) => Promise<BatchEvent[]>,
    rest: { cursors?: CursorMove[]; requested?: RequestedRecord[] } = {},
  ): Promise<void> {
    const { cursors = [], requested = [] } = rest;
    const { leaseSeconds } = this.#requests;
    this.count += 1;
    const batch = { ...this.#run, batchNumber: this.count, leaseSeconds };
    for (let attempt = 1; ; attempt += 1) {
      try {
        const began = performance.now();
        await transaction(this.#pool, async (client) => {
          // First, so that the connection is locked before any contact, and a lost lease is found early.
          await syncRunHeartbeat(client, batch);
          const events = await apply(client);
          const { outcome } = await syncBatchRecord(client, { ...batch, events, cursors });
          if (requested.length > 0) await recordRequestClear(client, { ...batch, records: requested });
          return outcome === 'recorded';
        });
        this.#requests.leaseExtendedAt(began);
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
