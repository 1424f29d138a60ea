import { setTimeout as sleep } from 'node:timers/promises';
import { CrmSchemaError } from '../errors.js';
import { type BlockingSessions, waitUntilUnused } from '../statements/blocking-sessions.js';
import { safeCause } from '../statements/database-errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { dropMarker } from './drop-marker.js';
import { expiredPartitions, unfinishedPartitions } from './expiry.js';
import { type LogPartition, type PartitionedLog, reading, readLog } from './log-partitions.js';

/** The connection, options and callback of a drop. */
export interface DropContext {
  /** With a short lock_timeout and statement_timeout. */
  client: DedicatedConnection;
  sessions: BlockingSessions;
  /** How long to try each step. */
  seconds: number;
  onDropped(partition: LogPartition): Promise<void>;
}

interface Run extends DropContext {
  /** Whether this call has begun to detach a partition. */
  hasDetached: boolean;
}

/** The next thing to do, and the words for it in an error. */
interface Step {
  kind: 'finish detaching' | 'detach' | 'create a partition before' | 'drop';
  target: string;
  /** Returns the partition that it dropped, if any. */
  run(): Promise<LogPartition | undefined>;
}

const lockNotAvailable = '55P03';
const queryCanceled = '57014';

/** SQLSTATEs after which another attempt may succeed: a lock, a timeout, a deadlock, or someone else was faster. */
const retryable = new Set([lockNotAvailable, queryCanceled, '40P01', '55000', '42P01', '42P07', '42809']);

/**
 * Detaches and drops what is past its retention period, oldest first, and covers the time before the first remaining
 * month. Decides each step by what it finds, so that it finishes what an earlier call left half done, and two calls at
 * once do not disturb each other.
 *
 * @throws CrmSchemaError `partitions_blocked`, naming the step and the sessions; `partitions_refused`
 */
export async function dropExpired(context: DropContext): Promise<void> {
  const { client, sessions, seconds, onDropped } = context;
  const run: Run = { ...context, hasDetached: false };
  let failedSince: number | undefined;
  for (let log = await read(client); ; ) {
    const step = nextStep(log, run);
    if (step === undefined) return;
    const { dropped, error } = await attempt(step);
    if (dropped !== undefined) await onDropped(dropped);
    const before = log;
    if (error === undefined) log = await read(client);
    // A step that changes nothing would be the next one for ever.
    if (stateOf(log) !== stateOf(before)) {
      failedSince = undefined;
      continue;
    }
    failedSince ??= Date.now();
    if (Date.now() - failedSince >= 1000 * seconds) {
      // Until the past is covered, events of that time are refused.
      if (run.hasDetached) await coverPast(client).catch(() => {});
      const { code = '', message } = error ?? { message: 'it had no effect' };
      const isBlocked = code === lockNotAvailable || code === queryCanceled;
      throw gaveUp(`${step.kind} ${step.target}`, run, {
        cause: isBlocked ? blockedBy(sessions.last) : message,
        isBlocked,
        isOpen: run.hasDetached && (await isDetaching(client)),
        error,
      });
    }
    await sleep(200 + 300 * Math.random());
    log = await read(client);
  }
}

function read(client: DedicatedConnection): Promise<PartitionedLog> {
  return reading(client, () => readLog(client));
}

/** What the steps change. */
function stateOf({ partitions }: PartitionedLog): string {
  return JSON.stringify(
    partitions.map(({ oid, name, standing, from, before }) => [oid, name, standing, from, before]),
  );
}

/**
 * Runs a step.
 *
 * @returns the partition that it dropped, if any; or the error, if another attempt may succeed
 */
async function attempt(
  step: Step,
): Promise<{ dropped?: LogPartition | undefined; error?: { code?: string; message: string } }> {
  try {
    return { dropped: await step.run() };
  } catch (error) {
    const failure = error as { code?: string; message: string };
    if (error instanceof CrmSchemaError || !retryable.has(failure.code ?? '')) throw error;
    return { error: failure };
  }
}

async function isDetaching(client: DedicatedConnection): Promise<boolean> {
  const { partitions } = await read(client);
  return partitions.some(({ standing }) => standing === 'detaching');
}

