import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import * as credentialsApi from '../../src/credentials.js';
import * as api from '../../src/index.js';
import { connectionDisconnect, withOrganisation } from '../../src/index.js';
import { migrateUp } from '../../src/migrations.js';
import { denied } from '../access/permissions.js';
import { type QueryName, queryNames } from '../queries/every-query.js';
import { runCli } from '../support/cli.js';
import { testRingKey } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { codeBlocks } from './blocks.js';

const run = promisify(execFile);
const database = useDatabase();
const empty = useDatabase('empty');
const app = useMember(database, 'crm_app');
const appUrl = app.options.connectionString as string;

const keyRing = JSON.stringify({ keys: [testRingKey()] });

/** The output of examples/first-sync.ts that the README shows. */
async function firstOutput(): Promise<string | undefined> {
  return (await codeBlocks('README.md')).find(({ text }) => text.startsWith('reapit is active'))?.text;
}

/** Runs examples/first-sync.ts. */
function firstSync(args: readonly string[], url: string) {
  return run(process.execPath, ['--import', 'tsx', 'examples/first-sync.ts', ...args], {
    cwd: projectPath('.'),
    env: { ...process.env, DATABASE_URL: url, CRM_SCHEMA_KEYS: keyRing },
  });
}

test('first-sync.ts prints what the README shows, and says how to disconnect before a second time', async () => {
  const { organisationId, contactIds } = await createTenant(database.pool, 2);
  const start = () => firstSync([organisationId, ...contactIds], appUrl);
  expect((await start()).stdout).toBe(await firstOutput());
  const { code, stderr } = await start().catch((error) => error);
  expect(code).toBe(1);
  const [, connectionId = ''] = /connectionId: '(.*)'/.exec(stderr) ?? [];
  expect(stderr).toBe(`Reapit is already connected. Disconnect it first:
  withOrganisation(pool, '${organisationId}', (client) =>
    connectionDisconnect(client, { organisationId: '${organisationId}', connectionId: '${connectionId}' }))
`);
  await withOrganisation(app, organisationId, (client) =>
    connectionDisconnect(client, { organisationId, connectionId }),
  );
  // The list now has the disconnected connection too.
  expect((await start()).stdout).toMatch(/^reapit is active, .*, failures: 0$/m);
});

test('first-sync.ts stops its cursor before a record that fails', async () => {
  const { organisationId, contactIds } = await createTenant(database.pool, 1);
  const [contactId = ''] = contactIds;
  const { stdout } = await firstSync([organisationId, contactId, contactId], appUrl);
  expect(stdout).toBe(
    'reapit is active, synced up to 2026-11-16T09:00:00.123456Z, failures: 1\nOXF18000002 is unknown\n',
  );
});

test('the README steps, from an empty database, print what the README shows', async () => {
  const blocks = await codeBlocks('README.md');
  const users = blocks.find(({ language }) => language === 'sql')?.text;
  const tables = await readFile(projectPath('examples/host-tables.sql'), 'utf8');
  const call = blocks.find(({ text }) => text.includes('npx tsx first-sync.ts'))?.text ?? '';
  const next = await codeBlocks('docs/sync-engine.md');
  const worker = next.findIndex(({ text }) => text.includes('npx tsx run-worker.ts'));
  const workerCalls = next[worker]?.text ?? '';
  // Roles belong to the whole server, which other test files use at the same time.
  const names = ['web', 'worker', 'reader'].map(
    (name) => [`nurturehub_${name}`, `test_${name}_${process.pid}`] as const,
  );
  const ours = (text = '') => names.reduce((sum, [name, own]) => sum.replaceAll(name, own), text);
  const urlIn = (text: string) => {
    const [, username = '', password = ''] = /postgres:\/\/(\w+):([\w-]+)@/.exec(ours(text)) ?? [];
    return Object.assign(new URL(empty.url), { username, password }).href;
  };
  await withClient(empty.url, async (client) => {
    await client.query(tables);
    await migrateUp(client);
    await client.query(ours(users));
  });
  onTestFinished(() =>
    withClient(empty.url, async (client) => {
      for (const [, own] of names) await client.query(`drop role ${own}`);
    }),
  );
  const ids = call.match(/[\da-f]{8}-[-\da-f]{27}/g) ?? [];
  expect((await firstSync(ids, urlIn(call))).stdout).toBe(await firstOutput());

  const snippet = blocks.findIndex(({ text }) => text.includes('await pool.end()'));
  expect(blocks[snippet]?.text.match(/\S.*\n/g)?.length).toBeLessThanOrEqual(15);
  const ask = await readFile(projectPath('examples/ask.ts'), 'utf8');
  expect(ask.replace(/^(\/\/.*\n)+/, '')).toBe(blocks[snippet]?.text);
  const [askCall = '', healthCall = ''] =
    blocks.find(({ text }) => text.includes('npx tsx ask.ts'))?.text.split('\n') ?? [];
  const printed = await run(process.execPath, ['--import', 'tsx', 'examples/ask.ts'], {
    cwd: projectPath('.'),
    env: { ...process.env, DATABASE_URL: urlIn(askCall) },
  });
  expect(printed.stdout).toBe(blocks[snippet + 1]?.text);

  const health = async (args: string[], url: string) =>
    JSON.parse((await runCli(['health', '--json', ...args], { DATABASE_URL: url })).stdout).connections;
  expect(healthCall).toMatch(/nurturehub_reader.* npx --no -- crm-schema health$/);
  expect(await health([], urlIn(healthCall))).toMatchObject([{ due: 1, neverSynced: 1 }]);

  const { stdout } = await run(process.execPath, ['--import', 'tsx', 'examples/run-worker.ts', '--once'], {
    cwd: projectPath('.'),
    env: { ...process.env, DATABASE_URL: urlIn(workerCalls) },
  });
  expect(stdout).toBe(next[worker + 1]?.text);
  const [, organisation = ''] = /health --organisation (\S+)/.exec(workerCalls) ?? [];
  const [found] = await health(['--organisation', organisation], urlIn(workerCalls));
  expect(found).toMatchObject({ lastSuccessAt: expect.any(String), failedSyncs: 0 });
  const { rows } = await empty.pool.query('select name from contacts order by name');
  expect(rows.map(({ name }) => name)).toEqual(['Barnaby Quince', 'Ottoline Sprat', 'Winifred Plum']);
});

