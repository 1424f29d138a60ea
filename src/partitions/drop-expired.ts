import { setTimeout as sleep } from 'node:timers/promises';
import { CrmSchemaError } from '../errors.js';
import type { BlockingSessions } from '../statements/blocking-sessions.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { sqlStates } from '../statements/sqlstates.js';
import { blockedBy, couldNot } from './drop-errors.js';
import { coverOlderEvents, type OngoingDrop, perform } from './drop-statements.js';
import { type DropStep, inWords, nextStep } from './drop-step.js';
import { inReadOnlyTransaction, type LogPartition, type PartitionedLog, readLog } from './log-partitions.js';
import { explainMissingSchema } from './missing-schema.js';

/** The connection, options and callback of a drop. */
export interface DropContext {
  /** With a short lock_timeout and statement_timeout. */
  client: DedicatedConnection;
  sessions: BlockingSessions;
  /** How long to try each step. */
  seconds: number;
  /** Its errors pass unchanged. */
  onDropped(partition: LogPartition): Promise<void>;
}

/** The parts of a server error, or of a step without effect, that are used here. */
interface StepError {
  code?: string;
  message: string;
}

/** SQLSTATEs after which another attempt may succeed: a lock, a timeout, a deadlock, or someone else was faster. */
const retryable: ReadonlySet<string> = new Set([
  sqlStates.lockNotAvailable,
  sqlStates.queryCanceled,
  sqlStates.deadlockDetected,
  sqlStates.objectNotInPrerequisiteState,
  sqlStates.undefinedTable,
  sqlStates.duplicateTable,
  sqlStates.wrongObjectType,
]);

/**
 * Detaches and drops what is past its retention period, oldest first, and covers the time before the first remaining
 * month. Decides each step by what it finds, so that it finishes what an earlier call left half done, and two calls at
 * once do not disturb each other.
 *
 * @throws CrmSchemaError `partitions_blocked`, naming the step and the sessions; `partitions_refused`;
 * `schema_not_found`
 */
export async function dropExpired({ client, sessions, seconds, onDropped }: DropContext): Promise<void> {
  const ongoing: OngoingDrop = { client, seconds, hasDetached: false };
  let failedSince: number | undefined;
  for (let log = await read(client); ; ) {
    const step = nextStep(log, ongoing.hasDetached);
    if (step === undefined) return;
    const { dropped, error } = await attempt(step, ongoing);
    if (dropped !== undefined) await onDropped(dropped);
    const before = log;
    if (error === undefined) log = await read(client);
    // A step that changes nothing would be the next one for ever.
    if (fingerprintOf(log) !== fingerprintOf(before)) {
      failedSince = undefined;
      continue;
    }
    failedSince ??= Date.now();
    if (Date.now() - failedSince >= 1000 * seconds) {
      throw await giveUp(step, ongoing, sessions, error);
    }
    await sleep(200 + 300 * Math.random());
    log = await read(client);
  }
}

function read(client: DedicatedConnection): Promise<PartitionedLog> {
  return explainMissingSchema(() => inReadOnlyTransaction(client, () => readLog(client)));
}

/** What the steps change of the log: equal before and after a step that had no effect. */
function fingerprintOf({ partitions }: PartitionedLog): string {
  return JSON.stringify(
    partitions.map(({ oid, name, attachment, from, before }) => [oid, name, attachment, from, before]),
  );
}

/**
 * Performs a step.
 *
 * @returns the partition that it dropped, if any; or the error, if another attempt may succeed
 */
async function attempt(
  step: DropStep,
  ongoing: OngoingDrop,
): Promise<{ dropped?: LogPartition | undefined; error?: StepError }> {
  return explainMissingSchema(async () => {
    try {
      return { dropped: await perform(step, ongoing) };
    } catch (error) {
      const { code = '' } = error as StepError;
      if (error instanceof CrmSchemaError || !retryable.has(code)) throw error;
      return { error: error as StepError };
    }
  });
}

/**
 * Leaves the log as whole as possible after the last attempt.
 *
 * @param error that of the last attempt; undefined if the step had no effect
 * @returns the error to throw
 */
async function giveUp(
  step: DropStep,
  { client, seconds, hasDetached }: OngoingDrop,
  sessions: BlockingSessions,
  error: StepError | undefined,
): Promise<CrmSchemaError> {
  // Until that time is covered, its events are refused.
  if (hasDetached) await coverOlderEvents(client).catch(() => {});
  const isBlocked = error?.code === sqlStates.lockNotAvailable || error?.code === sqlStates.queryCanceled;
  return couldNot(inWords(step), seconds, {
    reason: isBlocked ? blockedBy(sessions.last) : (error?.message ?? 'it had no effect'),
    isBlocked,
    refusesEvents: hasDetached && (await isDetaching(client)),
    error,
  });
}

async function isDetaching(client: DedicatedConnection): Promise<boolean> {
  const { partitions } = await read(client);
  return partitions.some(({ attachment }) => attachment === 'detaching');
}
