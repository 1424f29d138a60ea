import pg from 'pg';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import * as crm from '../../src/index.js';
import { createSamples, queries, queryNames } from '../queries/every-query.js';
import { useDatabase } from '../support/database.js';

const { pool } = useDatabase();

/** The values that each column with a closed list of values accepts, by `<table oid>.<column number>`. */
async function closedLists(): Promise<Map<string, { constraint: string; values: string[] }>> {
  const { rows } = await pool.query(
    `select conname, conrelid || '.' || conkey[1] as column, pg_get_constraintdef(oid) as definition
     from pg_constraint
     where contype = 'c' and cardinality(conkey) = 1 and conparentid = 0
       and conrelid::regclass::text in (
         'crm_connections', 'crm_sync_log', 'crm_sync_runs', 'crm_sync_cursors', 'crm_sync_failures',
         'crm_outbound_changes', 'crm_sync_conflicts', 'contact_external_ids', 'contact_external_id_aliases',
         'contact_external_id_changes', 'contact_external_id_archive'
       )`,
  );
  const lists = new Map();
  for (const { conname, column, definition } of rows) {
    const [, list] = /^CHECK \(\(\w+ = ANY \(ARRAY\[(.*)\]\)\)\)$/.exec(definition) ?? [];
    if (list === undefined) continue;
    lists.set(column, {
      constraint: conname,
      values: [...list.matchAll(/'(\w+)'::text/g)].map(([, value]) => value),
    });
  }
  return lists;
}

test.each([
  ['crm_connections_provider_check', crm.providers],
  ['contact_external_ids_provider_check', crm.providers],
  ['contact_external_ids_remote_state_check', crm.remoteStates.filter((state) => state !== 'merged')],
  ['contact_external_id_aliases_provider_check', crm.providers],
  ['contact_external_id_aliases_remote_state_check', crm.remoteStates],
  ['contact_external_id_archive_remote_state_check', crm.remoteStates],
  ['contact_external_id_changes_kind_check', crm.identityChangeKinds],
  ['crm_connections_status_check', crm.connectionStatuses],
  ['crm_connections_revocation_check', crm.revocations],
  ['crm_connections_kept_changes_check', crm.keptChanges],
  ['crm_connections_conflict_winner_check', crm.conflictWinners],
  ['crm_sync_conflicts_kept_check', crm.keptSides],
  ['crm_sync_log_direction_check', crm.syncDirections],
  ['crm_sync_log_status_check', crm.syncStatuses],
  ['crm_sync_log_reason_check', crm.syncSkipReasons],
  ['crm_sync_runs_outcome_check', crm.syncRunOutcomes],
  ['crm_sync_cursors_direction_check', crm.syncDirections],
  ['crm_sync_cursors_kind_check', crm.cursorKinds],
  ['crm_sync_failures_direction_check', crm.syncDirections],
])('%s accepts exactly the values of its public type', async (constraint, list) => {
  const found = [...(await closedLists()).values()].find((entry) => entry.constraint === constraint);
  expect(found?.values).toEqual([...list]);
});

test('no other column has a closed list', async () => {
  expect((await closedLists()).size).toBe(19);
});

test('crm_sync_error_is_valid accepts exactly the kinds of the public type', async () => {
  const { rows } = await pool.query(
    "select pg_get_functiondef('crm_sync_error_is_valid'::regproc) as source",
  );
  const [, list = ''] = /'kind' in \(([^)]*)\)/.exec(rows[0].source) ?? [];
  expect([...list.matchAll(/'(\w+)'/g)].map(([, kind]) => kind)).toEqual([...crm.syncErrorKinds]);
});

/** The type checker's view of the public functions. */
function publicProgram() {
  const program = ts.createProgram([projectPath('src/index.ts')], {
    strict: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    skipLibCheck: true,
    noEmit: true,
  });
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(projectPath('src/index.ts')) as ts.SourceFile;
  const moduleSymbol = checker.getSymbolAtLocation(source) as ts.Symbol;
  const functions = new Map(checker.getExportsOfModule(moduleSymbol).map((symbol) => [symbol.name, symbol]));
  return { checker, source, functions };
}

