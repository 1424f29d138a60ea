// The page of one contact: its ids everywhere, and what was synced lately.
import {
  type ContactExternalRecord,
  type ContactSyncLogEntry,
  externalRecordListByContacts,
  syncLogListByContact,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { recordErrors } from './error-words.js';
import type { Host } from './host.js';
import { type Html, html } from './html.js';
import type { Page } from './layout.js';
import { crmName, crmNames, directions, kindOf, outcomes, recordStates } from './names.js';
import { inMinutes } from './times.js';

/** How many events the page lists. */
const listed = 20;

/** Reads and shows a contact; undefined if the organisation has none with this id. */
export async function contactPage(
  client: pg.ClientBase,
  organisationId: string,
  contactId: string,
  host: Host,
  now: Date,
): Promise<Page | undefined> {
  const name = (await host.contactNames(client, organisationId, [contactId])).get(contactId);
  if (name === undefined) return undefined;
  const records = await externalRecordListByContacts(client, { organisationId, contactIds: [contactId] });
  const events = await syncLogListByContact(client, { organisationId, contactId, limit: listed });
  const body = html`<h2>In your CRMs</h2>
${records.length === 0 ? html`<p>This contact is in none of your CRMs.</p>` : idsOf(records)}
<h2>Synced lately</h2>
${events.length === 0 ? html`<p>Nothing has been synced yet.</p>` : eventsOf(events, now)}`;
  return { title: name, body };
}

function idsOf(records: readonly ContactExternalRecord[]): Html {
  return html`<table>
  <thead><tr><th scope="col">CRM</th><th scope="col">Record</th><th scope="col">State</th></tr></thead>
  <tbody>${records.map(
    ({ provider, entityType, externalId, isPrimary, remoteState }) => html`<tr>
    <th scope="row">${crmNames[provider]}</th>
    <td>${kindOf(entityType)} <span class="id">${externalId}</span></td>
    <td>${recordStates[remoteState]}${!isPrimary && ', a further record'}</td>
  </tr>`,
  )}</tbody>
</table>`;
}

function eventsOf(events: readonly ContactSyncLogEntry[], now: Date): Html {
  return html`<table>
  <thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Outcome</th></tr></thead>
  <tbody>${events.map(
    ({ provider, direction, entityType, occurredAt, status, error }) => html`<tr>
    <td>${inMinutes(occurredAt, now)}</td>
    <td>${kindOf(entityType)}, ${directions[direction](crmName(provider))}</td>
    <td>${outcomes[status]}${error !== null && html`<br>${recordErrors[error.kind](crmName(provider), direction).state}`}</td>
  </tr>`,
  )}</tbody>
</table>`;
}
