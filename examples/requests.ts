// How a run talks to its CRM: in time, only while its lease is live, and no faster than the CRM allows.
import { setTimeout as sleep } from 'node:timers/promises';
import { type ClaimedRun, type Provider, rateLimits, syncRunHeartbeat } from '@nurturehub/crm-schema';
import type pg from 'pg';
import { type Crm, CrmError } from './crm.js';
import { type Operation, RateLimiter } from './rate-limit.js';

/** The longest request to a CRM, in seconds. */
const longestRequest = 60;

/** The run was told to stop. Its kind is one that ends a run, so that what is done is recorded, and the rest stays. */
export class Interrupted extends CrmError {
  constructor() {
    super('network', 'The worker stopped before the CRM had answered.', { retryable: true });
  }
}

/** How long the CRM is to be left alone after an error, in seconds; undefined if the error does not ask for it. */
export function waitAfter(error: unknown, crm: Crm | undefined, provider: Provider): number | undefined {
  if (!(error instanceof CrmError)) return undefined;
  if (error.kind !== 'rate_limited') return error.retryAfterSeconds;
  return error.retryAfterSeconds ?? crm?.rateLimitWaitSeconds ?? rateLimits[provider].waitSeconds;
}

/** The requests of one run, and its lease. */
export class Requests {
  readonly #pool: pg.Pool;
  readonly #run: ClaimedRun;
  readonly leaseSeconds: number;
  readonly #signal: AbortSignal;
  /** By a monotonic clock. */
  #leaseEndsAt: number;
  #limiter: RateLimiter | undefined;
  /** The CRM, once it is signed in to. */
  crm: Crm | undefined;

  constructor(pool: pg.Pool, run: ClaimedRun, leaseSeconds: number, signal: AbortSignal) {
    this.#pool = pool;
    this.#run = run;
    this.leaseSeconds = leaseSeconds;
    this.#signal = signal;
    this.#leaseEndsAt = performance.now() + leaseSeconds * 1000;
  }

  /** Signs in. Not interrupted, because a new token may be in the answer. */
  async open(signIn: () => Promise<Crm>): Promise<Crm> {
    this.crm = await inTime(signIn());
    const { rateLimitScope: scope } = this.crm;
    const { provider } = this.#run;
    if (scope !== undefined) this.#limiter = new RateLimiter(this.#pool, { provider, scope });
    return this.crm;
  }

  /** Throws if the run was told to stop. */
  checkSignal(): void {
    if (this.#signal.aborted) throw new Interrupted();
  }

  /** Reads. If the run is told to stop, the answer is not waited for. */
  async read<Answer>(request: () => Promise<Answer>): Promise<Answer> {
    this.checkSignal();
    const stopped = new AbortController();
    try {
      return await Promise.race([this.send(request, 'reads'), this.#interruption(stopped.signal)]);
    } finally {
      stopped.abort();
    }
  }

  /** Sends a request while the lease is live, and repeats it after a short rate limit. Its answer is waited for. */
  async send<Answer>(request: () => Promise<Answer>, operation: Operation = 'writes'): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      // A delayed worker must not overwrite what another has written meanwhile.
      if (performance.now() > this.#leaseEndsAt - this.leaseSeconds * 500) await this.heartbeat();
      await this.#turn(operation);
      try {
        return await inTime(request());
      } catch (error) {
        const isRateLimit = error instanceof CrmError && error.kind === 'rate_limited';
        const wait = waitAfter(error, this.crm, this.#run.provider);
        if (isRateLimit) await this.#limiter?.refused(operation, { retryAfterSeconds: wait });
        if (!isRateLimit || wait === undefined || wait > this.leaseSeconds / 2 || attempt === 5) throw error;
        await sleep(wait * 1000, undefined, { signal: this.#signal }).catch(() => this.checkSignal());
      }
    }
  }

  /** Waits for a permit, for no longer than the lease then allows the request to take. */
  async #turn(operation: Operation): Promise<void> {
    const longestWaitSeconds = this.leaseSeconds / 4;
    await this.#limiter?.turn(operation, { signal: this.#signal, longestWaitSeconds }).catch((error) => {
      this.checkSignal();
      throw error;
    });
  }

  async heartbeat(): Promise<void> {
    await syncRunHeartbeat(this.#pool, { ...this.#run, leaseSeconds: this.leaseSeconds });
    this.#leaseEndsAt = performance.now() + this.leaseSeconds * 1000;
  }

  /** A batch that was begun at this time has extended the lease. */
  leaseExtendedAt(time: number): void {
    this.#leaseEndsAt = time + this.leaseSeconds * 1000;
  }

  /** Rejects when the run is told to stop. */
  #interruption(over: AbortSignal): Promise<never> {
    return new Promise((_, reject) => {
      this.#signal.addEventListener('abort', () => reject(new Interrupted()), { once: true, signal: over });
    });
  }
}

/** Limits a request's time, so that one without a response does not block the worker. */
async function inTime<Answer>(answer: Promise<Answer>): Promise<Answer> {
  const ending = new AbortController();
  const late = sleep(longestRequest * 1000, undefined, { signal: ending.signal }).then(() => {
    throw new CrmError('timeout', `No response within ${longestRequest} seconds.`, { retryable: true });
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    ending.abort();
    late.catch(() => {});
  }
}
