import * as queries from '../generated/crm_rate_limits.js';
import type { Queryable } from '../statements/prepared-query.js';
import { type Provider, type RateLimitCounted, rateLimitCounts, type Timestamp } from '../types.js';
import {
  checkBatch,
  checkLimit,
  checkObject,
  checkOneOf,
  checkParameter,
  checkProvider,
  checkRetryAfter,
  checkShortText,
  checkWholeNumber,
  refuse,
} from '../validation.js';
import type { RateLimit } from './rate-limit-defaults.js';

/** Identifies a rate limit: everything that a CRM counts together, whichever connections and workers send it. */
export interface RateLimitKey {
  /** The CRM. */
  provider: Provider;
  /**
   * What the CRM counts by: the connection's account, or the id of the API key, if several connections use one. 1 to
   * 200 characters. Never a secret: it is stored and shown as it is.
   */
  scope: string;
  /** Which requests the CRM counts together. */
  counted: RateLimitCounted;
}

/** The parameters of {@link rateLimitTake}: `{ provider, scope, ...rateLimits[provider].reads }`. */
export interface RateLimitTakeParams extends RateLimitKey, RateLimit {
  /** How many requests are to be sent in the next moment: 1 to 1,000; defaults to 1. */
  requests?: number | undefined;
}

/** Permits to send requests. */
export interface RateLimitPermits {
  /** How many requests may be sent; 0 if none may be sent now. */
  granted: number;
  /** If none may be sent, when to ask again, in milliseconds from now; otherwise 0. */
  waitMilliseconds: number;
  /**
   * For how long the permits are valid, in milliseconds from the moment at which the call began: a fifth of the shortest
   * window, at most 1,000. What is not sent by then must not be sent on these permits.
   */
  validMilliseconds: number;
}

/**
 * Takes permits to send requests to a CRM, for the worker that is about to send them. Whoever shares the limit shares
 * what is left of it, and no window, wherever it begins, has more requests than it allows. While a block lasts
 * ({@link rateLimitBlock}), nobody is given any.
 *
 * - Take as many as you can send while they are valid, so that there is one call for several requests. You are given
 *   at most a twentieth of what the smallest window allows, so that some are left for others. Permits that you do
 *   not use lapse.
 * - Call it outside transactions: the limit's row is locked until the transaction ends.
 * - Under constant load, a window of a minute or longer gives nine tenths of what it allows, and one of a second three
 *   quarters: requests are counted in tenths of the window, and for as long as they may be on their way.
 *
 * @throws CrmSchemaError `invalid_input`, `unknown_provider`
 */
export async function rateLimitTake(
  client: Queryable,
  params: RateLimitTakeParams,
): Promise<RateLimitPermits> {
  checkRateLimitKey(params);
  const { provider, scope, counted, requests = 1 } = params;
  checkLimit(requests, 'requests');
  const windows = checkBatch('windows', params.windows);
  if (windows.length < 1 || windows.length > 10) refuse({ field: 'windows' }, 'must have 1 to 10 elements');
  for (const [rowIndex, window] of windows.entries()) {
    checkObject({ field: 'windows', rowIndex }, window);
    checkWholeNumber({ field: 'windows.requests', rowIndex }, window.requests, 1, 1_000_000_000);
    checkWholeNumber({ field: 'windows.seconds', rowIndex }, window.seconds, 1, 604_800);
  }
  const windowSeconds = windows.map(({ seconds }) => seconds);
  const windowRequests = windows.map((window) => window.requests);
  const [row] = await queries.rateLimitTake.run(
    { provider, scope, counted, requests, windowSeconds, windowRequests },
    client,
  );
  return row as RateLimitPermits;
}

/** The parameters of {@link rateLimitBlock}. */
export interface RateLimitBlockParams extends RateLimitKey {
  /**
   * For how long the CRM refuses requests, in whole seconds from now, at most 604,800: what its 429 says, or the
   * `waitSeconds` of `rateLimits`.
   */
  seconds: number;
}

/**
 * Records that a CRM has answered 429: nobody who shares the limit is given permits before the block ends. Permits that
 * others hold at that moment stay valid, for at most a second. A shorter block never shortens a longer one.
 *
 * @throws CrmSchemaError `invalid_input`, `unknown_provider`
 */
export async function rateLimitBlock(
  client: Queryable,
  params: RateLimitBlockParams,
): Promise<{
  /** When the block ends. */
  blockedUntil: Timestamp;
}> {
  checkRateLimitKey(params);
  const { provider, scope, counted, seconds } = params;
  checkRetryAfter({ field: 'seconds' }, seconds);
  const [row] = await queries.rateLimitBlock.run({ provider, scope, counted, seconds }, client);
  return row as { blockedUntil: Timestamp };
}

/**
 * Deletes the state of limits in which nothing counts any longer, such as those of accounts that were disconnected.
 * Call it daily, repeatedly until it returns 0. Deleting a limit that is used again a moment later does no harm.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function rateLimitPurge(
  client: Queryable,
  params: {
    /** The maximum number of limits: 1 to 1,000; defaults to 1,000. */
    limit?: number | undefined;
  } = {},
): Promise<{
  /** The number of limits deleted. */
  purged: number;
}> {
  checkParameter('params', params);
  const { limit = 1000 } = params;
  checkLimit(limit);
  const [row] = await queries.rateLimitPurge.run({ limit }, client);
  return row as { purged: number };
}

function checkRateLimitKey(key: RateLimitKey): void {
  checkParameter('params', key);
  checkProvider({ field: 'provider' }, key.provider);
  checkShortText({ field: 'scope' }, key.scope, 200);
  checkOneOf({ field: 'counted' }, key.counted, rateLimitCounts);
}
