/**
 * Symptom: a sync stops with "See the log of the worker", and the log says `TypeError` and nothing else. The mistake is in
 * the product's own code or in its adapter, and its message, which would name it, was left out for fear that it contained
 * somebody's data.
 *
 * Source: issue 17; tried on 1.3.0 with an adapter that was being written for Reapit.
 *
 * Input: errors of the database, of this package, of JSON.parse, of an adapter and of the product's own code, alone and
 * as the cause of each other. Right: the log has each error's name, code and stack, and its message unless that may
 * contain values.
 */
import { beforeEach, describe, expect, type MockInstance, test, vi } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import { described, report } from '../../examples/errors.js';
import { syncNext, type Worker } from '../../examples/sync-worker.js';
import { canonicalTimestamp } from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const { connectDue } = syncSetup(database);

let log: MockInstance<typeof console.error>;
beforeEach(() => {
  vi.restoreAllMocks();
  log = vi.spyOn(console, 'error').mockImplementation(() => {});
});

/** What a function throws. */
async function thrownBy(throwing: () => unknown): Promise<unknown> {
  try {
    await throwing();
  } catch (error) {
    return error;
  }
  return expect.unreachable();
}

describe('a report of an error', () => {
  test.each<[string, () => unknown, string, string]>([
    [
      'of the database',
      () => pool.query("select 'Ottoline\n    at Sprat'::integer"),
      'error 22P02',
      'test/reports/errors-without-a-message.test.ts',
    ],
    ['of the package', () => canonicalTimestamp('Ottoline Sprat'), 'CrmSchemaError invalid_input', 'src/'],
    [
      'of a library that runs queries',
      () => {
        throw Object.assign(new Error('Failed: Ottoline Sprat'), { query: 'select $1' });
      },
      'Error',
      'test/reports/errors-without-a-message.test.ts',
    ],
    ['of JSON.parse', () => JSON.parse('Ottoline\n    at Sprat'), 'SyntaxError', 'JSON.parse'],
  ])('%s has its code and its stack, and not its message', async (_, throwing, title, place) => {
    const text = described(await thrownBy(throwing));
    expect(text.split('\n')[0]).toBe(title);
    expect(text).toMatch(/\n +at .+/);
    expect(text).toContain(place);
    expect(text).not.toMatch(/Ottoline|Sprat/);
  });

  test.each<[string, () => unknown, string]>([
    ["of the product's own code", () => (undefined as unknown as string[]).length, 'TypeError: Cannot read '],
    [
      'of an adapter',
      () => {
        throw new CrmError('provider', 'The CRM answered 500.', { retryable: true, code: 'E7' });
      },
      'CrmError E7: The CRM answered 500.',
    ],
    [
      'of two lines',
      () => {
        throw new RangeError('One.\nTwo.');
      },
      'RangeError: One.\nTwo.\n    at ',
    ],
    ['of a library', () => new URL('nowhere'), 'TypeError ERR_INVALID_URL: Invalid URL'],
  ])('%s has its message and its stack', async (_, throwing, beginning) => {
    const text = described(await thrownBy(throwing));
    expect(text.startsWith(beginning), text).toBe(true);
    expect(text).toMatch(/\n +at .+errors-without-a-message/);
  });

  test('has its causes, by the same rule', async () => {
    const database = await thrownBy(() => pool.query("select 'Ottoline Sprat'::integer"));
    const middle = new Error('The note could not be stored.', { cause: database });
    const text = described(new Error('The page could not be stored.', { cause: middle }));
    expect(text).toMatch(
      /^Error: The page could not be stored\.\n +at .+\nCaused by: Error: The note could not be stored\.\n +at .+\nCaused by: error 22P02\n +at /s,
    );
    expect(text).not.toContain('Ottoline');
    const endless: Error & { cause?: unknown } = new Error('Round.');
    endless.cause = endless;
    expect(described(endless).match(/Round/g)).toHaveLength(6);
  });

  test.each([
    ['text', 'No.', 'Thrown, though not an error: No.'],
    ['nothing', undefined, 'Thrown, though not an error: undefined'],
    ['an object', { name: 'Ottoline Sprat' }, 'Thrown, though not an error: object'],
  ])('that is %s says so', (_, thrown, text) => {
    report(thrown);
    expect(log.mock.calls).toEqual([[text]]);
  });
});

test('a worker whose adapter has a mistake logs its message, and stores none', async () => {
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  const key = await connectDue();
  const openCrm: Worker['openCrm'] = async () => ({
    entityTypes: ['contact'],
    readPage: async () => ({
      records: (null as unknown as { records: [] }).records,
      isLast: true,
      next: null,
      syncedTo: '',
    }),
    read: async () => null,
    write: async () => null,
  });
  await syncNext({ name: 'test', pool: worker, openCrm });
  expect(log.mock.calls.flat().join('\n')).toMatch(
    /^TypeError: Cannot read properties of null \(reading 'records'\)\n +at /,
  );
  const { rows } = await pool.query('select error from crm_sync_runs where connection_id = $1', [
    key.connectionId,
  ]);
  expect(rows).toMatchObject([
    { error: { kind: 'internal', message: 'The sync could not continue. See the log of the worker.' } },
  ]);
});
