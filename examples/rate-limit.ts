// Keeps to a CRM's rate limit together with all other workers and connections that share it. Before each request to the
// CRM, await turn(); if the CRM answers 429, call refused(). Its database user is a member of crm_worker.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Provider,
  type ProviderRateLimits,
  type Queryable,
  type RateLimitCounted,
  rateLimitBlock,
  rateLimits,
  rateLimitTake,
} from '@nurturehub/crm-schema';
import { CrmError } from './crm.js';

/** Which limit a request counts for. */
export type Operation = 'reads' | 'writes';

/** A monotonic clock, in milliseconds. */
export interface Clock {
  now(): number;
  wait(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

const systemClock: Clock = {
  now: () => performance.now(),
  wait: (milliseconds, signal) => sleep(milliseconds, undefined, { signal }),
};

/** Permits in hand. */
interface Chunk {
  granted: number;
  left: number;
  takenAt: number;
  validUntil: number;
}

/** One worker's share of the limits of one account, or of one API key that several connections use. */
export class RateLimiter {
  readonly #client: Queryable;
  readonly #owner: { provider: Provider; scope: string };
  readonly #limits: ProviderRateLimits;
  readonly #clock: Clock;
  readonly #chunks = new Map<RateLimitCounted, Chunk>();

  /**
   * @param client a pool: the calls are short, and outside the worker's transactions
   * @param owner what the CRM counts by: its account, or the id of the API key; never the key
   * @param options.limits if the agency was promised others than the CRM documents
   */
  constructor(
    client: Queryable,
    { provider, scope }: { provider: Provider; scope: string },
    {
      limits = rateLimits[provider],
      clock = systemClock,
    }: { limits?: ProviderRateLimits; clock?: Clock } = {},
  ) {
    this.#client = client;
    this.#owner = { provider, scope };
    this.#limits = limits;
    this.#clock = clock;
  }

  /**
   * Waits until a request may be sent. Send it at once.
   *
   * @throws CrmError of kind `rate_limited` if that is in more than `longestWaitSeconds`, which is 60 by default
   */
  async turn(
    operation: Operation,
    { signal, longestWaitSeconds = 60 }: { signal?: AbortSignal; longestWaitSeconds?: number } = {},
  ): Promise<void> {
    const { counted, windows } = this.#limits[operation];
    const chunk = this.#chunkOf(counted);
    for (let late = 0; late < 5; ) {
      signal?.throwIfAborted();
      if (chunk.left > 0 && this.#clock.now() < chunk.validUntil) {
        chunk.left -= 1;
        return;
      }
      const requests = sizeOfNext(chunk, this.#clock.now());
      chunk.takenAt = this.#clock.now();
      const { granted, waitMilliseconds, validMilliseconds } = await rateLimitTake(this.#client, {
        ...this.#owner,
        counted,
        windows,
        requests,
      });
      chunk.granted = granted;
      chunk.left = granted;
      chunk.validUntil = chunk.takenAt + validMilliseconds;
      if (granted > 0) {
        if (this.#clock.now() >= chunk.validUntil) late += 1;
        continue;
      }
      if (waitMilliseconds > longestWaitSeconds * 1000) {
        throw new CrmError('rate_limited', "The CRM's rate limit is used up.", {
          retryable: true,
          retryAfterSeconds: waitMilliseconds / 1000,
        });
      }
      // Not all who wait come back at the same moment.
      await this.#clock.wait(waitMilliseconds + Math.random() * validMilliseconds, signal);
    }
    throw new CrmError('network', 'The database answers too slowly to keep to the rate limit.', {
      retryable: true,
    });
  }

  /**
   * Records that the CRM has answered 429, for everybody who shares the limit.
   *
   * @returns how long to wait, in seconds: what the CRM says, otherwise the CRM's default
   */
  async refused(
    operation: Operation,
    { retryAfterSeconds }: Pick<CrmError, 'retryAfterSeconds'>,
  ): Promise<number> {
    const { waitSeconds, [operation]: limit } = this.#limits;
    const seconds = Math.ceil(retryAfterSeconds ?? waitSeconds);
    const { counted } = limit;
    this.#chunkOf(counted).left = 0;
    await rateLimitBlock(this.#client, { ...this.#owner, counted, seconds });
    return seconds;
  }

  #chunkOf(counted: RateLimitCounted): Chunk {
    const chunk = this.#chunks.get(counted) ?? { granted: 0, left: 0, takenAt: 0, validUntil: 0 };
    this.#chunks.set(counted, chunk);
    return chunk;
  }
}

/** How many permits the next moment needs, by how fast the last ones were used. */
function sizeOfNext({ granted, left, takenAt, validUntil }: Chunk, now: number): number {
  const used = granted - left;
  const wanted = left > 0 ? used : Math.floor((used * (validUntil - takenAt)) / Math.max(now - takenAt, 1));
  return Math.min(Math.max(wanted, 1), 1000);
}
