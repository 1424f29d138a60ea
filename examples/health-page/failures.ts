// Lists of what failed, why, and what to do.
import type { Provider, SyncDirection, SyncError, SyncFailure, Timestamp } from '@nurturehub/crm-schema';
import { recordErrors } from './error-words.js';
import { type Html, html } from './html.js';
import { crmName, directions, kindOf } from './names.js';
import type { RecentFailure } from './recent-failures.js';
import { atTime, inMinutes } from './times.js';

/** The names of contacts, by their ids. */
export type Names = ReadonlyMap<string, string>;

/** One thing that failed. */
interface Failed {
  provider: Provider;
  direction: SyncDirection;
  entityType: string;
  externalId: string | null;
  contactId: string | null;
  error: SyncError;
  at: Timestamp;
  /** When it was put right; null if it was not. */
  solvedAt: Timestamp | null;
  /** What we do about it, in words. */
  outlook?: string;
}

/** Events that failed, newest first. */
export function listOfEvents(events: readonly RecentFailure[], names: Names, now: Date): Html {
  const failed = events.map((event) => ({ ...event, contactId: event.internalId, at: event.occurredAt }));
  return listOf(failed, names, now);
}

/** Records that still fail. */
export function listOfRecords(
  records: readonly SyncFailure[],
  provider: Provider,
  names: Names,
  now: Date,
): Html {
  const failed = records.map((record) => ({
    ...record,
    provider,
    // A record that we send goes by our own id.
    externalId: record.direction === 'inbound' ? record.recordId : null,
    contactId: record.direction === 'outbound' ? record.recordId : null,
    at: record.lastFailedAt,
    solvedAt: null,
    outlook: outlookOf(record, now),
  }));
  return listOf(failed, names, now);
}

function outlookOf({ nextAttemptAt, dismissedAt }: SyncFailure, now: Date): string {
  if (dismissedAt !== null) return 'Somebody has put it aside, so we do not try again.';
  if (nextAttemptAt === null) return 'We do not try again until it is corrected.';
  if (Date.parse(nextAttemptAt) <= now.getTime()) return 'We try again with the next sync.';
  return `We try again ${atTime(nextAttemptAt, now)}.`;
}

function listOf(failed: readonly Failed[], names: Names, now: Date): Html {
  return html`<ul class="failures">${failed.map((one) => itemOf(one, names, now))}</ul>`;
}

function itemOf(failed: Failed, names: Names, now: Date): Html {
  const { provider, direction, entityType, externalId, contactId, error, at, solvedAt, outlook } = failed;
  const crm = crmName(provider);
  const { state, next } = recordErrors[error.kind](crm, direction);
  const name = contactId === null ? undefined : names.get(contactId);
  return html`<li>
  <p class="what"><strong>${name === undefined ? nameless(failed) : html`<a href="/contacts/${contactId}">${name}</a>`}</strong>
    <span>${externalId !== null && html`${kindOf(entityType)} <span class="id">${externalId}</span>, `}${directions[direction](crm)}, ${inMinutes(at, now)}</span></p>
  <p>${state}</p>
  ${
    solvedAt === null
      ? html`<p><strong>What to do:</strong> ${next}${outlook !== undefined && ` ${outlook}`}</p>`
      : html`<p><span class="badge good">Solved</span> Synced ${atTime(solvedAt, now)}.</p>`
  }
  <p class="reference">For our support: ${error.kind}${error.code !== undefined && html` <span class="id">${error.code}</span>`}</p>
</li>`;
}

/** What to call a failure that is not of a contact we know. */
function nameless({ entityType, externalId, contactId }: Failed): string {
  if (externalId === null && contactId === null) return 'A whole sync';
  return contactId === null ? `${kindOf(entityType)}, not linked to a contact yet` : 'A contact';
}
