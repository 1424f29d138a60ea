import type pg from 'pg';
import { Lacking } from '../cli/failures.js';
import { canonicalTimestamp } from '../timestamps.js';
import type { Timestamp } from '../types.js';
import { dropMarker } from './drop-marker.js';

/** A partition of the log, or a table that was one. */
export interface LogPartition {
  /** For the catalog: names may be given to another table meanwhile. */
  oid: string;
  name: string;
  /** As it stands in SQL: quoted, and with its schema where the search_path needs it. */
  sqlName: string;
  /** The first moment of its range; null if it has no beginning. */
  from: Timestamp | null;
  /** The first moment after its range; null if it has no end. */
  before: Timestamp | null;
  /** Detaching: a detach is under way, or was interrupted. */
  standing: 'attached' | 'detaching' | 'detached';
  /** About how many rows; null if not known. */
  rows: number | null;
  /** With indexes. */
  bytes: number;
  /** Whether the session may read it past the log. */
  isReadable: boolean;
}

/** The log, and how long it is kept. */
export interface PartitionedLog {
  at: Timestamp;
  keepDays: number;
  /** What ended before then is past its time. */
  keptFrom: Timestamp;
  /** In the order of time. */
  partitions: LogPartition[];
}

/**
 * Reads what partitions there are, and which detached tables wait to be dropped: those of the log's owner,
 * beside it, that have the name of a partition and the comment that says so.
 *
 * @throws Lacking if no period is known
 */
export async function readLog(client: pg.Client): Promise<PartitionedLog> {
  return looking(client, async () => {
    const { rows: periods } = await client.query(period);
    if (periods.length === 0) throw new Lacking('crm_retention does not say how long crm_sync_log is kept.');
    const { at, keepDays, keptFrom } = periods[0];
    return {
      at: timestamp(at),
      keepDays,
      keptFrom: timestamp(keptFrom),
      partitions: await readPartitions(client),
    };
  });
}

/** In a transaction, because bounds are printed by the session's settings; sizes wait for whoever holds a partition. */
async function looking<Result>(client: pg.Client, work: () => Promise<Result>): Promise<Result> {
  await client.query('begin read only');
  try {
    await client.query(
      "set local timezone = 'UTC'; set local datestyle = 'ISO'; set local lock_timeout = '5s'",
    );
    return await work();
  } finally {
    await client.query('rollback');
  }
}

async function readPartitions(client: pg.Client): Promise<LogPartition[]> {
  const { rows } = await client.query(partitions, [dropMarker]);
  return rows.map(partition).sort(inTime);
}

/**
 * The times of which events are refused, as no partition has them; null where they have no end. Without those of a
 * partition that is being detached: who does that sees to it.
 */
export async function readGaps(client: pg.Client): Promise<Pick<LogPartition, 'from' | 'before'>[]> {
  const all = await looking(client, () => readPartitions(client));
  const attached = all.filter(({ standing }) => standing !== 'detached');
  const ends = [null, ...attached.map(({ before }) => before)];
  const starts = [...attached.map(({ from }) => from), null];
  return ends
    .map((end, index) => ({ from: end, before: starts[index] ?? null }))
    .filter(({ from, before }) => from !== before);
}

/** Not by crm_now(): what is dropped goes by the real time. */
const period = `
  select
    now() as at,
    keep_days as "keepDays",
    now() - pg_catalog.make_interval(hours => 24 * keep_days) as "keptFrom"
  from crm_retention
  where subject = 'crm_sync_log'`;

const partitions = `
  select
    relation.oid::text as oid,
    relation.oid::regclass::text as "sqlName",
    relation.relname as name,
    case
      when inhrelid is null then 'detached'
      when inhdetachpending then 'detaching'
      else 'attached'
    end as standing,
    trim('''' from nullif(substring(bound from 'FROM \\((.*)\\) TO'), 'MINVALUE'))::timestamptz as "from",
    trim('''' from nullif(substring(bound from 'TO \\((.*)\\)'), 'MAXVALUE'))::timestamptz as before,
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
        and relation.relname::text ~ '^crm_sync_log_([0-9]{4}_[0-9]{2}|before_[0-9]{4}_[0-9]{2}(_[0-9]+)?)$'
        and pg_catalog.right(pg_catalog.obj_description(relation.oid, 'pg_class'), pg_catalog.length($1::text)) = $1::text
      )
    )`;

type Row = Omit<LogPartition, 'from' | 'before'> & { from: Date | null; before: Date | null };

function partition(row: Row): LogPartition {
  const { from, before } = row.standing === 'detached' ? rangeByName(row.name) : row;
  return { ...row, from: from && timestamp(from), before: before && timestamp(before) };
}

/** What is detached has no bounds any more, but a month in its name. */
function rangeByName(name: string): { from: Date | null; before: Date } {
  const [, isBefore, year, month] = /^crm_sync_log_(before_)?(\d{4})_(\d\d)/.exec(name) ?? [];
  const start = (monthsLater: number) => new Date(Date.UTC(Number(year), Number(month) - 1 + monthsLater));
  return isBefore ? { from: null, before: start(0) } : { from: start(0), before: start(1) };
}

function timestamp(date: Date): Timestamp {
  return canonicalTimestamp(date.toISOString());
}

function inTime(one: LogPartition, other: LogPartition): number {
  const key = ({ from, before }: LogPartition) => `${before ?? '9999'} ${from ?? ''}`;
  return key(one) < key(other) ? -1 : 1;
}
