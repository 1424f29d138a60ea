import { waitUntilUnused } from '../statements/blocking-sessions.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { blockedBy, couldNot } from './drop-errors.js';
import { dropMarker, hasDropMarker } from './drop-marker.js';
import { type DropStep, inWords } from './drop-step.js';
import type { LogPartition } from './log-partitions.js';

/** A drop that is under way. */
export interface OngoingDrop {
  /** With a short lock_timeout and statement_timeout. */
  client: DedicatedConnection;
  /** How long to try each step. */
  seconds: number;
  /** Whether it has begun to detach a partition. */
  hasDetached: boolean;
}

/**
 * Performs a step.
 *
 * @returns the partition that it dropped, if any
 * @throws CrmSchemaError `partitions_blocked` if other sessions use the tables for too long; the server's error
 */
export async function perform(step: DropStep, ongoing: OngoingDrop): Promise<LogPartition | undefined> {
  const { client } = ongoing;
  const { partition } = step;
  if (step.kind === 'drop') {
    // Everyone queues behind a lock on crm_connections, so this asks for it only when it will get it soon.
    await waitUntilFree(step, ongoing, { used: ['crm_connections', partition.sqlName] });
    return (await dropDetached(client, partition)) ? partition : undefined;
  }
  if (step.kind === 'detach') {
    if (step.waitFor.length > 0) {
      const used = ['crm_sync_log', ...step.waitFor.map(({ sqlName }) => sqlName)];
      await waitUntilFree(step, ongoing, { used, written: ['crm_connections'] });
    }
    await mark(client, partition);
    // Before the statement: one that fails may leave the detach pending.
    ongoing.hasDetached = true;
    await client.query(`alter table crm_sync_log detach partition ${partition.sqlName} concurrently`);
  } else if (step.kind === 'finish detaching') {
    await client.query(`alter table crm_sync_log detach partition ${partition.sqlName} finalize`);
  } else {
    await coverOlderEvents(client);
  }
  return undefined;
}

/** Creates a partition for the time before the first one, if there is none. */
export async function coverOlderEvents(client: DedicatedConnection): Promise<void> {
  await client.query("select crm_sync_log_ensure_past('crm_sync_log'::regclass)");
}

/** Adds the marker to the comment of a partition, unless it has it. */
async function mark(client: DedicatedConnection, { oid, sqlName }: LogPartition): Promise<void> {
  const { rows } = await client.query(
    `select pg_catalog.format('comment on table %s is %L', $2::text, pg_catalog.concat_ws(' ', comment, $3::text)) as statement
     from pg_catalog.obj_description($1::oid, 'pg_class') as comment
     where (${hasDropMarker('$1::oid')}) is not true`,
    [oid, sqlName, dropMarker],
  );
  for (const { statement } of rows) await client.query(statement);
}

/**
 * Drops a detached partition, in a transaction.
 *
 * @returns false if it is not what it was: someone attached it again, or gave its name to another table
 */
async function dropDetached(client: DedicatedConnection, { oid, sqlName }: LogPartition): Promise<boolean> {
  await client.query('begin');
  try {
    await client.query(`lock table ${sqlName} in access exclusive mode`);
    // Only under the lock does it stay what it is.
    const { rows } = await client.query(
      `select
       from pg_catalog.pg_class
       where oid = $1::oid
         and oid = $2::regclass::oid
         and not relispartition
         and ${hasDropMarker('oid')}`,
      [oid, sqlName],
    );
    const isUnchanged = rows.length > 0;
    if (isUnchanged) await client.query(`drop table ${sqlName}`);
    await client.query('commit');
    return isUnchanged;
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  }
}

/** @throws CrmSchemaError `partitions_blocked` */
async function waitUntilFree(
  step: DropStep,
  { client, seconds }: OngoingDrop,
  tables: Parameters<typeof waitUntilUnused>[1],
): Promise<void> {
  const users = await waitUntilUnused(client, tables, seconds);
  if (users.length === 0) return;
  throw couldNot(inWords(step), seconds, { reason: blockedBy(users.join(' and ')), isBlocked: true });
}
