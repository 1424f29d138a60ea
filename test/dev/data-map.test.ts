import { beforeAll, expect, test } from 'vitest';
import { dataMap, dataMapPage, kindsOfColumns } from '../../dev/data-map/page.js';
import { withSnapshotDatabase } from '../../dev/snapshot/database.js';
import { readSchema } from '../../dev/snapshot/read-schema.js';
import type { Column, Schema } from '../../dev/snapshot/schema.js';

let schema: Schema;
beforeAll(async () => {
  schema = await withSnapshotDatabase(readSchema);
});

/** The schema with another column in a table, or with another table. */
function withColumn(table: string, name: string): Schema {
  const column: Column = { name, type: 'text', isNullable: true, default: null, comment: 'A test.' };
  const [first] = schema.tables.filter(({ isHost }) => !isHost);
  const others = schema.tables.filter((each) => each.name !== table);
  const changed = schema.tables.find((each) => each.name === table) ?? { ...first, name: table, columns: [] };
  return { ...schema, tables: [...others, { ...changed, columns: [...changed.columns, column] } as never] };
}

test('each column of the schema is in one list, and so has a row on the page', () => {
  const page = dataMapPage(schema);
  const columns = schema.tables.filter(({ isHost }) => !isHost).flatMap((table) => table.columns);
  expect(columns.length).toBeGreaterThan(150);
  expect(page.match(/^\| `\w+` \| [^|]+ \| .+ \|$/gm)).toHaveLength(columns.length);
});

test.each([
  ['a new column', 'crm_sync_log', 'phone', /crm_sync_log\.phone is in 0 lists/],
  ['a new table', 'crm_notes', 'note', /crm_notes\.note is in 0 lists/],
])('%s without an entry fails the page', (_, table, column, message) => {
  expect(() => dataMapPage(withColumn(table, column))).toThrow(message);
});

test('a column in two lists, and one that does not exist, fail', () => {
  const entry = dataMap.crm_sync_log ?? expect.unreachable();
  const twice = { ...dataMap, crm_sync_log: { ...entry, staff: ['external_id', 'gone'] } };
  expect(() => kindsOfColumns(schema, twice)).toThrow(
    /crm_sync_log\.external_id is in 2 lists, not in one; crm_sync_log\.gone does not exist/,
  );
  expect(() => kindsOfColumns(schema, { ...dataMap, crm_gone: entry })).toThrow(/crm_gone does not exist/);
});

test('each column of a contact is in an export, or a reason is given', () => {
  for (const [table, { exported, identifies }] of Object.entries(dataMap)) {
    if ('not' in exported) {
      expect(exported.not.length, table).toBeGreaterThan(10);
    } else {
      expect(identifies, `${table} is exported by an id`).not.toHaveLength(0);
      for (const [column, reason] of Object.entries(exported.leftOut ?? {}))
        expect(reason.length, `${table}.${column}`).toBeGreaterThan(10);
    }
  }
});
