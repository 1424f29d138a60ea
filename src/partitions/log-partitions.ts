import { CrmSchemaError } from '../errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { requiredSettings, setLocally } from '../statements/session-settings.js';
import { canonicalTimestamp } from '../timestamps.js';
import type { Timestamp } from '../types.js';
import { rangeColumns, readAttached } from './attached.js';
import { hasDropMarker } from './drop-marker.js';
import { datedNamePattern, rangeOfName, sqlNameOf } from './names.js';
import { byTime, gapsBetween, type PartitionRange } from './ranges.js';

/** A partition of the log, or a table that was one. */
export interface LogPartition extends PartitionRange {
  /** For the catalog: another table may have taken the name since. */
  oid: string;
  name: string;
  /** As it stands in SQL: quoted, and with its schema where the search_path needs it. */
  sqlName: string;
  /** `detaching`: a detach is under way, or was interrupted. */
  attachment: 'attached' | 'detaching' | 'detached';
  /** An estimate; null if unknown. */
  rows: number | null;
  /** Including indexes. */
  bytes: number;
  /** Whether the session may read it directly, not through the log. */
  isReadable: boolean;
}

/** The log's partitions, and its retention period. */
export interface PartitionedLog {
  /** The server's time. */
  at: Timestamp;
  /** The retention period, in days. */
  keepDays: number;
  /** Partitions that end at this moment or before it are past their retention period. */
  keptFrom: Timestamp;
  /** In ascending order of time. */
  partitions: LogPartition[];
}

/**
 * Reads the attached partitions, and the detached tables that wait to be dropped: tables of the log's owner, in the
 * log's schema, with a partition's name and the comment that marks them. For use within `inReadOnlyTransaction`.
 *
 * @throws CrmSchemaError `retention_period_missing`
 */
export async function readLog(client: DedicatedConnection): Promise<PartitionedLog> {
  const { rows: periods } = await client.query(selectRetentionPeriod);
  if (periods.length === 0) {
    throw new CrmSchemaError(
      'retention_period_missing',
      'crm_retention has no row for crm_sync_log, so its retention period is unknown: insert one.',
    );
  }
  const { at, keepDays, keptFrom } = periods[0];
  const { rows } = await client.query(selectPartitions, [datedNamePattern]);
  return {
    at: canonicalTimestamp(at),
    keepDays,
    keptFrom: canonicalTimestamp(keptFrom),
    partitions: rows.map(withRange).sort(byTime),
  };
}

/**
 * Finds the times that no partition covers: events of those times are refused. Counts a partition that is being
 * detached as covering its time, because whoever detaches it takes care of that. For use within
 * `inReadOnlyTransaction`.
 */
export async function readGaps(client: DedicatedConnection): Promise<PartitionRange[]> {
  const { rows } = await client.query("select 'crm_sync_log'::regclass::oid::text as id");
  return gapsBetween(await readAttached(client, rows[0].id)).map(canonicalRange);
}

/** Whether a partition holds events. The user must be able to read it. */
export async function hasEvents(client: DedicatedConnection, { sqlName }: LogPartition): Promise<boolean> {
  const { rows } = await client.query(`select exists (select from ${sqlName}) as "hasEvents"`);
  return rows[0].hasEvents;
}

/**
 * Runs `work` in a transaction that only reads, with the settings on which the catalog's answers depend. Waits up to
 * five seconds for a lock, because measuring a partition locks it.
 */
export async function inReadOnlyTransaction<Result>(
  client: DedicatedConnection,
  work: () => Promise<Result>,
): Promise<Result> {
  await client.query('begin isolation level read committed read only');
  try {
    await setLocally(client, { ...requiredSettings, timezone: 'UTC', lock_timeout: '5000' });
    return await work();
  } finally {
    await client.query('rollback').catch(() => {});
  }
}

/**
 * SQL: a timestamptz in UTC, to the millisecond, as text: a client's own parser may make anything of a timestamptz.
 *
 * @param moment an SQL expression
 */
function utcText(moment: string): string {
  return `pg_catalog.to_char(${moment} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"000Z"')`;
}

/** By the real time, not by crm_now(), because what is dropped is lost. */
const selectRetentionPeriod = `
  select
    ${utcText('pg_catalog.now()')} as at,
    keep_days::float8 as "keepDays",
    ${utcText('(pg_catalog.now() - pg_catalog.make_interval(hours => 24 * keep_days))')} as "keptFrom"
  from crm_retention
  where subject = 'crm_sync_log'`;

/** $1: what the names of detached tables match. */
const selectPartitions = `
  select
    relation.oid::text as oid,
    ${sqlNameOf('relation')} as "sqlName",
    relation.relname::text as name,
    case
      when inhrelid is null then 'detached'
      when inhdetachpending then 'detaching'
      else 'attached'
    end as attachment,
    ${rangeColumns},
    nullif(greatest(relation.reltuples::float8, pg_catalog.pg_stat_get_live_tuples(relation.oid)::float8), -1::float8) as rows,
    coalesce(pg_catalog.pg_total_relation_size(relation.oid::regclass), 0)::float8 as bytes,
    pg_catalog.has_table_privilege(relation.oid, 'select') as "isReadable"
  from pg_catalog.pg_class as log
  cross join pg_catalog.pg_class as relation
  left join pg_catalog.pg_inherits
    on inhrelid = relation.oid
    and inhparent = log.oid
  left join pg_catalog.pg_get_expr(relation.relpartbound, relation.oid) as bound
    on true
  where log.oid = 'crm_sync_log'::regclass::oid
    and (
      inhrelid is not null
      or (
        relation.relnamespace = log.relnamespace
        and relation.relowner = log.relowner
        and relation.relkind = 'r'
        and not relation.relispartition
        and relation.relname::text ~ $1::text
        and ${hasDropMarker('relation.oid')}
      )
    )`;

/** Gives a row its range: that of its name if it is detached, and so has no bounds. */
function withRange(row: LogPartition): LogPartition {
  return { ...row, ...(row.attachment === 'detached' ? rangeOfName(row.name) : canonicalRange(row)) };
}

/** Converts the moments of a range from PostgreSQL's form to this package's. */
function canonicalRange({ from, before }: PartitionRange): PartitionRange {
  return { from: from && canonicalTimestamp(from), before: before && canonicalTimestamp(before) };
}
