import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ConnectionKey,
  type SyncError,
  type SyncEvent,
  type SyncLogEntry,
  syncErrorKinds,
  syncLogCountByPeriod,
  syncLogCountErrorsByKind,
  syncLogListByConnection,
  syncLogListByContact,
  syncLogListFailures,
  syncLogRecord,
  syncSkipReasons,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

const success: SyncEvent = { direction: 'inbound', entityType: 'contact', status: 'success' };
const skipped = { direction: 'inbound', entityType: 'contact', status: 'skipped' } as const;
const timeout: SyncError = { kind: 'timeout', retryable: true, message: 'No answer within 30 s.' };
const failure: SyncEvent = { direction: 'inbound', entityType: 'contact', status: 'error', error: timeout };

async function newConnection(): Promise<ConnectionKey> {
  return connect(pool, (await createTenant(pool)).organisationId);
}

async function recorded(key: ConnectionKey): Promise<number> {
  const { rows } = await pool.query('select count(*)::integer from crm_sync_log where connection_id = $1', [
    key.connectionId,
  ]);
  return rows[0].count;
}

/** All entries of a timeline, page by page. */
async function allPages<Entry extends { occurredAt: string; id: string }>(
  fetchPage: (before: Entry | undefined) => Promise<Entry[]>,
): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (;;) {
    const page = await fetchPage(entries.at(-1));
    if (page.length === 0) return entries;
    entries.push(...page);
  }
}

