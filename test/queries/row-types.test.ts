import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import postgres from 'postgres';
import ts from 'typescript';
import { describe, expect, onTestFinished, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { fromPostgresJs } from '../../src/clients.js';
import * as credentialsApi from '../../src/credentials.js';
import * as rootApi from '../../src/index.js';
import { type Queryable, withNamedStatements } from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { createSamples, type QueryName, queries, queryNames } from './every-query.js';

const database = useDatabase();

const api = { ...rootApi, ...credentialsApi };

/** Steps of other calls. */
const internal: QueryName[] = [
  'connectionCancelRun',
  'contactExternalIdLinkAlias',
  'contactExternalIdResolveOne',
  'connectionDropWork',
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
  'credentialsListByKey',
  'credentialsRewrap',
  'syncRunCheckHousekeeping',
];

/** Checks a value against a generated type; `Json` only means that there is a value. */
const promises: Record<string, (value: unknown) => boolean> = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  Timestamp: (value) => typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(value),
  Json: (value) => value !== undefined,
};

interface Field {
  type: string;
  nullable: boolean;
}

/** The fields of each generated `…Result` interface, by lower-case query name. */
function resultTypes(): Map<string, Map<string, Field>> {
  const types = new Map<string, Map<string, Field>>();
  const folder = projectPath('src/generated');
  for (const name of readdirSync(folder)) {
    const file = ts.createSourceFile(name, readFileSync(`${folder}/${name}`, 'utf8'), ts.ScriptTarget.Latest);
    for (const statement of file.statements) {
      if (!ts.isInterfaceDeclaration(statement) || !statement.name.text.endsWith('Result')) continue;
      const fields = new Map<string, Field>();
      for (const member of statement.members) {
        if (!ts.isPropertySignature(member) || member.type === undefined) continue;
        const [type = '', ...others] = member.type.getText(file).split(' | ');
        fields.set(member.name.getText(file), { type, nullable: others.includes('null') });
      }
      types.set(statement.name.text.replace(/Result$/, '').toLowerCase(), fields);
    }
  }
  return types;
}

/** Columns with the row's usual nullable type that this query never fills. */
const neverFilled = new Set([
  'connectionGetLive.disconnectedAt',
  'connectionListLiveByAccount.disconnectedAt',
]);

/** Nullable columns that this query filters by, so they are never null. */
const alwaysFilled = new Set(['syncLogListByContact.internalId', 'connectionListLiveByAccount.account']);

const clients: [string, () => Promise<{ client: Queryable; end: () => Promise<void> }>][] = [
  ['a pool', async () => ({ client: database.pool, end: async () => {} })],
  [
    'a client with named statements',
    async () => {
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      return { client: withNamedStatements(client), end: () => client.end() };
    },
  ],
  [
    'a pool with custom type parsers and time zone',
    async () => {
      const pool = new pg.Pool({
        connectionString: database.url,
        options: '-c timezone=Asia/Tokyo',
        types: { getTypeParser: () => () => 'spoilt' } as never,
      });
      return { client: pool, end: () => pool.end() };
    },
  ],
  [
    'postgres.js',
    async () => {
      const sql = postgres(database.url, { onnotice() {} });
      return { client: fromPostgresJs(sql), end: () => sql.end() };
    },
  ],
  [
    'postgres.js with named statements',
    async () => {
      const sql = postgres(database.url, { onnotice() {} });
      return { client: withNamedStatements(fromPostgresJs(sql)), end: () => sql.end() };
    },
  ],
];

describe.each(clients)('through %s', (_, open) => {
  test('rows have exactly the keys and types of the generated types', async () => {
    const types = resultTypes();
    const samples = await createSamples(database.pool);
    const { client, end } = await open();
    onTestFinished(end);
    const seenNull = new Set<string>();
    const seenValue = new Set<string>();
    for (const name of queryNames) {
      expect(samples, `samples for ${name} belong into test/queries/every-query.ts`).toHaveProperty(name);
      const fields = types.get(name.toLowerCase()) as Map<string, Field>;
      let rowCount = 0;
      for (const params of samples[name]) {
        for (const row of await queries[name].run(params, client)) {
          rowCount += 1;
          expect(Object.keys(row).toSorted(), name).toEqual([...fields.keys()].toSorted());
          for (const [field, { type, nullable }] of fields) {
            const value = row[field];
            const place = `${name}.${field}`;
            (value === null ? seenNull : seenValue).add(place);
            if (value === null) expect(nullable, `${place} is null`).toBe(true);
            else expect(promises[type]?.(value), `${place}: ${JSON.stringify(value)} is ${type}`).toBe(true);
          }
        }
      }
      expect(rowCount, `${name} returned no row to check`).toBeGreaterThan(0);
      for (const [field, { nullable }] of fields) {
        const place = `${name}.${field}`;
        if (!neverFilled.has(place)) expect(seenValue, 'columns seen with a value').toContain(place);
        if (nullable && !alwaysFilled.has(place))
          expect(seenNull, 'columns seen without one').toContain(place);
      }
    }
  });
});

test('every query has a behaviour test, through the public function of its name', () => {
  const files = [
    'queries/accounts',
    'queries/connections',
    'queries/connection-health',
    'queries/contact-external-ids',
    'queries/external-id-aliases',
    'queries/contact-merges',
    'queries/record-merges',
    'queries/identity-changes',
    'queries/external-id-aliases',
    'queries/external-record-checks',
    'queries/outbound-changes',
    'queries/sync-batches',
    'queries/sync-cursors',
    'queries/sync-failures',
    'queries/sync-failure-decisions',
    'queries/rate-limits',
    'queries/record-requests',
    'queries/references',
    'queries/sync-conflicts',
    'queries/sync-log',
    'queries/sync-runs',
    'access/organisations',
    'reports/paused-connection',
    'reports/first-fill',
    'credentials/stored-credentials',
    'credentials/rotation',
    'credentials/revocation',
  ];
  const tests = files.map((name) => readFileSync(projectPath(`test/${name}.test.ts`), 'utf8')).join('');
  for (const name of queryNames.filter((each) => !internal.includes(each))) {
    expect(api, 'src/index.ts').toHaveProperty(name);
    expect(tests.includes(`describe('${name}'`) || tests.includes(`['${name}', ${name}]`), name).toBe(true);
  }
});

test('every query of queries/ is generated', () => {
  const written = readdirSync(projectPath('queries')).flatMap((file) => [
    ...readFileSync(projectPath(`queries/${file}`), 'utf8').matchAll(/@name (\w+)/g),
  ]);
  expect(written.map(([, name]) => name as QueryName).toSorted()).toEqual(queryNames);
});
