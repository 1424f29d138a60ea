import { CrmSchemaError } from '../errors.js';
import { BlockingSessions } from '../statements/blocking-sessions.js';
import { safeCause } from '../statements/database-errors.js';
import { type DedicatedConnection, serverProcess } from '../statements/dedicated-connection.js';
import { requiredSettings, setLocally } from '../statements/session-settings.js';
import { sqlStates } from '../statements/sqlstates.js';
import { checkFields, checkObject, checkWholeNumber, fieldsOf, refuse } from '../validation.js';
import { checkClock, checkMayChange } from './checks.js';
import { inReadOnlyTransaction, readGaps } from './log-partitions.js';
import { explainMissingSchema } from './missing-schema.js';
import type { PartitionRange } from './ranges.js';

/** Options for {@link partitionsEnsure}. */
export interface PartitionsEnsureOptions {
  /** How many months after this one get a partition: 0 to 120; defaults to 3. */
  months?: number | undefined;
  /**
   * Whether to go by the server's clock even where it differs from this machine's by more than a day;
   * defaults to false.
   */
  trustServerClock?: boolean | undefined;
  /**
   * A second dedicated connection of the same user, which finds out which sessions block the first one, so that an
   * error can name them. Optional.
   */
  watcher?: DedicatedConnection | undefined;
}

/** The result of {@link partitionsEnsure}. */
export interface EnsuredPartitions {
  /** The names of the new partitions, each with its schema where the search_path needs it. */
  made: string[];
  /**
   * The times that no partition covers, in ascending order: events of those times are refused. Months that someone
   * dropped or detached by hand are not created again; `verify` says how to repair them.
   */
  gaps: PartitionRange[];
}

const fields = fieldsOf<PartitionsEnsureOptions>({ months: true, trustServerClock: true, watcher: true });

/**
 * Creates the log's partitions for this month and those ahead, and moves events to them from the catch-all partition.
 * Also creates the partition for older events, where an interrupted {@link partitionsDrop} left none.
 *
 * Waits half a second for each lock, lets others through and tries again, twenty times. Leaves the session's settings
 * as they were.
 *
 * @param client a dedicated connection of the log's owner, not through a pooler
 * @throws CrmSchemaError `partitions_blocked`; `catch_all_missing`; `not_permitted`; `partitions_refused` through a
 *   pooler, and unless `trustServerClock` where the clocks differ; `schema_not_found`; `invalid_input`, also for a pool, and if a transaction is open
 */
export async function partitionsEnsure(
  client: DedicatedConnection,
  options: PartitionsEnsureOptions = {},
): Promise<EnsuredPartitions> {
  checkObject({ field: 'options' }, options);
  checkFields({ field: 'options' }, options, fields);
  const { months = 3, trustServerClock = false, watcher } = options;
  checkWholeNumber({ field: 'months' }, months, 0, 120);
  if (typeof trustServerClock !== 'boolean') refuse({ field: 'trustServerClock' }, 'must be true or false');
  return explainMissingSchema(async () => {
    await checkMayChange(client, watcher);
    if (!trustServerClock) await checkClock(client);
    const sessions = new BlockingSessions(watcher);
    const newMonths = await createPartitions(client, sessions, {
      call: "crm_sync_log_ensure_partitions($1::integer, 'crm_sync_log'::regclass)",
      parameters: [months],
      outcomeIfBlocked: 'Nothing was changed',
    });
    const newForOlderEvents = await createPartitions(client, sessions, {
      call: "crm_sync_log_ensure_past('crm_sync_log'::regclass)",
      parameters: [],
      outcomeIfBlocked: 'The months were created, but events older than the first one are refused',
    });
    const gaps = await inReadOnlyTransaction(client, () => readGaps(client));
    return { made: [...newForOlderEvents, ...newMonths], gaps };
  });
}

/** A call of a database function that creates partitions and returns their names. */
interface CreatingCall {
  call: string;
  parameters: number[];
  /** What the error says of the state of the log, if other sessions block the call. */
  outcomeIfBlocked: string;
}

/**
 * Creates partitions, in a transaction.
 *
 * @returns their names
 */
async function createPartitions(
  client: DedicatedConnection,
  sessions: BlockingSessions,
  { call, parameters, outcomeIfBlocked }: CreatingCall,
): Promise<string[]> {
  const pid = await serverProcess(client);
  // Once it has the lock, the function looks again for the work of other calls, which an old snapshot would hide.
  await client.query('begin isolation level read committed');
  try {
    await setLocally(client, requiredSettings);
    const rows = await sessions.during(pid, async () => {
      const result = await client.query(`select ${call}::regclass::text as name`, parameters);
      await client.query('commit');
      return result.rows;
    });
    return rows.flatMap(({ name }) => name ?? []);
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw creationError(error, sessions, outcomeIfBlocked);
  }
}

/** The error to throw for one of the function: typed if the cause is known. */
function creationError(error: unknown, sessions: BlockingSessions, outcomeIfBlocked: string): unknown {
  const { code } = error as { code?: string };
  // The function looks for the catch-all partition, and there is none.
  if (code === sqlStates.noDataFound) {
    return new CrmSchemaError(
      'catch_all_missing',
      'The log has no last partition, so later events are refused. crm-schema verify says how to repair it.',
      { cause: safeCause(error) },
    );
  }
  if (code === sqlStates.lockNotAvailable) {
    return new CrmSchemaError(
      'partitions_blocked',
      `Gave up after twenty attempts, blocked by ${sessions.last}. ${outcomeIfBlocked}: run it again when that transaction has ended.`,
      { cause: safeCause(error) },
    );
  }
  return error;
}
