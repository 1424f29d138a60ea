// The state of a connection in words: a sentence that says what is the case, and one that says what to do next.
import type { ConnectionHealth, SyncErrorKind } from '@nurturehub/crm-schema';
import { connectionErrors, type Words } from './error-words.js';
import { type CrmName, crmName } from './names.js';
import { atTime, countedUpTo, inDays, inFigures, inMinutes } from './times.js';

/** How a connection is. */
export interface Situation extends Words {
  /** Who has to do something: the agency (`attention`), we or the CRM (`trouble`), nobody. */
  tone: 'attention' | 'trouble' | 'paused' | 'working' | 'good' | 'off';
  /** The state in a word or two. */
  label: string;
}

/** A sync that is later than this, in milliseconds, has no worker. */
const late = 3_600_000;

/**
 * The situation of a connection: the first of these that applies.
 *
 * @param isReplaced whether the CRM has been connected again since
 */
export function situationOf(connection: ConnectionHealth, now: Date, isReplaced = false): Situation {
  const crm = crmName(connection.provider);
  return (
    disconnected(connection, crm, now, isReplaced) ??
    paused(connection, crm, now) ??
    failing(connection, crm, now) ??
    overdue(connection, crm, now) ??
    needsDecisions(connection, crm) ??
    firstFill(connection, crm) ??
    neverSynced(connection, crm) ??
    retrying(connection, crm) ??
    healthy(connection, crm)
  );
}

function disconnected(
  connection: ConnectionHealth,
  { within }: CrmName,
  now: Date,
  isReplaced: boolean,
): Situation | undefined {
  if (connection.state !== 'disconnected') return undefined;
  const { disconnectedAt, revocation } = connection;
  const begun = since(disconnectedAt, now);
  const isSynced = begun === '' ? 'are no longer synced' : 'have not been synced';
  const isRevoking = revocation === 'pending' ? ' We are about to give up our access there.' : '';
  return {
    tone: 'off',
    label: 'Disconnected',
    state: isReplaced
      ? `This is an earlier connection to ${within}.`
      : `Your contacts ${isSynced} with ${within}${begun}.${isRevoking}`,
    next: isReplaced
      ? `Nothing: you have connected ${within} again since.`
      : reconnect(connection, within, now),
  };
}

function reconnect(
  { keptChanges, changesExpireAt, waitingChanges }: ConnectionHealth,
  within: string,
  now: Date,
): string {
  return keptChanges === 'waiting' && waitingChanges > 0 && changesExpireAt !== null
    ? `If you connect ${within} again by ${inDays(changesExpireAt, now)}, we will send it ${countedUpTo(waitingChanges, 'changed contact')}.`
    : `To sync again, connect ${within} in your CRM settings.`;
}

function paused(
  { state, pausedUntil }: ConnectionHealth,
  { within }: CrmName,
  now: Date,
): Situation | undefined {
  if (state !== 'paused') return undefined;
  const words =
    pausedUntil === null
      ? {
          state: `Somebody has paused syncing with ${within}.`,
          next: 'Resume it in your CRM settings when you are ready. Until then, we keep what changes.',
        }
      : {
          state: `Syncing with ${within} is paused until ${inMinutes(pausedUntil, now)}.`,
          next: 'Nothing: it resumes by itself. Until then, we keep what changes.',
        };
  return { tone: 'paused', label: 'Paused', ...words };
}

/** Syncs that fail, by the kind of the last error. */
function failing(connection: ConnectionHealth, crm: CrmName, now: Date): Situation | undefined {
  const { state, credentialsExpiresAt, failingSince } = connection;
  if (state !== 'failing' && state !== 'error') return undefined;
  const kind = kindOfError(connection);
  if (kind === undefined) {
    return {
      tone: 'attention',
      label: 'Needs attention',
      state: `Syncing with ${crm.within} has stopped.`,
      next: 'The reason says why. If it does not help, ask our support.',
    };
  }
  const words = connectionErrors[kind](crm);
  const hasExpired = credentialsExpiresAt !== null && Date.parse(credentialsExpiresAt) <= now.getTime();
  if (kind === 'auth' && hasExpired) {
    const expired = `Our sign-in to ${crm.within} expired on ${inDays(credentialsExpiresAt, now)}.`;
    return { tone: 'attention', label: 'Sign-in expired', state: expired, next: words.next };
  }
  if (kind === 'rate_limited') return { tone: 'trouble', label: 'Slowed down', ...words };
  if (state === 'failing') return { tone: 'trouble', label: 'Last sync failed', ...words };
  const begun = failingSince === null ? '' : ` Syncs have failed${since(failingSince, now)}.`;
  return { tone: 'attention', label: 'Needs attention', state: words.state + begun, next: words.next };
}

