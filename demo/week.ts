import type { ClientBase } from 'pg';
import {
  connectionDisconnect,
  connectionSetStatus,
  contactExternalIdRepoint,
  contactMerge,
  type Timestamp,
} from '../src/index.js';
import {
  connect,
  gullhavenCustom,
  gullhavenStreet,
  otherAlto,
  puddlewickAgentos,
  puddlewickReapit,
  thistleAlto,
  thistleAltoAgain,
  thistleAltoElsewhere,
  thistleLoop,
} from './connections.js';
import { clemmie, gCustard, gideon, jasper, ottoline, percy, rufus } from './people.js';
import * as agentos from './providers/agentos.js';
import * as alto from './providers/alto.js';
import { transportError } from './providers/common.js';
import * as custom from './providers/custom.js';
import * as loop from './providers/loop.js';
import * as reapit from './providers/reapit.js';
import * as street from './providers/street.js';
import { recordPush } from './push.js';
import { importRecords, log } from './sync.js';
import { counts, timeOfDay } from './text.js';

/** The start of the week, from which failures are counted. */
export const weekStart: Timestamp = '2026-11-16T00:00:00.000000Z';

/** A day in the story. `play` plays it and returns what happened. */
interface Day {
  title: string;
  play(client: ClientBase): Promise<string>;
}

/** The first week of sync, Monday 16 to Sunday 22 November 2026. Times are UTC. */
export const week: readonly Day[] = [
  { title: 'Mon 16', play: monday },
  { title: 'Tue 17', play: tuesday },
  { title: 'Wed 18', play: wednesday },
  { title: 'Thu 19', play: thursday },
  { title: 'Fri 20', play: friday },
  { title: 'Sat 21', play: saturday },
  { title: 'Sun 22', play: sunday },
];

async function monday(client: ClientBase): Promise<string> {
  await connect(client, puddlewickReapit);
  await connect(client, puddlewickAgentos);
  const fromReapit = await importRecords(client, puddlewickReapit, reapit.everything, '2026-11-16T09:05:00Z');
  const landlord = agentos.toRecord(agentos.ottoline);
  await importRecords(client, puddlewickAgentos, [landlord], '2026-11-16T09:20:00Z', {
    [landlord.externalId]: ottoline,
  });
  return (
    `Puddlewick connects Reapit (${counts(fromReapit)}) and agentOS. Ottoline is a landlord in both: ` +
    `one contact, two ids. Reapit's 16:42:10.4831097 is truncated to ${timeOfDay(fromReapit.lastSyncedAt)}.`
  );
}

async function tuesday(client: ClientBase): Promise<string> {
  for (const connection of [thistleAlto, thistleLoop, gullhavenStreet, gullhavenCustom]) {
    await connect(client, connection);
  }
  const fromAlto = await importRecords(
    client,
    thistleAlto,
    [alto.hettie, alto.gideon].map(alto.toRecord),
    '2026-11-17T09:00:00Z',
  );
  await log(client, thistleLoop, {
    occurredAt: '2026-11-17T09:10:00Z',
    direction: 'inbound',
    entityType: 'contact',
    error: loop.toSyncError({ statusCode: 'error' }),
  });
  const people = [street.clemmie, street.percy].map(street.toRecord);
  const fromStreet = await importRecords(client, gullhavenStreet, people, '2026-11-17T09:30:00Z');
  await log(client, gullhavenCustom, {
    occurredAt: '2026-11-17T09:40:00Z',
    direction: 'inbound',
    entityType: 'person',
    error: transportError('The CRM', 'ETIMEDOUT'),
  });
  await importRecords(client, gullhavenCustom, [custom.toRecord(custom.percy)], '2026-11-17T09:55:00Z');
  return (
    `Thistle & Quill connects Alto (${counts(fromAlto)}) and Loop, which reports an error with HTTP 200. ` +
    `Gullhaven connects Street (${counts(fromStreet)}) and its own CRM, which times out once.`
  );
}

async function wednesday(client: ClientBase): Promise<string> {
  const answer = { dateTime: '2026-11-18T11:30:00Z', description: '' };
  await log(client, puddlewickReapit, {
    occurredAt: '2026-11-18T11:30:00Z',
    direction: 'inbound',
    entityType: 'landlord',
    error: reapit.toSyncError({ ...answer, statusCode: 429 }),
  });
  const result = await importRecords(client, puddlewickReapit, reapit.wednesday, '2026-11-18T11:31:00Z');
  const change = { direction: 'outbound', entityType: 'landlord', externalId: 'RPT120080' } as const;
  await log(client, puddlewickReapit, {
    ...change,
    occurredAt: '2026-11-18T14:30:00Z',
    contact: ottoline,
    error: reapit.toSyncError({ ...answer, statusCode: 412 }),
  });
  await recordPush(client, {
    entityType: change.entityType,
    externalId: change.externalId,
    occurredAt: '2026-11-18T14:31:08Z',
    contact: ottoline,
    remoteVersion: reapit.ottolineETags.after,
  });
  return (
    `Reapit has given Jasper's id RPT120094 to Rufus: a conflict for that record only ` +
    `(${counts(result)}). The cursor stops before it, at ${timeOfDay(result.lastSyncedAt)}. ` +
    `An update of Ottoline with If-Match ${reapit.ottolineETags.before} fails with 412; after a fresh read it succeeds.`
  );
}

