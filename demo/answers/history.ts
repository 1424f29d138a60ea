import {
  connectionListWithHealth,
  type Queryable,
  syncLogCountErrorsByKind,
  syncLogListByContact,
  syncLogListFailures,
} from '../../src/index.js';
import { providerNames, puddlewickReapit } from '../connections.js';
import { agencies, ottoline, puddlewick } from '../people.js';
import { moment, type Row, table } from '../text.js';
import { weekStart } from '../week.js';

type Print = (text: string) => void;

/** A connection and its labels in the tables. */
interface Labelled {
  organisationId: string;
  connectionId: string;
  agency: string;
  crm: string;
}

/** Answers question 2: what happened in every sync operation, and if it failed, why? */
export async function answerHistory(client: Queryable, print: Print): Promise<void> {
  const connections = await everyConnection(client);
  print('2. What happened in every sync operation, and if it failed, why?');
  print('   syncLogCountErrorsByKind — queries/crm_sync_log.sql');
  await printErrorCounts(client, connections, print);
  print('');
  print(`   The latest failures of ${puddlewick.name} at Reapit`);
  print('   syncLogListFailures — queries/crm_sync_log.sql');
  await printFailures(client, print);
  print('');
  print(`   Every event for ${ottoline.name}, a landlord in two CRMs`);
  print('   syncLogListByContact — queries/crm_sync_log.sql');
  await printTimeline(client, connections, print);
}

async function everyConnection(client: Queryable): Promise<Labelled[]> {
  const all: Labelled[] = [];
  for (const { id: organisationId, name: agency } of agencies) {
    const connections = await connectionListWithHealth(client, { organisationId, failuresSince: weekStart });
    for (const { connectionId, provider, status } of connections) {
      const crm = providerNames[provider] + (status === 'disconnected' ? ' (old)' : '');
      all.push({ organisationId, connectionId, agency, crm });
    }
  }
  return all;
}

async function printErrorCounts(
  client: Queryable,
  connections: readonly Labelled[],
  print: Print,
): Promise<void> {
  const rows: Row[] = [];
  for (const { agency, crm, ...connection } of connections) {
    const kinds = await syncLogCountErrorsByKind(client, { ...connection, since: weekStart });
    for (const { kind, count, lastAt } of kinds) {
      rows.push([agency, crm, kind, String(count), moment(lastAt)]);
    }
  }
  print(table({ Agency: 21, CRM: 14, Kind: 14, Failed: 8, 'Last failure': 0 }, rows));
}

async function printFailures(client: Queryable, print: Print): Promise<void> {
  const failures = await syncLogListFailures(client, { ...puddlewickReapit, limit: 5 });
  const rows = failures.map(({ occurredAt, entityType, externalId, error }) => [
    moment(occurredAt),
    entityType,
    externalId ?? '–',
    error.retryable ? `${error.kind}, retryable` : error.kind,
    error.code === undefined ? error.message : `${error.code}: ${error.message}`,
  ]);
  print(table({ When: 14, Record: 10, 'External id': 13, Kind: 15, Why: 0 }, rows));
}

async function printTimeline(
  client: Queryable,
  connections: readonly Labelled[],
  print: Print,
): Promise<void> {
  const { id: contactId, organisationId } = ottoline;
  const events = await syncLogListByContact(client, { organisationId, contactId });
  const rows = events.map((event) => [
    moment(event.occurredAt),
    connections.find(({ connectionId }) => connectionId === event.connectionId)?.crm ?? '',
    event.direction,
    event.externalId ?? '',
    [event.status, event.error?.kind ?? event.reason].filter((word) => word != null).join(': '),
  ]);
  print(table({ When: 14, CRM: 10, Direction: 11, 'External id': 20, Outcome: 0 }, rows));
}
