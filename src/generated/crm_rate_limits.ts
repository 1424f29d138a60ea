/** Types generated for queries found in "queries/crm_rate_limits.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp } from '../types.js';

/** The parameters of {@link rateLimitBlock}. */
export interface RateLimitBlockParams {
  counted: string;
  provider: string;
  scope: string;
  seconds: number;
}

/** A row of {@link rateLimitBlock}. */
export interface RateLimitBlockResult {
  blockedUntil: Timestamp;
}

/**
 * Records that a CRM refuses requests for so many seconds from now (crm_block_rate_limit). A shorter block does not
 * shorten a longer one. Returns one row with the end of the block. Uses crm_rate_limits_pkey. Locks the row of the
 * limit, which it creates if it is missing.
 *
 * @remarks
 * ```sql
 * select
 *   crm_block_rate_limit(
 *     :provider!::text,
 *     :scope!::text,
 *     :counted!::text,
 *     :seconds!::integer
 *   ) as "blockedUntil!"
 * ```
 */
export const rateLimitBlock = new PreparedQuery<RateLimitBlockParams,RateLimitBlockResult>({
  name: 'rateLimitBlock',
  statementName: 'rateLimitBlock_193f56ae',
  params: [
    { name: 'provider', required: true },
    { name: 'scope', required: true },
    { name: 'counted', required: true },
    { name: 'seconds', required: true },
  ],
  text: `select /* rateLimitBlock */
  crm_block_rate_limit(
    $1::text,
    $2::text,
    $3::text,
    $4::integer
  ) as "blockedUntil"`,
});


/** The parameters of {@link rateLimitPurge}. */
export interface RateLimitPurgeParams {
  limit: number;
}

/** A row of {@link rateLimitPurge}. */
export interface RateLimitPurgeResult {
  purged: number;
}

/**
 * Deletes limits in which nothing counts any longer. Returns one row with their number. Reads the whole table, which
 * has a row or two for each account. Locks the limits that it deletes, and skips those that are locked.
 *
 * @remarks
 * ```sql
 * with expired as (
 *   select
 *     provider,
 *     scope,
 *     counted
 *   from crm_rate_limits
 *   where expires_at < crm_now()
 *   limit :limit!::integer
 *   for update skip locked
 * ),
 * purged as (
 *   delete from crm_rate_limits as limits
 *   using expired
 *   where limits.provider = expired.provider
 *     and limits.scope = expired.scope
 *     and limits.counted = expired.counted
 *   returning limits.scope
 * )
 * select
 *   count(*)::integer as "purged!"
 * from purged
 * ```
 */
export const rateLimitPurge = new PreparedQuery<RateLimitPurgeParams,RateLimitPurgeResult>({
  name: 'rateLimitPurge',
  statementName: 'rateLimitPurge_84ba859f',
  params: [
    { name: 'limit', required: true },
  ],
  text: `with /* rateLimitPurge */ expired as (
  select
    provider,
    scope,
    counted
  from crm_rate_limits
  where expires_at < crm_now()
  limit $1::integer
  for update skip locked
),
purged as (
  delete from crm_rate_limits as limits
  using expired
  where limits.provider = expired.provider
    and limits.scope = expired.scope
    and limits.counted = expired.counted
  returning limits.scope
)
select
  count(*)::integer as "purged"
from purged`,
});


/** The parameters of {@link rateLimitTake}. */
export interface RateLimitTakeParams {
  counted: string;
  provider: string;
  requests: number;
  scope: string;
  windowRequests: number[];
  windowSeconds: number[];
}

/** A row of {@link rateLimitTake}. */
export interface RateLimitTakeResult {
  granted: number;
  validMilliseconds: number;
  waitMilliseconds: number;
}

/**
 * Takes permits to send requests in the next moment, from several windows at once, all or nothing
 * (crm_take_rate_limit). Returns one row: how many, after how long to ask again if none, and for how long they are
 * valid. Uses crm_rate_limits_pkey. Locks the row of the limit, which it creates if it is missing: call it in no
 * transaction that lasts.
 *
 * @remarks
 * ```sql
 * select
 *   taken.granted as "granted!",
 *   taken.wait_milliseconds as "waitMilliseconds!",
 *   taken.valid_milliseconds as "validMilliseconds!"
 * from crm_take_rate_limit(
 *   :provider!::text,
 *   :scope!::text,
 *   :counted!::text,
 *   :requests!::integer,
 *   :windowSeconds!::integer[],
 *   :windowRequests!::integer[]
 * ) as taken
 * ```
 */
export const rateLimitTake = new PreparedQuery<RateLimitTakeParams,RateLimitTakeResult>({
  name: 'rateLimitTake',
  statementName: 'rateLimitTake_b186d5d4',
  params: [
    { name: 'provider', required: true },
    { name: 'scope', required: true },
    { name: 'counted', required: true },
    { name: 'requests', required: true },
    { name: 'windowSeconds', required: true },
    { name: 'windowRequests', required: true },
  ],
  text: `select /* rateLimitTake */
  taken.granted as "granted",
  taken.wait_milliseconds as "waitMilliseconds",
  taken.valid_milliseconds as "validMilliseconds"
from crm_take_rate_limit(
  $1::text,
  $2::text,
  $3::text,
  $4::integer,
  $5::integer[],
  $6::integer[]
) as taken`,
});