/** The kind of what stops the syncs; undefined if somebody has stopped them. */
function kindOfError(connection: ConnectionHealth): SyncErrorKind | undefined {
  const { lastSyncOutcome, lastSyncError, lastEventStatus, lastError } = connection;
  // Its worker died.
  if (lastSyncOutcome === 'abandoned') return 'internal';
  // An error of a whole sync says more than one of a record, which may be long past.
  return lastSyncError?.kind ?? (lastEventStatus === 'error' ? lastError?.kind : undefined);
}

/** Nobody has synced it for too long: that is ours to repair. */
function overdue(
  { nextSyncAt, runningSince }: ConnectionHealth,
  { within }: CrmName,
  now: Date,
): Situation | undefined {
  if (runningSince !== null || now.getTime() - Date.parse(nextSyncAt) < late) return undefined;
  return {
    tone: 'trouble',
    label: 'Sync is late',
    state: `The next sync with ${within} was due ${atTime(nextSyncAt, now)}, and has not begun.`,
    next: 'Nothing yet, and nothing is lost. If it has not begun in an hour, tell our support.',
  };
}

/** Syncs work, but some records wait for a person. */
function needsDecisions(
  { givenUpRecords, conflicts }: ConnectionHealth,
  { within }: CrmName,
): Situation | undefined {
  if (givenUpRecords > 0) {
    return {
      tone: 'attention',
      label: 'Records to check',
      state: `Syncing works, but ${countedUpTo(givenUpRecords, 'record')} could not be synced with ${within}.`,
      next: 'See the records that still fail, each with what to do.',
    };
  }
  if (conflicts === 0) return undefined;
  return {
    tone: 'attention',
    label: 'Edited on both sides',
    state: `Syncing works, but ${countedUpTo(conflicts, 'record')} ${conflicts === 1 ? 'was' : 'were'} edited both here and in ${within}.`,
    next: 'Compare both sides, and correct the one that is wrong.',
  };
}

const takesHours = 'Nothing. With many contacts this takes some hours, and you can go on working.';

function firstFill(
  { fillStartedAt, fillFinishedAt, filledContacts }: ConnectionHealth,
  { within }: CrmName,
): Situation | undefined {
  if (fillStartedAt === null || fillFinishedAt !== null) return undefined;
  return {
    tone: 'working',
    label: 'First copy under way',
    state: `We are copying your contacts to ${within} for the first time: ${inFigures(filledContacts ?? 0)} so far.`,
    next: takesHours,
  };
}

function neverSynced(
  { lastSuccessAt, lastEventAt, runningSince }: ConnectionHealth,
  { within }: CrmName,
): Situation | undefined {
  if (lastSuccessAt !== null || lastEventAt !== null) return undefined;
  return runningSince === null
    ? {
        tone: 'working',
        label: 'Starting',
        state: `You have connected ${within}, and its first sync is about to begin.`,
        next: 'Nothing. It begins within a few minutes.',
      }
    : {
        tone: 'working',
        label: 'First sync',
        state: `We are reading your contacts from ${within} for the first time.`,
        next: takesHours,
      };
}

function retrying({ retriedRecords }: ConnectionHealth, { within }: CrmName): Situation | undefined {
  if (retriedRecords === 0) return undefined;
  return {
    tone: 'good',
    label: 'Connected',
    state: `Syncing works. We are trying again to sync ${countedUpTo(retriedRecords, 'record')} with ${within}.`,
    next: 'Nothing. If we have to stop trying, it will say so here.',
  };
}

function healthy({ runningSince }: ConnectionHealth, { within }: CrmName): Situation {
  return runningSince === null
    ? {
        tone: 'good',
        label: 'Connected',
        state: `Your contacts are in step with ${within}.`,
        next: 'Nothing.',
      }
    : {
        tone: 'good',
        label: 'Syncing now',
        state: `We are syncing your contacts with ${within}.`,
        next: 'Nothing.',
      };
}

/** ` since 20 November, 09:05`; nothing if the time is unknown, or a clock was ahead. */
function since(at: string | null, now: Date): string {
  return at === null || Date.parse(at) > now.getTime() ? '' : ` since ${inMinutes(at, now)}`;
}
