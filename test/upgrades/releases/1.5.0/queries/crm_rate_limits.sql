/* @name rateLimitBlock */
-- Records that a CRM refuses requests for so many seconds from now (crm_block_rate_limit). A shorter block does not
-- shorten a longer one. Returns one row with the end of the block. Uses crm_rate_limits_pkey. Locks the row of the
-- limit, which it creates if it is missing.
select
  crm_block_rate_limit(
    :provider!::text,
    :scope!::text,
    :counted!::text,
    :seconds!::integer
  ) as "blockedUntil!";

/* @name rateLimitPurge */
-- Deletes limits in which nothing counts any longer. Returns one row with their number. Reads the whole table, which
-- has a row or two for each account. Locks the limits that it deletes, and skips those that are locked.
with expired as (
  select
    provider,
    scope,
    counted
  from crm_rate_limits
  where expires_at < crm_now()
  limit :limit!::integer
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
  count(*)::integer as "purged!"
from purged;

/* @name rateLimitTake */
-- Takes permits to send requests in the next moment, from several windows at once, all or nothing
-- (crm_take_rate_limit). Returns one row: how many, after how long to ask again if none, and for how long they are
-- valid. Uses crm_rate_limits_pkey. Locks the row of the limit, which it creates if it is missing: call it in no
-- transaction that lasts.
select
  taken.granted as "granted!",
  taken.wait_milliseconds as "waitMilliseconds!",
  taken.valid_milliseconds as "validMilliseconds!"
from crm_take_rate_limit(
  :provider!::text,
  :scope!::text,
  :counted!::text,
  :requests!::integer,
  :windowSeconds!::integer[],
  :windowRequests!::integer[]
) as taken;