async function thursday(client: ClientBase): Promise<string> {
  await log(client, puddlewickAgentos, {
    occurredAt: '2026-11-19T08:00:00Z',
    direction: 'outbound',
    entityType: 'landlord',
    externalId: agentos.ottoline.OID,
    contact: ottoline,
    error: agentos.toSyncError(401),
  });
  await connectionSetStatus(client, {
    ...puddlewickAgentos,
    status: 'error',
    reason: 'agentOS rejected the API key. Create a new one there.',
  });
  await log(client, thistleAlto, {
    occurredAt: '2026-11-19T10:00:00Z',
    direction: 'inbound',
    entityType: 'contact',
    error: alto.toSyncError(403),
  });
  await connectionDisconnect(client, {
    ...thistleAlto,
    reason: 'Thistle & Quill revoked access in Alto.',
  });
  return (
    'agentOS rejects the API key: the connection goes into error, and its reason says what to do. ' +
    'Alto answers 403: Thistle & Quill has revoked access there, and disconnects.'
  );
}

async function friday(client: ClientBase): Promise<string> {
  await contactExternalIdRepoint(client, {
    organisationId: puddlewickReapit.organisationId,
    provider: 'reapit',
    entityType: 'landlord',
    externalId: 'RPT120094',
    fromContactId: jasper.id,
    toContactId: rufus.id,
  });
  const fromReapit = await importRecords(client, puddlewickReapit, reapit.friday, '2026-11-20T09:00:00Z');
  const { archivedIds } = await connect(client, thistleAltoElsewhere, otherAlto);
  await connectionDisconnect(client, { ...thistleAltoElsewhere, reason: 'This was the wrong account.' });
  const { restoredIds } = await connect(client, thistleAltoAgain);
  const fromAlto = await importRecords(
    client,
    thistleAltoAgain,
    [alto.hettieChanged, alto.gideon].map(alto.toRecord),
    '2026-11-20T11:00:00Z',
  );
  return (
    `Puddlewick confirms that RPT120094 is now Rufus: the mapping is re-pointed and the records are read again ` +
    `(${counts(fromReapit)}). Winifred is a landlord now, too: an alias. Our update of Ottoline comes back: an echo. ` +
    `Thistle & Quill connects another account of Alto (${archivedIds} ids archived), then its own again ` +
    `(${restoredIds} restored, ${counts(fromAlto)}): 48213 still means Hettie.`
  );
}

async function saturday(client: ClientBase): Promise<string> {
  const change = { direction: 'outbound', entityType: 'person' } as const;
  await log(client, gullhavenStreet, {
    ...change,
    occurredAt: '2026-11-21T10:00:00Z',
    externalId: street.clemmie.id,
    contact: clemmie,
    error: street.toSyncError({ errors: [{ status: '404', title: 'Not Found' }] }),
  });
  await log(client, gullhavenStreet, {
    ...change,
    occurredAt: '2026-11-21T10:01:00Z',
    externalId: street.percy.id,
    contact: percy,
    error: street.toSyncError({ errors: [{ status: '422', title: 'Unprocessable Entity' }] }),
  });
  await log(client, gullhavenCustom, {
    ...change,
    occurredAt: '2026-11-21T10:05:00Z',
    externalId: custom.percy.id,
    contact: percy,
    error: transportError('The CRM', 'ECONNRESET'),
  });
  return "Gullhaven sends three changes: Street no longer has one person and rejects the values of another, and the agency's own CRM is unreachable.";
}

async function sunday(client: ClientBase): Promise<string> {
  const record = loop.toRecord(loop.gideon);
  const fromLoop = await importRecords(client, thistleLoop, [record], '2026-11-22T09:00:00Z', {
    [record.externalId]: gCustard,
  });
  await contactMerge(client, {
    organisationId: thistleLoop.organisationId,
    fromContactId: gCustard.id,
    intoContactId: gideon.id,
    changedBy: 'demo',
    reason: 'The same person.',
  });
  const fromReapit = await importRecords(client, puddlewickReapit, reapit.sunday, '2026-11-22T09:05:00Z');
  return (
    `Loop is back and sends a G. Custard (${counts(fromLoop)}), who is Gideon: the contacts are merged. ` +
    `Reapit returns its latest change again (${counts(fromReapit)}).`
  );
}