/** The queries of each public function that is not named after its only query. */
const queriesOf: Record<string, QueryName[]> = {
  connectionDisconnect: ['connectionDisconnect', 'connectionDropWork'],
  connectionPause: ['connectionPause', 'connectionCancelRun'],
  contactExport: [
    'contactExportConflicts',
    'contactExportContacts',
    'contactExportEvents',
    'contactExportFailures',
    'contactExportIdentityChanges',
    'contactExportOutboundChanges',
    'contactExportRecordRequests',
    'contactExportRecords',
    'contactExportNamedRecords',
    'contactExportSpans',
  ],
  contactExternalIdLink: ['contactExternalIdLink', 'contactExternalIdLinkAlias'],
  contactExternalIdListByContact: ['contactExternalIdListByContacts'],
  contactExternalIdResolve: ['contactExternalIdResolveOne'],
  contactExternalIdMatchMany: ['contactExternalIdResolve'],
  contactExternalIdResolveMany: ['contactExternalIdResolve'],
  credentialsCheckKeys: ['credentialsCountByKey'],
  credentialsConnect: ['connectionConnect'],
  credentialsGet: ['connectionGetCredentials'],
  credentialsRefresh: ['connectionGetCredentials', 'credentialsReplace'],
  credentialsRotate: ['credentialsCountByKey', 'credentialsListByKey', 'credentialsRewrap'],
  externalRecordCheckMany: ['externalRecordCheck'],
  syncRunClaim: ['syncRunClaim', 'syncRunCheckHousekeeping', 'syncRunSweep', 'outboundChangeAnnounce'],
  withOrganisation: ['organisationSet'],
};

test('docs/functions.md lists, for each function, the roles that may run its queries', async () => {
  const page = await readFile(projectPath('docs/functions.md'), 'utf8');
  const [, table = ''] = /\| task \| functions \| role \|\n(.*?)\n$/s.exec(page) ?? [];
  const rows = table.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
  const calls = rows.flatMap(([, , functions = '', as = '']) =>
    [...functions.matchAll(/`(\w+)`/g)].map(([, name = '']) => ({ name, as })),
  );
  expect(new Set(calls.map(({ name }) => name)).size).toBe(calls.length);
  const isQuery = (name: string): name is QueryName => (queryNames as string[]).includes(name);
  const words = ({ name }: { name: string }) => {
    const run = queriesOf[name] ?? (isQuery(name) ? [name] : []);
    if (run.length === 0) return '';
    const may = (role: keyof typeof denied) => !run.some((query) => denied[role].includes(query));
    if (may('crm_reader')) return 'any';
    return [may('crm_app') && 'app', may('crm_worker') && 'worker'].filter(Boolean).join(', ');
  };
  expect(calls).toEqual(calls.map((call) => ({ name: call.name, as: words(call) })));
  // Every query belongs to a listed function.
  const run = new Set(calls.flatMap(({ name }) => queriesOf[name] ?? (isQuery(name) ? [name] : [])));
  expect([...run].toSorted()).toEqual(queryNames.toSorted());
});

test('the README and docs/functions.md name every public function, and no document names a function that does not exist', async () => {
  const readme = await readFile(projectPath('README.md'), 'utf8');
  const listed = readme + (await readFile(projectPath('docs/functions.md'), 'utf8'));
  const functions = Object.entries({ ...api, ...credentialsApi })
    .filter(([, value]) => typeof value === 'function')
    .map(([name]) => name);
  const covered = functions.filter(
    (name) => listed.includes(`\`${name.replace(/Many$/, '')}\``) || listed.includes(name),
  );
  expect(covered).toEqual(functions);
  const operations = await readdir(projectPath('docs/operations'));
  const others = ['docs/credentials.md', 'docs/demo.md', 'docs/identity.md', 'docs/sync-engine.md'].concat(
    operations.map((page) => `docs/operations/${page}`),
  );
  const texts = await Promise.all(others.map((document) => readFile(projectPath(document), 'utf8')));
  for (const [, name] of [listed, ...texts]
    .join('\n')
    .matchAll(
      /`((?:connection|credentials(?!Version|ExpiresAt)|sync(?:Log|Run|Batch|Cursor|Failure)|outboundChange|contactExternalId|contactMerge|contactIdentity|externalRecord)[A-Z]\w+)`/g,
    )) {
    expect(functions).toContain(name);
  }
});