describe('syncLogRecord', () => {
  test('records every field, and null for omitted ones', async () => {
    const key = await newConnection();
    const internalId = randomUUID();
    const error: SyncError = {
      kind: 'validation',
      retryable: false,
      message: 'Postcode missing.',
      code: '422',
    };
    await syncLogRecord(pool, {
      ...key,
      events: [
        {
          direction: 'outbound',
          entityType: 'landlord',
          externalId: 'RPT120080',
          internalId,
          status: 'error',
          error,
          occurredAt: '2026-11-16T09:00:00.123456Z',
        },
        { ...success, occurredAt: '2026-11-15T09:00:00Z' },
      ],
    });
    expect(await syncLogListByConnection(pool, key)).toEqual([
      {
        ...key,
        id: expect.stringMatching(/^\d+$/),
        direction: 'outbound',
        entityType: 'landlord',
        externalId: 'RPT120080',
        internalId,
        status: 'error',
        error,
        reason: null,
        occurredAt: '2026-11-16T09:00:00.123456Z',
      },
      {
        ...key,
        id: expect.stringMatching(/^\d+$/),
        direction: 'inbound',
        entityType: 'contact',
        externalId: null,
        internalId: null,
        status: 'success',
        error: null,
        reason: null,
        occurredAt: '2026-11-15T09:00:00.000000Z',
      },
    ]);
  });

  test('records why each event was skipped, and both timelines return it', async () => {
    const key = await newConnection();
    const internalId = randomUUID();
    const events = [null, ...syncSkipReasons].map(
      (reason, second) =>
        ({ ...skipped, internalId, reason, occurredAt: `2026-11-16T09:00:0${second}Z` }) as const,
    );
    await syncLogRecord(pool, { ...key, events });
    const newestFirst = [...syncSkipReasons.toReversed(), null];
    const byConnection = await syncLogListByConnection(pool, key);
    expect(byConnection.map(({ reason }) => reason)).toEqual(newestFirst);
    const byContact = await syncLogListByContact(pool, {
      organisationId: key.organisationId,
      contactId: internalId,
    });
    expect(byContact.map(({ reason }) => reason)).toEqual(newestFirst);
  });

  test.each([
    [{ ...success, reason: 'echo' }, 'row 1: reason is only allowed with status skipped, not success.'],
    [{ ...failure, reason: 'echo' }, 'row 1: reason is only allowed with status skipped, not error.'],
    [
      { ...skipped, reason: 'Echo' },
      'row 1: reason must be one of echo, unchanged, older, pending_push, conflict, no_consent, merged, erased, not "Echo".',
    ],
  ])('refuses a reason that %o may not have', async (event, message) => {
    const events = [skipped, event as SyncEvent];
    await expect(syncLogRecord(pool, { ...(await newConnection()), events })).rejects.toMatchObject({
      code: 'invalid_input',
      message,
      rowIndex: 1,
    });
  });

  test('returns how many events it recorded, including none', async () => {
    const key = await newConnection();
    expect(await syncLogRecord(pool, { ...key, events: [success, failure] })).toEqual({ recorded: 2 });
    expect(await syncLogRecord(pool, { ...key, events: [] })).toEqual({ recorded: 0 });
  });

  test('accepts readonly events, and times as Date', async () => {
    const key = await newConnection();
    const events: readonly SyncEvent[] = Object.freeze([
      { ...success, occurredAt: new Date('2026-11-16T09:00:00.123Z') },
    ]);
    await syncLogRecord(pool, { ...key, events });
    expect(await syncLogListByConnection(pool, key)).toMatchObject([
      { occurredAt: '2026-11-16T09:00:00.123000Z' },
    ]);
  });

  test('numbers events of the same time in the given order', async () => {
    const key = await newConnection();
    const externalIds = Array.from({ length: 500 }, (_, index) => String(index));
    await syncLogRecord(pool, {
      ...key,
      events: externalIds.map((externalId) => ({ ...success, externalId })),
    });
    const entries = await syncLogListByConnection(pool, { ...key, limit: 500 });
    expect(entries.map(({ externalId }) => externalId)).toEqual(externalIds.toReversed());
  });

  test('returns ids with quotes, emoji, backslashes and other punctuation unchanged', async () => {
    const key = await newConnection();
    const externalIds = [`O'Hara "x"`, '👩‍👩‍👧', 'a\\b', '{1,2}', 'NULL', ' leading', '\u00a0'];
    await syncLogRecord(pool, {
      ...key,
      events: externalIds.map((externalId) => ({ ...success, externalId })),
    });
    const entries = await syncLogListByConnection(pool, key);
    expect(entries.map(({ externalId }) => externalId)).toEqual(externalIds.toReversed());
  });

  test('limits a message by code points, and an id by bytes', async () => {
    const key = await newConnection();
    const events: SyncEvent[] = [
      { ...failure, error: { ...timeout, message: '😀'.repeat(500), code: '😀'.repeat(100) } } as SyncEvent,
      { ...success, externalId: '😀'.repeat(128) },
    ];
    expect(await syncLogRecord(pool, { ...key, events })).toEqual({ recorded: 2 });
  });

  const bad: [string, object, string][] = [
    [
      'an unknown direction',
      { direction: 'sideways' },
      'direction must be one of inbound, outbound, not "sideways".',
    ],
    [
      'an unknown status',
      { status: 'failed' },
      'status must be one of success, skipped, error, not "failed".',
    ],
    [
      'an entity type in capitals',
      { entityType: 'Contact' },
      'entityType must be lower snake case of 1 to 63 characters.',
    ],
    ['an empty external id', { externalId: '' }, 'externalId is blank.'],
    ['a blank external id', { externalId: '  ' }, 'externalId is blank.'],
    [
      'an external id that is too long',
      { externalId: '£'.repeat(257) },
      'externalId is longer than 512 bytes.',
    ],
    ['an external id with NUL', { externalId: 'a\0b' }, 'externalId must not contain NUL.'],
    ['an external id of tabs and line breaks', { externalId: '\t\n' }, 'externalId is blank.'],
    ['half an emoji', { externalId: 'a\ud83d' }, 'externalId must not contain half of a surrogate pair.'],
    ['a number for an external id', { externalId: 7 }, 'externalId must be text, not 7.'],
    ['an invalid internal id', { internalId: '7' }, 'internalId must be a UUID, not "7".'],
    ['a success with an error', { error: timeout }, 'error is only allowed with status error, not success.'],
    [
      'an error event without an error',
      { status: 'error' },
      'error is missing: an event with status error must have one.',
    ],
    [
      'an error of an unknown kind',
      { status: 'error', error: { ...timeout, kind: 'oops' } },
      `error.kind must be one of ${syncErrorKinds.join(', ')}, not "oops".`,
    ],
    [
      'an error with a payload',
      { status: 'error', error: { ...timeout, payload: {} } },
      'error has an unknown field: "payload".',
    ],
    [
      'a misspelt field',
      { internalID: randomUUID() },
      'event has an unknown field: "internalID"; known fields: direction, entityType, externalId, internalId, occurredAt, status, error, reason.',
    ],
    [
      'a field that only a batch accepts',
      { linksContact: true },
      'event has an unknown field: "linksContact"; known fields: direction, entityType, externalId, internalId, occurredAt, status, error, reason.',
    ],
    [
      'an error whose message is too long',
      { status: 'error', error: { ...timeout, message: 'x'.repeat(501) } },
      'error.message is longer than 500 characters.',
    ],
    [
      'a time without a zone',
      { occurredAt: '2026-11-16T09:00:00' },
      'occurredAt must be a Date, or ISO 8601 with a zone, in the years 1900 to 9998, not "2026-11-16T09:00:00".',
    ],
  ];
  test.each(bad)(
    'refuses %s in a batch of 1,000, names the element, and records nothing',
    async (_, change, message) => {
      const key = await newConnection();
      const events = Array.from({ length: 1000 }, (_, index) =>
        index === 737 ? { ...success, ...change } : success,
      );
      await expect(syncLogRecord(pool, { ...key, events: events as SyncEvent[] })).rejects.toMatchObject({
        name: 'CrmSchemaError',
        code: 'invalid_input',
        rowIndex: 737,
        message: `row 737: ${message}`,
      });
      expect(await recorded(key)).toBe(0);
    },
  );

  test("refuses events for another organisation's connection", async () => {
    const key = await newConnection();
    const { organisationId } = await createTenant(pool);
    await expect(syncLogRecord(pool, { ...key, organisationId, events: [success] })).rejects.toMatchObject({
      code: 'wrong_tenant',
    });
    expect(await recorded(key)).toBe(0);
  });

  test('judges external ids, entity types and errors exactly as the database does', async () => {
    const key = await newConnection();
    const text = fc.oneof(
      fc.constantFrom(
        '',
        ' ',
        '\t',
        '\u00a0',
        'x'.repeat(500),
        'x'.repeat(501),
        '😀'.repeat(500),
        '😀'.repeat(128),
        '£'.repeat(256),
      ),
      fc.string({ unit: 'grapheme', maxLength: 20 }).filter((value) => !value.includes('\0')),
    );
    const error = fc.record(
      {
        kind: fc.constantFrom(...syncErrorKinds, 'oops', '', 1, null),
        retryable: fc.constantFrom(true, false, 'true', null),
        message: fc.oneof(text, fc.constantFrom(1, null)),
        code: fc.oneof(text, fc.constantFrom('x'.repeat(100), 'x'.repeat(101), 422, null)),
        extra: fc.constant(1),
      },
      { requiredKeys: [] },
    );
    const event = fc.record({
      direction: fc.constantFrom('inbound', 'outbound'),
      entityType: fc.oneof(
        text,
        fc.constantFrom('contact', 'a'.repeat(63), 'a'.repeat(64), '_a', 'a1_', 'é'),
      ),
      externalId: fc.oneof(text, fc.constant(null)),
      status: fc.constantFrom('success', 'skipped', 'error'),
      error: fc.oneof(
        fc.constant(null),
        fc.record({ kind: fc.constantFrom(...syncErrorKinds), retryable: fc.boolean(), message: text }),
        error,
      ),
    });
    const insert = `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, external_id, status, error)
      values ($1, $2, $3, $4, $5, $6, $7)`;
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(event, async ({ direction, entityType, externalId, status, error }) => {
        const values = [
          direction,
          entityType,
          externalId,
          status,
          error === null ? null : JSON.stringify(error),
        ];
        const database = await pool.query(insert, [key.organisationId, key.connectionId, ...values]).then(
          () => 'accepts',
          ({ code }) => (code === '23514' ? 'refuses' : code),
        );
        const events = [{ direction, entityType, externalId, status, error }] as SyncEvent[];
        const library = await syncLogRecord(pool, { ...key, events }).then(
          () => 'accepts',
          ({ code, rowIndex }) => (code === 'invalid_input' && rowIndex === 0 ? 'refuses' : code),
        );
        expect(library).toBe(database);
        if (database === 'accepts') accepted += 1;
      }),
      { numRuns: 400 },
    );
    expect(accepted).toBeGreaterThan(10);
  });
});