function nextStep(log: PartitionedLog, run: Run): Step | undefined {
  const { client } = run;
  const expired = expiredPartitions(log);
  const [oldest] = expired;
  const unfinished = unfinishedPartitions(log);
  const detaching = log.partitions.find(({ standing }) => standing === 'detaching');
  const first = log.partitions.find(({ standing }) => standing === 'attached');
  const step = (kind: Step['kind'], { name }: LogPartition, work: () => Promise<unknown>): Step => ({
    kind,
    target: name,
    run: () => work().then(() => undefined),
  });

  if (detaching !== undefined && unfinished.includes(detaching)) {
    return step('finish detaching', detaching, () =>
      client.query(`alter table crm_sync_log detach partition ${detaching.sqlName} finalize`),
    );
  }
  // PostgreSQL allows one pending detach at a time.
  if (detaching !== undefined && oldest !== undefined) {
    throw new CrmSchemaError(
      'partitions_refused',
      `Someone else is detaching ${detaching.name}, which is within its retention period: finish that detach first.`,
    );
  }
  // At once where an earlier call was interrupted; otherwise after the last detach. Not while a detach is pending: the
  // function creates nothing then.
  if (
    detaching === undefined &&
    first !== undefined &&
    first.from !== null &&
    (oldest === undefined || !run.hasDetached)
  ) {
    return step('create a partition before', first, () => coverPast(client));
  }
  // From the first detach until the past is covered, events of that time are refused. So it does not begin while
  // anyone uses any of these partitions, and once it has begun, it hurries.
  const unusedFirst = first?.from === null ? expired : [];
  if (oldest !== undefined) return step('detach', oldest, () => detach(oldest, run, unusedFirst));
  const [detached] = unfinished;
  return detached && { kind: 'drop', target: detached.name, run: () => drop(detached, run) };
}

async function detach(
  { sqlName, name, oid }: LogPartition,
  run: Run,
  unusedFirst: readonly LogPartition[],
): Promise<void> {
  const { client } = run;
  if (unusedFirst.length > 0) {
    const used = ['crm_sync_log', ...unusedFirst.map((partition) => partition.sqlName)];
    await waitUntilFree(`detach ${name}`, run, { used, written: ['crm_connections'] });
  }
  const { rows } = await client.query(
    `select pg_catalog.format('comment on table %s is %L', $2::text, pg_catalog.concat_ws(' ', comment, $3::text)) as mark
     from pg_catalog.obj_description($1::oid, 'pg_class') as comment
     where pg_catalog.right(comment, pg_catalog.length($3::text)) is distinct from $3::text`,
    [oid, sqlName, dropMarker],
  );
  for (const { mark } of rows) await client.query(mark);
  run.hasDetached = true;
  await client.query(`alter table crm_sync_log detach partition ${sqlName} concurrently`);
}

async function coverPast(client: DedicatedConnection): Promise<void> {
  await client.query("select crm_sync_log_ensure_past('crm_sync_log'::regclass)");
}

/** @returns the partition; undefined if it is not what it was */
async function drop(partition: LogPartition, run: Run): Promise<LogPartition | undefined> {
  const { client } = run;
  // Everyone queues behind a lock on crm_connections, so this asks for it only when it will get it soon.
  await waitUntilFree(`drop ${partition.name}`, run, { used: ['crm_connections', partition.sqlName] });
  await client.query('begin');
  let isDropped = false;
  try {
    await client.query(`lock table ${partition.sqlName} in access exclusive mode`);
    // Looks again under the lock: someone may have attached the table again, or given its name to another.
    const { rows } = await client.query(
      `select
       from pg_catalog.pg_class
       where oid = $1::oid
         and oid = $2::regclass::oid
         and not relispartition
         and pg_catalog.right(pg_catalog.obj_description(oid, 'pg_class'), pg_catalog.length($3::text)) = $3::text`,
      [partition.oid, partition.sqlName, dropMarker],
    );
    isDropped = rows.length > 0;
    if (isDropped) await client.query(`drop table ${partition.sqlName}`);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  }
  return isDropped ? partition : undefined;
}

async function waitUntilFree(
  purpose: string,
  run: Run,
  tables: Parameters<typeof waitUntilUnused>[1],
): Promise<void> {
  const users = await waitUntilUnused(run.client, tables, run.seconds);
  if (users.length > 0) throw gaveUp(purpose, run, { cause: blockedBy(users.join(' and ')) });
}

/** How a step failed. */
interface Failure {
  cause: string;
  /** Whether other sessions are the cause. */
  isBlocked?: boolean;
  /** Whether events of the time that was being detached are refused for now. */
  isOpen?: boolean;
  error?: unknown;
}

function gaveUp(
  purpose: string,
  { seconds }: Run,
  { cause, isBlocked = true, isOpen = false, error }: Failure,
): CrmSchemaError {
  const outcome = isOpen
    ? 'Until it is run again, events past their retention period are refused'
    : 'Nothing is lost';
  const next = isBlocked ? 'run it again when that transaction has ended' : 'run it again';
  return new CrmSchemaError(
    'partitions_blocked',
    `Could not ${purpose} within ${seconds} s: ${cause}. ${outcome}: ${next}.`,
    error === undefined ? {} : { cause: safeCause(error) },
  );
}

function blockedBy(sessions: string): string {
  return `blocked by ${sessions}`;
}
