// The first page: all connections of an agency, what failed lately, and the last thirty days.
import {
  type ConnectionHealth,
  connectionListWithHealth,
  syncLogCountByPeriod,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { listOfEvents } from './failures.js';
import { findForm } from './find-form.js';
import type { Host } from './host.js';
import { type Html, html } from './html.js';
import type { Page } from './layout.js';
import { crmNames } from './names.js';
import { plotOf, sumOf } from './plot.js';
import { recentFailures } from './recent-failures.js';
import { type Situation, situationOf } from './situation.js';
import { countedUpTo, inMinutes, lastDays } from './times.js';

/** How many failures the page lists. */
const listed = 5;
const order: Situation['tone'][] = ['attention', 'trouble', 'paused', 'working', 'good', 'off'];

/** Reads and shows the connections of an organisation. */
export async function connectionsPage(
  client: pg.ClientBase,
  organisationId: string,
  host: Host,
  now: Date,
): Promise<Page> {
  const times = lastDays(30, now);
  const [from = ''] = times;
  const connections = await connectionListWithHealth(client, { organisationId, failuresSince: from });
  const days = [];
  // The first page is opened often: leave out what has nothing to add, such as connections of last year.
  for (const { connectionId, lastEventAt } of connections) {
    if (lastEventAt === null || lastEventAt < from) continue;
    days.push(await syncLogCountByPeriod(client, { organisationId, connectionId, times }));
  }
  const recent = await recentFailures(client, connections, { since: from, limit: listed });
  const contactIds = recent.flatMap(({ internalId }) => internalId ?? []);
  const names = await host.contactNames(client, organisationId, contactIds);
  const live = connections.filter(({ state }) => state !== 'disconnected');
  const old = connections.filter(
    (connection) => isLatest(connection, connections) && !live.includes(connection),
  );
  const body = html`<p class="lead">${summaryOf(live, now)}</p>
${live.length > 0 && html`<h2>Your CRMs</h2>${cardsOf(live, now)}`}
${
  connections.length > 0 &&
  html`<h2>The last 30 days</h2>${plotOf(sumOf(times, days))}
<h2>What failed lately</h2>
${recent.length === 0 ? html`<p>Nothing has failed in the last 30 days.</p>` : listOfEvents(recent, names, now)}
<h2>Find a contact</h2>${findForm(connections.map(({ provider }) => provider))}`
}
${old.length > 0 && html`<h2>Earlier connections</h2>${cardsOf(old, now)}`}`;
  return { title: 'Your CRM connections', body, isFirst: true };
}

/** Whether no other connection to the same CRM came after it. They are listed live first, then newest first. */
export function isLatest(
  { provider, connectionId }: ConnectionHealth,
  all: readonly ConnectionHealth[],
): boolean {
  return all.find((one) => one.provider === provider)?.connectionId === connectionId;
}

/** One sentence on all of them. */
function summaryOf(live: readonly ConnectionHealth[], now: Date): string {
  if (live.length === 0) return 'No CRM is connected. Connect one in your CRM settings.';
  const waiting = live.filter((connection) => situationOf(connection, now).tone === 'attention').length;
  if (waiting > 0) {
    return `${waiting} of your ${live.length} CRMs ${waiting === 1 ? 'needs' : 'need'} your attention.`;
  }
  const isGood = live.every((connection) => situationOf(connection, now).tone === 'good');
  return isGood ? 'Everything is in step.' : 'Nothing needs your attention.';
}

/** What needs somebody comes first. */
function cardsOf(connections: readonly ConnectionHealth[], now: Date): Html {
  const cards = connections
    .map((connection) => ({ connection, situation: situationOf(connection, now) }))
    .sort((one, other) => order.indexOf(one.situation.tone) - order.indexOf(other.situation.tone));
  return html`<ul class="cards">${cards.map(
    ({ connection, situation }) => html`<li class="card ${situation.tone}">
  <h3><a href="/connections/${connection.connectionId}">${crmNames[connection.provider]}</a></h3>
  ${situationIn(situation)}
  ${factsOf(connection, now)}
</li>`,
  )}</ul>`;
}

/** The situation: a label, what is the case, and what to do. */
export function situationIn({ tone, label, state, next }: Situation): Html {
  return html`<p class="badge ${tone}">${label}</p>
  <p>${state}</p>
  <p class="next"><strong>What to do:</strong> ${next}</p>`;
}

/** Figures, as far as there is something to say. */
export function factsOf(connection: ConnectionHealth, now: Date): Html | false {
  const { lastSuccessAt, waitingChanges, retriedRecords, givenUpRecords, dismissedRecords, state } =
    connection;
  const { statusReason, pauseReason } = connection;
  const reason = state === 'paused' ? pauseReason : state === 'active' ? null : statusReason;
  const facts = [
    reason !== null && (['Reason', reason] as const),
    lastSuccessAt !== null && (['Last synced', inMinutes(lastSuccessAt, now)] as const),
    waitingChanges > 0 && (['Waiting to be sent', countedUpTo(waitingChanges, 'contact')] as const),
    retriedRecords > 0 && (['Trying again', countedUpTo(retriedRecords, 'record')] as const),
    givenUpRecords > 0 && (['To be checked', countedUpTo(givenUpRecords, 'record')] as const),
    dismissedRecords > 0 && (['Put aside', countedUpTo(dismissedRecords, 'record')] as const),
  ].filter((fact) => fact !== false);
  return (
    facts.length > 0 &&
    html`<dl>${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
  );
}
