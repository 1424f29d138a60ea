import type { Provider, RateLimitCounted } from '../types.js';

/** A window of a rate limit: so many requests in so many seconds, wherever the window begins. */
export interface RateLimitWindow {
  /** The maximum number of requests: 1 to 1,000,000,000. */
  requests: number;
  /** The length of the window, in seconds: 1 to 604,800. */
  seconds: number;
}

/** What a CRM counts together, and how many requests it allows. */
export interface RateLimit {
  /** Which requests it counts together. */
  counted: RateLimitCounted;
  /** The windows, which all apply at once: 1 to 10. */
  windows: readonly RateLimitWindow[];
}

/** The rate limits of a CRM. */
export interface ProviderRateLimits {
  /** The limit for requests that only read. */
  reads: RateLimit;
  /** The limit for requests that write. */
  writes: RateLimit;
  /** How long to wait after a 429 without `Retry-After`, in seconds. */
  waitSeconds: number;
}

const second = 1;
const minute = 60;
const day = 86_400;

/** The limits of a CRM that counts all requests together. */
function together(waitSeconds: number, ...windows: RateLimitWindow[]): ProviderRateLimits {
  const limit: RateLimit = { counted: 'requests', windows };
  return { reads: limit, writes: limit, waitSeconds };
}

/** Where a CRM states no limit: a cautious one of ours. */
const unstated = together(60, { requests: 100, seconds: minute });

/**
 * The rate limits that the CRMs document, and how long to wait after a 429 without `Retry-After`. If an agency has
 * been granted others, pass those to `rateLimitTake`.
 *
 * - **agentOS**: 50 requests a minute for each API key, in a rolling window; after a 429, wait 60 seconds. A
 *   client that keeps asking may get 403 and be blocked. <https://hub.agentos.com/api-throttle-limits-and-rate-limiting>
 * - **Reapit**: 20 requests a second and 250,000 a day for each customer; it sends no `Retry-After`. The wait of 10
 *   seconds is ours. <https://foundations-documentation.reapit.cloud/api/api-documentation#rate-limits>
 * - **Street**: 600 reads and 100 writes a minute. The wait of a minute is ours: by then its windows are over.
 *   <https://developers-beta.street.co.uk/docs/street-open-api>
 * - **Alto**, **Loop** and **custom** state none. 100 requests a minute, and a wait of a minute, are ours.
 */
export const rateLimits: Readonly<Record<Provider, ProviderRateLimits>> = {
  agentos: together(60, { requests: 50, seconds: minute }),
  reapit: together(10, { requests: 20, seconds: second }, { requests: 250_000, seconds: day }),
  street: {
    reads: { counted: 'reads', windows: [{ requests: 600, seconds: minute }] },
    writes: { counted: 'writes', windows: [{ requests: 100, seconds: minute }] },
    waitSeconds: 60,
  },
  alto: unstated,
  loop: unstated,
  custom: unstated,
};
