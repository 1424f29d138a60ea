import type pg from 'pg';
import { expired, isOfThePast, unfinished } from '../partitions/drop.js';
import type { LogPartition, PartitionedLog } from '../partitions/log-partitions.js';
import type { Timestamp } from '../types.js';
import { count } from './progress.js';
import { table, wrapped } from './text.js';
import { minute } from './times.js';

/** How a partition stands, for people and for programs. */
type State = 'kept' | 'expired' | 'before' | 'catch_all' | 'detaching' | 'detached';

/** The ends of the log that hold something, by name; null where the user may not look. */
export type Occupied = ReadonlyMap<string, boolean | null>;

/** Looks into the partitions that are empty unless something came too late or too early. */
export async function holdsEvents(client: pg.Client, log: PartitionedLog): Promise<Occupied> {
  const found = new Map<string, boolean | null>();
  for (const partition of log.partitions) {
    if (!isEnd(state(partition, log))) continue;
    const { name, sqlName, isReadable } = partition;
    if (isReadable) {
      const { rows } = await client.query(`select exists (select from ${sqlName}) as found`);
      found.set(name, rows[0].found);
    } else found.set(name, null);
  }
  return found;
}

function isEnd(of: State): boolean {
  return of === 'before' || of === 'catch_all';
}

function state(partition: LogPartition, log: PartitionedLog): State {
  const { name, before, standing } = partition;
  if (standing !== 'attached') return standing;
  if (before === null) return 'catch_all';
  if (isOfThePast(name)) return 'before';
  return expired(log).includes(partition) ? 'expired' : 'kept';
}

/** For programs. */
export function listed(log: PartitionedLog, occupied: Occupied) {
  const { at, keepDays, keptFrom } = log;
  return {
    at,
    keepDays,
    keptFrom,
    partitions: log.partitions.map((partition) => {
      const { name, from, before, rows, bytes } = partition;
      const of = state(partition, log);
      const ends = { hasEvents: occupied.get(name) ?? null };
      return {
        name,
        from,
        before,
        rows,
        bytes,
        state: of,
        ...(isEnd(of) ? ends : { keptUntil: end(partition, log) }),
      };
    }),
  };
}

/** For people. */
export function listReport(log: PartitionedLog, occupied: Occupied): string[] {
  const { at, keepDays, keptFrom, partitions } = log;
  const day = (time: Timestamp | null) => time?.slice(0, '2026-11-16'.length) ?? '-';
  const past = expired(log).length;
  const left = unfinished(log);
  const isStuck = partitions.some((each) => each.standing === 'detaching' && !left.includes(each));
  const catchAll = partitions.some((each) => each.before === null && occupied.get(each.name));
  const words = (partition: LogPartition): string => {
    const of = state(partition, log);
    if (of === 'kept') return `kept to ${day(end(partition, log))}`;
    if (of === 'expired') return `past its time`;
    if (of === 'detaching') return 'detach pending';
    if (of === 'detached') return 'to be dropped';
    const has = occupied.get(partition.name) ?? null;
    return has === null ? 'not known' : has ? 'has events' : 'empty';
  };
  const isUnknown = [...occupied.values()].includes(null);
  return [
    `crm_sync_log, ${minute(at)} UTC`,
    `Kept for ${count(keepDays)} days (crm_retention): since ${minute(keptFrom)}.`,
    '',
    ...table('lllrrl', [
      ['crm_sync_log_…', 'From (UTC)', 'Before', 'Rows', 'Size', 'State'],
      ...partitions.map((partition) => [
        partition.name.replace(/^crm_sync_log_/, ''),
        day(partition.from),
        day(partition.before),
        partition.rows === null ? '-' : count(partition.rows),
        size(partition.bytes),
        words(partition),
      ]),
    ]),
    ...(past > 0 || left.length > 0 ? ['', 'To drop what is past its time: crm-schema partitions drop'] : []),
    ...(isStuck
      ? ['', ...wrapped('A detach was begun and not ended: crm-schema verify says how to end it.')]
      : []),
    ...(isUnknown
      ? [
          '',
          ...wrapped(
            'Not known: whether events came too early or too late for their month. Only the owner of the log may look there.',
          ),
        ]
      : []),
    ...(catchAll
      ? [
          '',
          ...wrapped(
            'Events came too early for their month. To move them: crm-schema partitions ensure --months <number>',
          ),
        ]
      : []),
  ];
}

/** When it will be past its time. */
function end({ before }: LogPartition, { at, keptFrom }: PartitionedLog): Timestamp | null {
  if (before === null) return null;
  const kept = Date.parse(at) - Date.parse(keptFrom);
  return new Date(Date.parse(before) + kept).toISOString().replace('Z', '000Z') as Timestamp;
}

/** `32 kB`, `1.5 GB`. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const number = bytes / 1024 ** power;
  return `${number < 10 && power > 0 ? number.toFixed(1).replace('.0', '') : Math.floor(number)} ${units[power]}`;
}
