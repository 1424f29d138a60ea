import { Command } from 'commander';
import {
  type ConnectionTotal,
  connectionListTotals,
  connectionListWithHealth,
  connectionTotalWork,
  type WorkTotal,
} from '../connections/health.js';
import type { Timestamp } from '../types.js';
import { withDatabase } from './database.js';
import { UnmetCondition } from './failures.js';
import { uuid } from './options.js';
import { organisationReport } from './organisation-health.js';
import { count, countUpTo } from './progress.js';
import { json, print, table, wrapped } from './text.js';
import { databaseTime, dayBefore, minute, moment, relative } from './times.js';

interface HealthOptions {
  organisation?: string;
  json?: boolean;
}

/** `crm-schema health` */
export function healthCommand(): Command {
  return new Command('health')
    .description(
      'Shows the health of all connections, or of one organisation. Exit code 3 if the organisation has none.',
    )
    .option('--organisation <id>', 'show each connection of this organisation', uuid)
    .option('--json', 'print JSON, for programs')
    .action((options: HealthOptions) =>
      options.organisation === undefined
        ? fleetHealth(options)
        : organisationHealth(options.organisation, options),
    );
}

async function fleetHealth(options: HealthOptions): Promise<void> {
  const found = await withDatabase(async (client) => {
    const connections = await connectionListTotals(client);
    const work = await connectionTotalWork(client);
    return { at: await databaseTime(client), connections, work };
  });
  await print(options.json ? json(found) : fleetReport(found).join('\n'));
}

async function organisationHealth(organisationId: string, options: HealthOptions): Promise<void> {
  const found = await withDatabase(async (client) => {
    const at = await databaseTime(client);
    const failuresSince = dayBefore(at);
    const connections = await connectionListWithHealth(client, { organisationId, failuresSince });
    return { at, organisationId, failuresSince, connections };
  });
  if (found.connections.length === 0) {
    throw new UnmetCondition(`Organisation ${organisationId} does not exist, or has never connected a CRM.`);
  }
  await print(options.json ? json(found) : organisationReport(found).join('\n'));
}

function fleetReport(found: { at: Timestamp; connections: ConnectionTotal[]; work: WorkTotal }): string[] {
  const { at, connections, work } = found;
  const upTo = (number: number) => countUpTo(10_000, number);
  return [
    `All organisations, ${minute(at)} UTC`,
    '',
    ...(connections.length === 0 ? ['No organisation is connected to a CRM.'] : totals(connections, at)),
    '',
    ...table('lr', [
      ['Syncs running', upTo(work.running)],
      ['Syncs with an expired lease', upTo(work.expired)],
      ['Failing records to be retried', upTo(work.retriedRecords)],
      ['Records given up on', upTo(work.givenUpRecords)],
      ['Contacts waiting to be pushed', upTo(work.waitingChanges)],
    ]),
  ];
}

function totals(connections: readonly ConnectionTotal[], now: Timestamp): string[] {
  const [waiting] = connections
    .filter(({ due }) => due > 0)
    .sort((one, other) => (one.nextSyncAt < other.nextSyncAt ? -1 : 1));
  return [
    ...table('llrrrrl', [
      ['', '', '', '', '', 'Never', 'Oldest success'],
      ['CRM', 'Status', 'Live', 'Failing', 'Due', 'synced', '(UTC)'],
      ...connections.map((total) => [
        total.provider,
        total.status,
        count(total.connections),
        count(total.failing),
        count(total.due),
        count(total.neverSynced),
        total.oldestSuccessAt === null
          ? 'never'
          : `${minute(total.oldestSuccessAt)}, ${relative(total.oldestSuccessAt, now)}`,
      ]),
    ]),
    ...(waiting === undefined
      ? []
      : ['', ...wrapped(`Longest due: ${waiting.provider}, since ${moment(waiting.nextSyncAt, now)}.`)]),
  ];
}
