import { type ConnectionHealth, connectionListWithHealth, type Queryable } from '../../src/index.js';
import { providerNames } from '../connections.js';
import { agencies } from '../people.js';
import { moment, type Row, table, wrapped } from '../text.js';
import { weekStart } from '../week.js';

const legend =
  "Synced up to: the CRM's time of the newest imported change before the first failure (– means the CRM gives no times). Failed: failures since Mon 16, repaired or not.";

/** Answers question 1: which CRMs is each organisation connected to, and are they healthy? */
export async function answerHealth(client: Queryable, print: (text: string) => void): Promise<void> {
  print('1. Which CRMs is each organisation connected to, and are they healthy?');
  print('   connectionListWithHealth — queries/crm_connections.sql');
  const rows: Row[] = [];
  for (const { id: organisationId, name } of agencies) {
    const connections = await connectionListWithHealth(client, { organisationId, failuresSince: weekStart });
    rows.push(name, ...connections.map(healthRow));
  }
  print(table({ CRM: 10, Status: 14, 'Synced up to': 14, Failed: 8, Details: 0 }, rows));
  print(wrapped(legend, '   ').join('\n'));
}

function healthRow(connection: ConnectionHealth): Row {
  return [
    ` ${providerNames[connection.provider]}`,
    connection.status,
    moment(connection.lastSyncedAt),
    String(connection.failureCount),
    detailsOf(connection),
  ];
}

/** The reason for the status; otherwise the last failure, and whether later events succeeded. */
function detailsOf({ statusReason, lastError, lastFailureAt, lastEventStatus }: ConnectionHealth): string {
  if (statusReason !== null) return statusReason;
  if (lastError === null) return 'No failures';
  const since = lastEventStatus === 'error' ? '' : ', OK since';
  return `${lastError.kind}, ${moment(lastFailureAt)}${since}`;
}
