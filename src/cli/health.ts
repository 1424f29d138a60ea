import { Command } from 'commander';
import {
  type ConnectionTotal,
  connectionListTotals,
  connectionListWithHealth,
  connectionTotalWork,
  type WorkTotal,
} from '../connections/health.js';
import type { Timestamp } from '../types.js';
import { withUnrestrictedConnection } from './database.js';
import { UnmetCondition } from './exit-codes.js';
import { formatCapped, formatNumber, formatQuantity } from './numbers.js';
import { parseUuid } from './options.js';
import { organisationReport } from './organisation-health.js';
import { formatJson, formatTable, printResult, wrap } from './text.js';
import { databaseTime, dayBefore, formatTime, formatTimeAndAge, formatTimeFromNow } from './times.js';

interface HealthOptions {
  organisation?: string;
  json?: boolean;
}

/** `crm-schema health` */
export function healthCommand(): Command {
  return new Command('health')
    .option('--organisation <id>', 'show each connection of this organisation', parseUuid)
    .option('--json', 'print JSON, for programs')
    .action((options: HealthOptions) =>
      options.organisation === undefined
        ? showFleetHealth(options)
        : showOrganisationHealth(options.organisation, options),
    );
}

async function showFleetHealth(options: HealthOptions): Promise<void> {
  const health = await withUnrestrictedConnection(async (client) => {
    const connections = await connectionListTotals(client);
    const work = await connectionTotalWork(client);
    return { at: await databaseTime(client), connections, work };
  });
  await printResult(options.json ? formatJson(health) : fleetReport(health).join('\n'));
}

async function showOrganisationHealth(organisationId: string, options: HealthOptions): Promise<void> {
  const health = await withUnrestrictedConnection(async (client) => {
    const at = await databaseTime(client);
    const failuresSince = dayBefore(at);
    const connections = await connectionListWithHealth(client, { organisationId, failuresSince });
    return { at, organisationId, failuresSince, connections };
  });
  if (health.connections.length === 0) {
    throw new UnmetCondition(`Organisation ${organisationId} does not exist, or has never connected a CRM.`);
  }
  await printResult(options.json ? formatJson(health) : organisationReport(health).join('\n'));
}

/** What `health --json` prints without an organisation. */
interface FleetHealth {
  at: Timestamp;
  connections: ConnectionTotal[];
  work: WorkTotal;
}

function fleetReport({ at, connections, work }: FleetHealth): string[] {
  const upTo = (number: number) => formatCapped(number, 10_000);
  return [
    `All organisations, ${formatTime(at)} UTC`,
    '',
    ...(connections.length === 0 ? ['No organisation is connected to a CRM.'] : totalsTable(connections, at)),
    '',
    ...formatTable('lr', [
      ['Syncs running', upTo(work.running)],
      ['Syncs with an expired lease', upTo(work.expired)],
      ['Failing records to be retried', upTo(work.retriedRecords)],
      ['Records given up on', upTo(work.givenUpRecords)],
      ['Records dismissed', upTo(work.dismissedRecords)],
      ['Contacts waiting to be pushed', upTo(work.waitingChanges)],
    ]),
  ];
}

function totalsTable(connections: readonly ConnectionTotal[], now: Timestamp): string[] {
  const [longestDue] = connections
    .filter(({ due }) => due > 0)
    .sort((one, other) => (one.nextSyncAt < other.nextSyncAt ? -1 : 1));
  const [longestStreak] = connections.toSorted((one, other) => other.mostFailedSyncs - one.mostFailedSyncs);
  return [
    ...formatTable('llrrrrrl', [
      ['', '', '', '', '', '', 'Never', 'Oldest success'],
      ['CRM', 'Status', 'Live', 'Failing', 'Paused', 'Due', 'synced', '(UTC)'],
      ...connections.map((total) => [
        total.provider,
        total.status,
        formatNumber(total.connections),
        formatNumber(total.failing),
        formatNumber(total.paused),
        formatNumber(total.due),
        formatNumber(total.neverSynced),
        total.oldestSuccessAt === null
          ? 'never'
          : `${formatTime(total.oldestSuccessAt)}, ${formatTimeFromNow(total.oldestSuccessAt, now)}`,
      ]),
    ]),
    ...(longestStreak === undefined || longestStreak.mostFailedSyncs < 2
      ? []
      : [
          '',
          ...wrap(
            `Most failures in a row: ${longestStreak.provider}, ${formatQuantity(longestStreak.mostFailedSyncs, 'sync')}, status ${longestStreak.status}.`,
          ),
        ]),
    ...(longestDue === undefined
      ? []
      : [
          '',
          ...wrap(
            `Longest due: ${longestDue.provider}, since ${formatTimeAndAge(longestDue.nextSyncAt, now)}.`,
          ),
        ]),
  ];
}
