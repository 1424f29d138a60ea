// The page of one connection.
import { connectionListWithHealth, syncFailureList, syncLogCountByPeriod } from '@nurturehub/crm-schema';
import type pg from 'pg';
import { factsOf, isLatest, situationIn } from './connections-page.js';
import { listOfEvents, listOfRecords } from './failures.js';
import type { Host } from './host.js';
import { html } from './html.js';
import type { Page } from './layout.js';
import { crmNames } from './names.js';
import { plotOf } from './plot.js';
import { recentFailures } from './recent-failures.js';
import { situationOf } from './situation.js';
import { lastDays } from './times.js';

/** How many records and events the page lists. */
const listed = 20;

/** Reads and shows a connection; undefined if the organisation has none with this id. */
export async function connectionPage(
  client: pg.ClientBase,
  organisationId: string,
  connectionId: string,
  host: Host,
  now: Date,
): Promise<Page | undefined> {
  const times = lastDays(30, now);
  const [from = ''] = times;
  const connections = await connectionListWithHealth(client, { organisationId, failuresSince: from });
  const connection = connections.find((one) => one.connectionId === connectionId);
  if (connection === undefined) return undefined;
  const key = { organisationId, connectionId };
  const { provider } = connection;
  const days = await syncLogCountByPeriod(client, { ...key, times });
  const records = await syncFailureList(client, { ...key, limit: listed });
  const recent = await recentFailures(client, [connection], { since: from, limit: listed });
  const names = await host.contactNames(client, organisationId, [
    ...records.flatMap(({ direction, recordId }) => (direction === 'outbound' ? recordId : [])),
    ...recent.flatMap(({ internalId }) => internalId ?? []),
  ]);
  const situation = situationOf(connection, now, !isLatest(connection, connections));
  const body = html`<section class="card ${situation.tone}" aria-label="State">
  ${situationIn(situation)}
  ${factsOf(connection, now)}
</section>
<h2>The last 30 days</h2>${plotOf(days)}
<h2>Records that still fail</h2>
${records.length === 0 ? html`<p>There are none.</p>` : listOfRecords(records, provider, names, now)}
<h2>What failed lately</h2>
${recent.length === 0 ? html`<p>Nothing has failed in the last 30 days.</p>` : listOfEvents(recent, names, now)}`;
  return { title: crmNames[provider], body };
}