describe.each([
  ['syncLogListByConnection', syncLogListByConnection],
  ['syncLogListFailures', syncLogListFailures],
])('%s', (_, list) => {
  test('pages through events of the same time without gaps or repetitions', async () => {
    const key = await newConnection();
    const events = Array.from({ length: 47 }, (_, index) => ({
      ...failure,
      externalId: String(index),
      // Ten events per microsecond, so that pages of seven end in the middle of one.
      occurredAt: `2026-11-16T09:00:00.12345${Math.floor(index / 10)}Z`,
    }));
    await syncLogRecord(pool, { ...key, events: events as SyncEvent[] });
    const entries = await allPages<SyncLogEntry>((before) => list(pool, { ...key, before, limit: 7 }));
    expect(entries.map(({ externalId }) => externalId)).toEqual(
      events.map(({ externalId }) => externalId).toReversed(),
    );
  });

  test('lists nothing of another connection or organisation', async () => {
    const key = await newConnection();
    const other = await connect(pool, key.organisationId, 'alto');
    await syncLogRecord(pool, { ...other, events: [failure] });
    expect(await list(pool, key)).toEqual([]);
    const { organisationId } = await createTenant(pool);
    expect(await list(pool, { ...other, organisationId })).toEqual([]);
    expect(await list(pool, other)).toHaveLength(1);
  });

  test('lists 50 entries by default', async () => {
    const key = await newConnection();
    await syncLogRecord(pool, { ...key, events: Array.from({ length: 60 }, () => failure) });
    expect(await list(pool, key)).toHaveLength(50);
  });

  test.each([0, 1001, 1.5, Number.NaN, -1])('refuses a limit of %s', async (limit) => {
    const key = await newConnection();
    await expect(list(pool, { ...key, limit })).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test('refuses an invalid entry to page from', async () => {
    const key = await newConnection();
    for (const before of [
      { occurredAt: '2026-11-16T09:00:00Z', id: 'x' },
      { occurredAt: 'yesterday', id: '1' },
    ]) {
      await expect(list(pool, { ...key, before })).rejects.toMatchObject({ code: 'invalid_input' });
    }
  });
});

describe('syncLogListFailures', () => {
  test('lists only failures', async () => {
    const key = await newConnection();
    await syncLogRecord(pool, { ...key, events: [success, failure, { ...success, status: 'skipped' }] });
    expect(await syncLogListFailures(pool, key)).toMatchObject([{ status: 'error', error: timeout }]);
  });
});

describe('syncLogListByContact', () => {
  test('lists a contact’s events in every CRM, page by page', async () => {
    const key = await newConnection();
    const alto = await connect(pool, key.organisationId, 'alto');
    const internalId = randomUUID();
    for (let hour = 10; hour < 20; hour += 1) {
      await syncLogRecord(pool, {
        ...(hour % 2 === 0 ? key : alto),
        events: [
          { ...success, internalId, occurredAt: `2026-11-16T${hour}:00:00Z` },
          { ...success, internalId: randomUUID() },
        ],
      });
    }
    const params = { organisationId: key.organisationId, contactId: internalId };
    const entries = await allPages<SyncLogEntry>((before) =>
      syncLogListByContact(pool, { ...params, before, limit: 3 }),
    );
    expect(entries.map(({ occurredAt }) => occurredAt.slice(11, 13))).toEqual([
      '19',
      '18',
      '17',
      '16',
      '15',
      '14',
      '13',
      '12',
      '11',
      '10',
    ]);
    expect(new Set(entries.map(({ connectionId }) => connectionId)).size).toBe(2);
  });

  test.each(['UTC', 'America/New_York', 'Pacific/Auckland'])(
    'pages through years without gaps or repetitions, in a session in %s',
    async (timeZone) => {
      const key = await newConnection();
      const internalId = randomUUID();
      const now = new Date();
      // The first and the last moment of each month, twice, and of no month between the second year and the third.
      const times = Array.from({ length: 40 }, (_, monthsAgo) => monthsAgo + 1)
        .filter((monthsAgo) => monthsAgo < 24 || monthsAgo > 36)
        .flatMap((monthsAgo) => {
          const first = (months: number) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - months, 1);
          const last = new Date(first(monthsAgo - 1) - 1).toISOString().replace('Z', '999Z');
          return [last, last, ...Array<string>(2).fill(new Date(first(monthsAgo)).toISOString())];
        })
        .toReversed();
      const events = times.map((occurredAt, index) => ({
        ...success,
        internalId,
        externalId: String(index),
        occurredAt,
      }));
      await syncLogRecord(pool, { ...key, events });
      const params = { organisationId: key.organisationId, contactId: internalId };
      const client = await pool.connect();
      try {
        await client.query(`set timezone = '${timeZone}'`);
        for (const limit of [1, 3, 40, 1000]) {
          const entries = await allPages<SyncLogEntry>((before) =>
            syncLogListByContact(client, { ...params, before, limit }),
          );
          expect(entries.map(({ externalId }) => externalId)).toEqual(
            events.map(({ externalId }) => externalId).toReversed(),
          );
        }
      } finally {
        client.release(true);
      }
    },
  );

  test('lists nothing of another organisation', async () => {
    const key = await newConnection();
    const internalId = randomUUID();
    await syncLogRecord(pool, { ...key, events: [{ ...success, internalId }] });
    const { organisationId } = await createTenant(pool);
    expect(await syncLogListByContact(pool, { organisationId, contactId: internalId })).toEqual([]);
  });
});

describe('syncLogCountErrorsByKind', () => {
  test('counts since a time, most frequent kind first', async () => {
    const key = await newConnection();
    const at = (occurredAt: string, kind: SyncError['kind']): SyncEvent => ({
      ...failure,
      error: { ...timeout, kind },
      occurredAt,
    });
    await syncLogRecord(pool, {
      ...key,
      events: [
        at('2026-11-16T08:59:59.999999Z', 'auth'),
        at('2026-11-16T09:00:00Z', 'auth'),
        at('2026-11-16T10:00:00Z', 'timeout'),
        at('2026-11-16T11:00:00Z', 'timeout'),
        { ...success, occurredAt: '2026-11-16T12:00:00Z' },
      ],
    });
    expect(await syncLogCountErrorsByKind(pool, { ...key, since: '2026-11-16T09:00:00Z' })).toEqual([
      { kind: 'timeout', count: 2, lastAt: '2026-11-16T11:00:00.000000Z' },
      { kind: 'auth', count: 1, lastAt: '2026-11-16T09:00:00.000000Z' },
    ]);
  });
});

describe('syncLogCountByPeriod', () => {
  const day = (number: number) => `2026-11-${number}T00:00:00Z`;
  const times = [day(16), day(17), day(18), day(19)];

  /** Counts as `success, skipped, error`, with a plus if there may be more. */
  async function counted(key: ConnectionKey, limit?: number): Promise<string[]> {
    const periods = await syncLogCountByPeriod(pool, { ...key, times, limit });
    return periods.map(
      ({ success, skipped, error, isCapped }) => `${success}, ${skipped}, ${error}${isCapped ? '+' : ''}`,
    );
  }

  test('counts each event once: a time at the border belongs to the later period', async () => {
    const key = await newConnection();
    const other = await connect(pool, key.organisationId, 'alto');
    await syncLogRecord(pool, { ...other, events: [{ ...success, occurredAt: day(16) }] });
    await syncLogRecord(pool, {
      ...key,
      events: [
        { ...success, occurredAt: '2026-11-15T23:59:59.999999Z' },
        { ...success, occurredAt: day(16) },
        { ...success, occurredAt: '2026-11-16T23:59:59.999999Z' },
        { ...skipped, occurredAt: day(17) },
        { ...failure, occurredAt: day(18) },
        { ...failure, occurredAt: day(19) },
      ],
    });
    expect(await counted(key)).toEqual(['2, 0, 0', '0, 1, 0', '0, 0, 1']);
  });

  test('returns the periods in their order, also those without events', async () => {
    const periods = await syncLogCountByPeriod(pool, { ...(await newConnection()), times });
    const none = { success: 0, skipped: 0, error: 0, isCapped: false };
    expect(periods).toEqual(
      [16, 17, 18].map((number) => ({
        startsAt: `2026-11-${number}T00:00:00.000000Z`,
        endsAt: `2026-11-${number + 1}T00:00:00.000000Z`,
        ...none,
      })),
    );
  });

  test('counts old failures of a period that has more events than it reads', async () => {
    const key = await newConnection();
    const at = (minute: number) => `2026-11-17T09:${minute}:00Z`;
    await syncLogRecord(pool, {
      ...key,
      events: [
        { ...failure, occurredAt: at(10) },
        { ...failure, occurredAt: at(11) },
        { ...success, occurredAt: at(12) },
        { ...skipped, occurredAt: at(13) },
        { ...success, occurredAt: at(14) },
      ],
    });
    expect(await counted(key, 6)).toEqual(['0, 0, 0', '2, 1, 2', '0, 0, 0']);
    expect(await counted(key, 5)).toEqual(['0, 0, 0', '2, 1, 2+', '0, 0, 0']);
    expect(await counted(key, 2)).toEqual(['0, 0, 0', '1, 1, 2+', '0, 0, 0']);
    expect(await counted(key, 1)).toEqual(['0, 0, 0', '1, 0, 1+', '0, 0, 0']);
  });

  test.each([
    ['one time', [day(16)], 'times must have 2 to 401 elements.'],
    [
      'more than 400 periods',
      Array.from({ length: 402 }, (_, hour) => new Date(hour * 3_600_000)),
      'times must have 2 to 401 elements.',
    ],
    ['equal times', [day(16), day(17), day(17)], 'row 2: times must be later than the one before it.'],
    ['times that go back', [day(16), day(18), day(17)], 'row 2: times must be later than the one before it.'],
  ])('refuses %s', async (_, given, message) => {
    const counting = syncLogCountByPeriod(pool, { ...(await newConnection()), times: given });
    await expect(counting).rejects.toMatchObject({ code: 'invalid_input', message });
  });
});
