import { beforeAll, describe, expect, test } from 'vitest';
import { createSamples, queries } from '../queries/every-query.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { exportedQueries, exporter, queryOf } from './configuration.js';

/** Labels with a few values. Anything that names an agency, a connection or a person would make a series of each. */
const boundedLabels = ['provider', 'status', 'direction', 'kind', 'kept'];

const names = exportedQueries.map(({ name }) => name);

const withoutSpace = (text: string) => text.replace(/\s+/g, ' ').trim();

test.each([
  ['crm_connections', queries.connectionListTotals],
  ['crm_work', queries.connectionTotalWork],
])('%s contains the statement of the public function as it is', (name, { text }) => {
  expect(withoutSpace(queryOf(name).query)).toContain(withoutSpace(text));
});

test.each(exportedQueries)('$name says in its statement which query it is', ({ name, query }) => {
  expect(query).toMatch(
    name === 'crm_work'
      ? /^select \/\* connectionTotalWork \*\//
      : new RegExp(`^(select|with) /\\* monitoring: ${name} \\*/`),
  );
});

test('the exporter connects for a transaction that only reads, and for a limited time', () => {
  for (const { connections } of exporter.jobs) {
    const [url] = connections;
    const { searchParams } = new URL(
      (url ?? '').replace('{{MONITOR_URL}}', 'postgres://h/d?sslmode=require'),
    );
    expect(Object.fromEntries(searchParams)).toEqual({
      sslmode: 'require',
      application_name: 'crm-monitoring',
      statement_timeout: '10000',
      lock_timeout: '1000',
      default_transaction_read_only: 'on',
    });
  }
});

describe('on a schema with every kind of row,', () => {
  const database = useDatabase();
  const reader = useMember(database, 'crm_reader');
  beforeAll(async () => {
    await createSamples(database.pool);
    await database.pool.query(
      'update crm_connections set fill_started_at = now(), filled_contacts = 3, fill_finished_at = null where status = $1',
      ['active'],
    );
  });

  test.each(names)('a member of crm_reader gets labels and values of %s', async (name) => {
    const { labels, values, query } = queryOf(name);
    const { rows, fields } = await reader.query(query);
    expect(fields.map((field) => field.name)).toEqual([...labels, ...values]);
    expect(rows).not.toEqual([]);
    for (const row of rows) {
      for (const label of labels) expect(row[label], label).toEqual(expect.any(String));
      for (const value of values) expect(row[value], value).toEqual(expect.any(Number));
    }
    const series = rows.map((row) => labels.map((label) => row[label]).join());
    expect(new Set(series).size).toBe(series.length);
  });

  test.each(exportedQueries)('the labels of $name have few values', ({ labels }) => {
    for (const label of labels) expect(boundedLabels).toContain(label);
  });
});
