import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type LockWaits, untilUnused } from '../cli/lock-waits.js';
import { dropMarker } from './drop-marker.js';
import { type LogPartition, type PartitionedLog, readLog } from './log-partitions.js';

/** What may be told of a drop while it is under way. */
export interface DropEvents {
  onDropped(partition: LogPartition): void | Promise<void>;
}

/** One thing to do next: on what, and how it would be said. */
interface Step {
  kind: 'finish detaching' | 'detach' | 'cover the past of' | 'drop';
  target: string;
  run(): Promise<unknown>;
}

/** Another session has the lock; it took too long; a deadlock; or somebody else has just done it. */
const passing = new Set(['55P03', '57014', '40P01', '55000', '42P01', '42P07', '42809']);

/**
 * What is past its time, and attached: months, and with them what holds anything older. That alone has
 * nobody to make room for; unless it ends too early, because others made it while a month was on its way out.
 */
export function expired({ partitions, keptFrom }: PartitionedLog): LogPartition[] {
  const attached = partitions.filter(({ standing }) => standing === 'attached');
  const past = attached.filter(({ before }) => before !== null && before <= keptFrom);
  const isOnlyPast = past.length === 1 && attached[0] !== undefined && isOfThePast(attached[0].name);
  return isOnlyPast && attached[0]?.before === attached[1]?.from ? [] : past;
}

/** Whether it is the partition of everything older than the first month. */
export function isOfThePast(name: string): boolean {
  return name.startsWith('crm_sync_log_before_');
}

/** What an earlier call detached, or began to, and could not drop. */
export function unfinished({ partitions, keptFrom }: PartitionedLog): LogPartition[] {
  return partitions.filter(
    ({ standing, before }) => standing !== 'attached' && before !== null && before <= keptFrom,
  );
}

/**
 * Detaches the partitions that are past their time and drops them, oldest first, and gives everything
 * older than the first that stays a partition. Goes by what it finds, step by step, so that whatever an
 * earlier call left half done is ended first, and two calls do not hurt each other.
 *
 * @param seconds how long to try each step
 * @throws Error that says what was not done, and because of whom
 */
export async function dropExpired(
  client: pg.Client,
  waits: LockWaits,
  seconds: number,
  { onDropped }: DropEvents,
): Promise<void> {
  const { rows } = await client.query(
    "select pg_backend_pid() as pid, current_setting('lock_timeout') as limit",
  );
  // A pooler may have dropped it, and then others would wait behind this one without an end.
  if (rows[0].limit !== '500ms') throw new Error('lock_timeout could not be set: is there a pooler between?');
  const run: Run = { client, seconds, onDropped, hasDetached: false };
  let failedSince: number | undefined;
  for (;;) {
    const step = next(await readLog(client), run);
    if (step === undefined) return;
    try {
      await waits.during(rows[0].pid, step.run);
      failedSince = undefined;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError && passing.has(error.code ?? ''))) throw error;
      failedSince ??= Date.now();
      if (Date.now() - failedSince >= 1000 * seconds) {
        // Whatever happens next, events of that time are not to be refused for longer than they must.
        if (run.hasDetached) await coverPast(client).catch(() => {});
        const isOpen =
          run.hasDetached &&
          (await readLog(client)).partitions.some(({ standing }) => standing === 'detaching');
        const reason = error.code === '55P03' || error.code === '57014' ? waits.last : error.message;
        throw new Error(givenUp(`${step.kind} ${step.target}`, seconds, reason, isOpen));
      }
      await sleep(200 + 300 * Math.random());
    }
  }
}

interface Run extends DropEvents {
  client: pg.Client;
  seconds: number;
  hasDetached: boolean;
}