/** The literals of a field of a public function's result, or of its rows, without null. */
function literals(
  { checker, source, functions }: ReturnType<typeof publicProgram>,
  name: string,
  field: string,
): string[] | undefined {
  const symbol = functions.get(name);
  if (symbol === undefined) return undefined;
  const [signature] = checker.getTypeOfSymbolAtLocation(symbol, source).getCallSignatures();
  const awaited = checker.getNonNullableType(
    checker.getAwaitedType((signature as ts.Signature).getReturnType()) as ts.Type,
  );
  const row = checker.getIndexTypeOfType(awaited, ts.IndexKind.Number) ?? awaited;
  const property = checker.getPropertyOfType(row, field);
  if (property === undefined) return undefined;
  const type = checker.getNonNullableType(checker.getTypeOfSymbolAtLocation(property, source));
  const members = type.isUnion() ? type.types : [type];
  return members.map((member) => (member.isStringLiteral() ? member.value : checker.typeToString(member)));
}

/** The values of queries that select only some of them. */
const selectedValues: Record<string, string[]> = {
  'connectionListTotals.status': ['active', 'error'],
  'syncLogListFailures.status': ['error'],
};

test('each result column with a closed list has that list as its public type', async () => {
  const lists = await closedLists();
  const program = publicProgram();
  const samples = await createSamples(pool);
  const checked: string[] = [];
  const client = new pg.Client(pool.options);
  await client.connect();
  for (const name of queryNames) {
    const { text, parameterNames } = queries[name];
    const params = { ...samples[name][0] } as Record<string, unknown>;
    await client.query('begin');
    const { fields } = await client.query(
      text,
      parameterNames.map((parameter) => params[parameter]),
    );
    await client.query('rollback');
    for (const field of fields) {
      const list = lists.get(`${field.tableID}.${field.columnID}`);
      const found = literals(program, name, field.name);
      if (list === undefined || found === undefined) continue;
      const expected = selectedValues[`${name}.${field.name}`] ?? list.values;
      expect(found.toSorted(), `${name}.${field.name}`).toEqual(expected.toSorted());
      checked.push(`${name}.${field.name}`);
    }
  }
  await client.end();
  expect(checked).toEqual([
    'connectionGet.provider',
    'connectionGet.status',
    'connectionGet.conflictWinner',
    'connectionGetCredentials.provider',
    'connectionGetLive.provider',
    'connectionGetLive.status',
    'connectionGetLive.conflictWinner',
    'connectionListLiveByAccount.provider',
    'connectionListLiveByAccount.status',
    'connectionListLiveByAccount.conflictWinner',
    'connectionListTotals.provider',
    'connectionListTotals.status',
    'connectionListWithHealth.provider',
    'connectionListWithHealth.status',
    'connectionListWithHealth.revocation',
    'connectionListWithHealth.keptChanges',
    'connectionListWithHealth.conflictWinner',
    'connectionListWithHealth.lastSyncOutcome',
    'connectionListWithHealth.lastEventStatus',
    'connectionListWithHealth.lastErrorDirection',
    'connectionSetConflictWinner.conflictWinner',
    'contactExternalIdListByContacts.provider',
    'contactIdentityChangeList.kind',
    'syncConflictList.kept',
    'syncCursorList.direction',
    'syncFailureClaim.direction',
    'syncFailureList.direction',
    'syncLogListByConnection.direction',
    'syncLogListByConnection.status',
    'syncLogListByConnection.reason',
    'syncLogListByContact.provider',
    'syncLogListByContact.direction',
    'syncLogListByContact.status',
    'syncLogListByContact.reason',
    'syncLogListFailures.direction',
    'syncLogListFailures.status',
    'syncRunClaim.provider',
    'syncRunClaim.conflictWinner',
    'syncRunListByConnection.outcome',
  ]);
});