function next(log: PartitionedLog, run: Run): Step | undefined {
  const { client } = run;
  const all = expired(log);
  const [past] = all;
  const left = unfinished(log);
  const detaching = log.partitions.find(({ standing }) => standing === 'detaching');
  const first = log.partitions.find(({ standing }) => standing === 'attached');
  const step = (kind: Step['kind'], { name }: LogPartition, work: () => Promise<unknown>): Step => ({
    kind,
    target: name,
    run: work,
  });

  if (detaching !== undefined && left.includes(detaching)) {
    return step('finish detaching', detaching, () =>
      client.query(`alter table crm_sync_log detach partition ${detaching.sqlName} finalize`),
    );
  }
  // There can be only one.
  if (detaching !== undefined && past !== undefined) {
    throw new Error(
      `Somebody else is detaching ${detaching.name}, whose time is not past: let that end first.`,
    );
  }
  // Where an earlier call was interrupted, at once; else when all that has to go is gone.
  if (first !== undefined && first.from !== null && (past === undefined || !run.hasDetached)) {
    return step('cover the past of', first, () => coverPast(client));
  }
  // From the first one on until the past is covered, events of that time are refused: so not while somebody is
  // in the way of any. Once it has begun, it is best over soon.
  const unusedFirst = first?.from === null ? all : [];
  if (past !== undefined) return step('detach', past, () => detach(past, run, unusedFirst));
  const [detached] = left;
  return detached && step('drop', detached, () => drop(detached, run));
}

async function detach(
  { sqlName, name, oid }: LogPartition,
  run: Run,
  unusedFirst: readonly LogPartition[],
): Promise<void> {
  const { client } = run;
  if (unusedFirst.length > 0) {
    const used = ['crm_sync_log', ...unusedFirst.map((partition) => partition.sqlName)];
    await unused(run, `detach ${name}`, { used, written: ['crm_connections'] });
  }
  const { rows } = await client.query("select pg_catalog.obj_description($1::oid, 'pg_class') as comment", [
    oid,
  ]);
  const comment: string = rows[0].comment ?? '';
  if (!comment.endsWith(dropMarker)) {
    const text = pg.escapeLiteral(`${comment} ${dropMarker}`.trim());
    await client.query(`comment on table ${sqlName} is ${text}`);
  }
  run.hasDetached = true;
  await client.query(`alter table crm_sync_log detach partition ${sqlName} concurrently`);
}

async function coverPast(client: pg.Client): Promise<void> {
  await client.query("select crm_sync_log_ensure_past('crm_sync_log'::regclass)");
}

async function drop(partition: LogPartition, run: Run): Promise<void> {
  const { client, onDropped } = run;
  // Queueing for crm_connections makes everybody wait: only once it will not be for long.
  await unused(run, `drop ${partition.name}`, { used: ['crm_connections', partition.sqlName] });
  await client.query('begin');
  try {
    await client.query(`lock table ${partition.sqlName} in access exclusive mode`);
    // As it is now: somebody may have attached it again, or given its name to another.
    const { rows } = await client.query(
      "select from pg_class where oid = $1::oid and oid = $2::regclass::oid and not relispartition and pg_catalog.right(pg_catalog.obj_description(oid, 'pg_class'), pg_catalog.length($3::text)) = $3::text",
      [partition.oid, partition.sqlName, dropMarker],
    );
    if (rows.length > 0) await client.query(`drop table ${partition.sqlName}`);
    await client.query('commit');
    if (rows.length > 0) await onDropped(partition);
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}

async function unused({ client, seconds }: Run, purpose: string, tables: Parameters<typeof untilUnused>[1]) {
  const users = await untilUnused(client, tables, seconds);
  if (users.length > 0) throw new Error(givenUp(purpose, seconds, users.join(' and ')));
}

/** @param isOpen whether events of the months that were begun are refused meanwhile */
function givenUp(purpose: string, seconds: number, whom: string, isOpen = false): string {
  const state = isOpen ? 'Until it is run again, events past their time are refused' : 'Nothing is lost';
  return `Could not ${purpose} within ${seconds} s, because of ${whom}. ${state}: run it again when that has ended.`;
}
