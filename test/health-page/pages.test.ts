import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { html } from '../../examples/health-page/html.js';
import { pageOf } from '../../examples/health-page/layout.js';
import { createHealthPage } from '../../examples/health-page/server.js';
import {
  contactExternalIdLink,
  contactExternalIdLinkMany,
  type SyncErrorKind,
  type SyncEvent,
  syncErrorKinds,
  syncLogRecord,
} from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';
import { start } from '../support/http-server.js';
import { useMember } from '../support/roles.js';
import { type ConnectedAgency, connectedAgency, errorOf, set, textOf, usePage } from './support.js';

const database = useDatabase();
const { pool } = database;
const page = usePage(database);

const record = { direction: 'inbound', entityType: 'contact', externalId: 'OXF1' } as const;
const success = { ...record, status: 'success' } as const;
const skipped = { ...record, status: 'skipped' } as const;
const failure = (kind: SyncErrorKind = 'validation') =>
  ({ ...record, status: 'error', error: errorOf(kind) }) as const;

const log = (agency: ConnectedAgency, ...events: SyncEvent[]) => syncLogRecord(pool, { ...agency, events });

async function pageText(path: string, { organisationId }: { organisationId: string }): Promise<string> {
  const response = await page.get(path, organisationId);
  expect(response.status).toBe(200);
  return textOf(await response.text());
}

/** What follows a heading, up to the next one. */
function section(text: string, heading: string): string[] {
  const headings = [
    'Your CRMs',
    'The last 30 days',
    'What failed lately',
    'Find a contact',
    'Earlier connections',
    'Records that still fail',
    'In your CRMs',
    'Synced lately',
    'All times are UK time.',
  ];
  const lines = text.split('\n').slice(text.split('\n').indexOf(heading) + 1);
  const end = lines.findIndex((line) => headings.includes(line));
  return lines.slice(0, end);
}

/** The rows of the table of days that are not empty. */
function daysIn(text: string): string[] {
  const lines = section(text, 'The last 30 days');
  const rows = lines.slice(lines.indexOf('Records on each day, newest first') + 5);
  return Array.from({ length: 30 }, (_, index) => rows.slice(index * 4, index * 4 + 4).join(', ')).filter(
    (row) => !row.endsWith(', 0, 0, 0'),
  );
}

describe('security', () => {
  let mine: ConnectedAgency;
  let others: ConnectedAgency;
  beforeAll(async () => {
    mine = await connectedAgency(pool);
    others = await connectedAgency(pool, { provider: 'alto' });
    await log(others, { ...failure(), internalId: others.contactIds[0] });
  });

  test('an agency sees its own connections, and no other', async () => {
    const text = await (await page.get('/', mine.organisationId)).text();
    expect(text).toContain('Reapit');
    for (const part of ['Alto', others.organisationId, others.connectionId]) expect(text).not.toContain(part);
  });

  test.each<[string, () => string]>([
    ['a connection of another agency', () => `/connections/${others.connectionId}`],
    ['a contact of another agency', () => `/contacts/${others.contactIds[0]}`],
    ['an unknown connection', () => `/connections/${randomUUID()}`],
    ['an unknown contact', () => `/contacts/${randomUUID()}`],
    ['an id that is none', () => '/connections/1'],
    ['an id with more behind it', () => `/contacts/${mine.contactIds[0]}/x`],
    ['an id with SQL', () => `/contacts/${encodeURIComponent("' or true --")}`],
    ['another path', () => '/admin'],
    ['a path of a file', () => '/../page.css'],
  ])('%s is a page that does not exist', async (_, path) => {
    const response = await page.get(path(), mine.organisationId);
    expect(response.status).toBe(404);
    expect(textOf(await response.text())).toContain('Page not found\nThere is no such page.');
  });

  test('the address does not choose the agency', async () => {
    const text = await pageText(`/?organisationId=${others.organisationId}`, mine);
    expect(text).not.toContain('Alto');
  });

  test('somebody who is not signed in sees nothing but that', async () => {
    const response = await page.get('/');
    expect(response.status).toBe(401);
    expect(textOf(await response.text())).toContain('Please sign in');
  });

  test('each page forbids scripts, frames and other sources, and is not stored', async () => {
    for (const path of [
      '/',
      `/connections/${mine.connectionId}`,
      `/contacts/${mine.contactIds[0]}`,
      '/none',
    ]) {
      const response = await page.get(path, mine.organisationId);
      expect(response.headers.get('content-security-policy')).toMatch(
        /^default-src 'none'; style-src 'sha256-[\w+/]{43}='; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/,
      );
      expect(response.headers.get('cache-control')).toBe('no-store');
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      expect(response.headers.get('referrer-policy')).toBe('no-referrer');
      const text = await response.text();
      expect(text).not.toMatch(/<script|\sstyle=|\son\w+=|javascript:|https?:/i);
    }
  });

  test('text from the database is escaped, wherever it comes from', async () => {
    const text = `<img src=x onerror="alert('1')">&amp;`;
    const agency = await connectedAgency(pool);
    const [contactId = ''] = agency.contactIds;
    await pool.query('update contacts set name = $1 where id = $2', [text, contactId]);
    await set(pool, agency, `status = 'error', status_reason = '${text.replaceAll("'", "''")}'`);
    const link = {
      ...agency,
      provider: 'reapit',
      entityType: 'contact',
      externalId: text,
      contactId,
    } as const;
    await contactExternalIdLink(pool, link);
    await log(agency, {
      ...failure(),
      externalId: text,
      internalId: contactId,
      error: { ...errorOf('internal'), code: text },
    });
    for (const path of ['/', `/connections/${agency.connectionId}`, `/contacts/${contactId}`]) {
      const shown = await (await page.get(path, agency.organisationId)).text();
      expect(shown).not.toContain('<img');
      expect(shown).toContain('&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;amp;');
    }
    expect(pageOf({ title: text, body: html`` }, text)).not.toContain('<img');
  });

  test("the CRM's own message of an error is on no page", async () => {
    const agency = await connectedAgency(pool);
    await log(
      agency,
      ...syncErrorKinds.map((kind) => ({ ...failure(kind), internalId: agency.contactIds[0] })),
    );
    for (const path of ['/', `/connections/${agency.connectionId}`, `/contacts/${agency.contactIds[0]}`]) {
      expect(await (await page.get(path, agency.organisationId)).text()).not.toContain('HTTP 418');
    }
  });

  test('a page only shows: other methods are refused', async () => {
    for (const method of ['POST', 'PUT', 'DELETE']) {
      const response = await page.get('/', mine.organisationId, { method });
      expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    }
    const head = await page.get('/', mine.organisationId, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  /** What a server logs during a test. */
  function logged(): () => string {
    const spies = (['log', 'error', 'warn'] as const).map((name) =>
      vi.spyOn(console, name).mockImplementation(() => {}),
    );
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    return () => spies.flatMap(({ mock }) => mock.calls.flat()).join('\n');
  }

  test('while the database is down, the page says so, and neither it nor the log has a secret', async () => {
    const said = logged();
    const unreachable = new pg.Pool({ connectionString: 'postgres://u:topsecret@127.0.0.1:1/x' });
    onTestFinished(() => unreachable.end());
    const url = await start(createHealthPage(unreachable, page.host));
    const response = await fetch(url, { headers: { 'x-agency': mine.organisationId } });
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '60']);
    const text = await response.text();
    expect(textOf(text)).toContain('The connections cannot be shown now. Try again in a minute.');
    expect(said()).toMatch(/^Page not shown: \w+ ECONNREFUSED$/);
    expect(text + said()).not.toMatch(/topsecret|127\.0\.0\.1|at \w+ \(/);
  });

  test('a page that its user may not read is our mistake, and shows no more', async () => {
    const said = logged();
    const stranger = strangers;
    const url = await start(createHealthPage(stranger, page.host));
    const response = await fetch(url, { headers: { 'x-agency': mine.organisationId } });
    expect(response.status).toBe(500);
    expect(textOf(await response.text())).toContain('The mistake is ours.');
    expect(said()).toMatch(/^Page not shown: CrmSchemaError \w+$/);
  });
  const strangers = useMember(database);
});

describe('the last 30 days', () => {
  test('each event is counted on its day in London, and neither before nor after', async () => {
    const agency = await connectedAgency(pool);
    const at = (occurredAt: string, event: SyncEvent = success) => ({ ...event, occurredAt });
    await log(
      agency,
      at('2026-10-17T22:59:59.999999Z'),
      // Midnight in London, in summer time.
      at('2026-10-17T23:00:00Z'),
      at('2026-10-18T22:59:59Z', skipped),
      // The day with 25 hours.
      at('2026-10-24T23:00:00Z'),
      at('2026-10-25T23:59:59Z'),
      at('2026-10-26T00:00:00Z', failure()),
      at('2026-11-16T09:00:00Z', failure()),
      at('2026-11-16T23:59:59Z'),
      at('2026-11-17T00:00:00Z'),
    );
    expect(daysIn(await pageText(`/connections/${agency.connectionId}`, agency))).toEqual([
      '16 Nov, 1, 0, 1',
      '26 Oct, 0, 0, 1',
      '25 Oct, 2, 0, 0',
      '18 Oct, 1, 1, 0',
    ]);
  });

  test('the first page adds up all connections, also earlier ones', async () => {
    const agency = await connectedAgency(pool);
    await log(agency, { ...success, occurredAt: '2026-11-10T09:00:00Z' });
    await set(pool, agency, "status = 'disconnected', disconnected_at = now(), credentials = null");
    const other = await connectedAgency(pool, { of: agency, provider: 'alto' });
    await log(
      other,
      { ...success, occurredAt: '2026-11-10T10:00:00Z' },
      { ...failure(), occurredAt: '2026-11-11T10:00:00Z' },
    );
    const text = await pageText('/', agency);
    expect(daysIn(text)).toEqual(['11 Nov, 0, 0, 1', '10 Nov, 2, 0, 0']);
    expect(section(text, 'The last 30 days').slice(0, 3)).toEqual([
      'Synced: 2',
      'No change needed: 0',
      'Failed: 1',
    ]);
  });

  test('a day with more than 1,000 events says that there are more, and still has all its failures', async () => {
    const agency = await connectedAgency(pool);
    await log(
      agency,
      { ...failure(), occurredAt: '2026-11-10T08:00:00Z' },
      ...Array.from({ length: 1000 }, () => ({ ...success, occurredAt: '2026-11-10T09:00:00Z' })),
    );
    const text = await pageText('/', agency);
    expect(daysIn(text)).toEqual(['10 Nov*, 1,000, 0, 1']);
    expect(text).toContain('Synced: 1,000 or more');
    expect(text).toContain('* More than we count: at least this many.');
  });

  test('the picture has a bar for each part of a day, and says in words what it shows', async () => {
    const agency = await connectedAgency(pool);
    await log(
      agency,
      { ...success, occurredAt: '2026-11-15T09:00:00Z' },
      { ...success, occurredAt: '2026-11-16T09:00:00Z' },
      { ...success, occurredAt: '2026-11-16T09:00:00Z' },
      { ...skipped, occurredAt: '2026-11-16T09:00:00Z' },
      { ...skipped, occurredAt: '2026-11-16T09:00:00Z' },
      { ...failure(), occurredAt: '2026-11-16T09:00:00Z' },
    );
    const text = await (await page.get('/', agency.organisationId)).text();
    const bars = [
      ...text.matchAll(/<rect class="(\w+)" x="([\d.]+)" y="([\d.]+)" width="7" height="([\d.]+)"\/>/g),
    ];
    expect(bars.map(([, ...bar]) => bar.join(' '))).toEqual([
      'synced 281.5 75 25',
      'synced 291.5 50 50',
      'skipped 291.5 0 50',
      'failed 291.5 100 40',
    ]);
    expect(text).toContain(
      'role="img" aria-label="Records on each of the last 30 days: 3 synced, 2 with no change needed, 1 failed. The same as a table follows."',
    );
  });

  test('an agency without events has an empty picture', async () => {
    const text = await (await page.get('/', (await connectedAgency(pool)).organisationId)).text();
    expect(text).not.toContain('<rect');
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
    expect(section(textOf(text), 'What failed lately')).toEqual(['Nothing has failed in the last 30 days.']);
  });
});

describe('what failed lately', () => {
  test('names the contact, why it failed and what to do', async () => {
    const agency = await connectedAgency(pool);
    await log(agency, {
      ...failure('validation'),
      direction: 'outbound',
      entityType: 'sole_owner',
      internalId: agency.contactIds[0],
      occurredAt: '2026-11-15T09:05:00Z',
    });
    const response = await (await page.get('/', agency.organisationId)).text();
    expect(response).toContain(`<a href="/contacts/${agency.contactIds[0]}">Test Person</a>`);
    expect(section(textOf(response), 'What failed lately')).toEqual([
      'Test Person',
      'Sole owner OXF1, to Reapit, 15 November, 09:05',
      'Reapit did not accept one of the values of this contact.',
      'What to do: Check its email address, telephone numbers and postcode here, and save it.',
      'For our support: validation E-418',
    ]);
  });

  test('calls a record that is not linked, and a sync that failed as a whole, by what they are', async () => {
    const agency = await connectedAgency(pool);
    const { externalId: _, ...whole } = failure('timeout');
    await log(
      agency,
      { ...failure(), occurredAt: '2026-11-15T09:05:00Z' },
      {
        ...whole,
        occurredAt: '2026-11-15T09:04:00Z',
      },
    );
    const lines = section(await pageText('/', agency), 'What failed lately');
    expect([lines[0], lines[5]]).toEqual(['Contact, not linked to a contact yet', 'A whole sync']);
  });

  test.each<[string, SyncEvent | undefined, string]>([
    ['a later success', { ...success }, 'Solved Synced on 15 November at 10:00.'],
    ['a later event without change', { ...skipped }, 'What to do:'],
    ['a later success in the other direction', { ...success, direction: 'outbound' }, 'What to do:'],
    ['nothing', undefined, 'What to do:'],
  ])('with %s of the same record, says whether it is solved', async (_, later, expected) => {
    const agency = await connectedAgency(pool);
    const internalId = agency.contactIds[0];
    await log(agency, { ...failure(), internalId, occurredAt: '2026-11-15T09:00:00Z' });
    // An earlier success solves nothing.
    await log(agency, { ...success, internalId, occurredAt: '2026-11-15T08:00:00Z' });
    if (later !== undefined) await log(agency, { ...later, internalId, occurredAt: '2026-11-15T10:00:00Z' });
    const lines = section(await pageText('/', agency), 'What failed lately');
    expect(lines[3]).toMatch(new RegExp(`^${expected}`));
  });

  test('a sync that failed as a whole is solved by the next one that succeeds', async () => {
    const agency = await connectedAgency(pool);
    const { externalId: _, ...whole } = failure('timeout');
    await log(agency, { ...whole, occurredAt: '2026-11-16T09:20:00Z' });
    const lines = () => pageText('/', agency).then((text) => section(text, 'What failed lately'));
    expect((await lines())[3]).toBe('Solved Synced at 09:29 today.');
    await set(pool, agency, "last_success_at = '2026-11-16 09:10Z'");
    expect((await lines())[3]).toBe('What to do: Nothing: we try again by ourselves.');
  });

  test('lists the five newest of all connections, and none that are older than 30 days', async () => {
    const agency = await connectedAgency(pool);
    const other = await connectedAgency(pool, { of: agency, provider: 'alto' });
    await log(agency, { ...failure(), externalId: 'OLD', occurredAt: '2026-10-17T10:00:00Z' });
    for (const [key, hours] of [
      [agency, [1, 3, 5]],
      [other, [2, 4, 6]],
    ] as const) {
      await log(
        key,
        ...hours.map((hour) => ({
          ...failure(),
          externalId: `H${hour}`,
          occurredAt: `2026-11-15T0${hour}:00:00Z`,
        })),
      );
    }
    const text = await pageText('/', agency);
    expect([...text.matchAll(/Contact (\w+), from (\w+)/g)].map(([, id, crm]) => `${id} ${crm}`)).toEqual([
      'H6 Alto',
      'H5 Reapit',
      'H4 Alto',
      'H3 Reapit',
      'H2 Alto',
    ]);
    expect(await pageText(`/connections/${agency.connectionId}`, agency)).not.toContain('OLD');
  });

  test.each(['inbound', 'outbound'] as const)('has words for every kind of error, %s', async (direction) => {
    const agency = await connectedAgency(pool);
    await log(agency, ...syncErrorKinds.map((kind) => ({ ...failure(kind), direction })));
    const text = await pageText(`/connections/${agency.connectionId}`, agency);
    const lines = section(text, 'What failed lately');
    const said = lines.flatMap((line, index) => (index % 5 === 2 ? `${line} ${lines[index + 1]}` : []));
    expect(new Set(said).size).toBe(syncErrorKinds.length);
    for (const words of said) expect(words).toMatch(/^[A-Z].*\. What to do: [A-Z].*\.$/);
  });
});

describe('the page of a connection', () => {
  test('lists the records that still fail, with what becomes of each', async () => {
    const agency = await connectedAgency(pool);
    const fail = (direction: string, recordId: string | undefined, minute: number, end: string) =>
      pool.query(
        `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at, gave_up_at, dismissed_at, dismissed_by, dismissal_reason)
         select $1, $2, $3, 'contact', $4, 1, $5, at, at, ${end} from (select '2026-11-16 09:00Z'::timestamptz + make_interval(mins => $6) as at)`,
        [agency.organisationId, agency.connectionId, direction, recordId, errorOf('validation'), minute],
      );
    await fail('inbound', 'OXF1', 4, "'2026-11-16 09:40Z', null, null, null, null");
    await fail('outbound', agency.contactIds[0], 3, "'2026-11-16 09:10Z', null, null, null, null");
    await fail('inbound', 'OXF2', 2, 'null, at, null, null, null');
    await fail('inbound', 'OXF3', 1, "null, null, at, 'support', 'Moved.'");
    const text = await pageText(`/connections/${agency.connectionId}`, agency);
    expect(section(text, 'Records that still fail').filter((_, index) => index % 5 !== 4)).toEqual([
      'Contact, not linked to a contact yet',
      'Contact OXF1, from Reapit, 09:04 today',
      'One of the values of this record in Reapit cannot be used here.',
      'What to do: Check its email address, telephone numbers and postcode in Reapit, and save it. We try again at 09:40 today.',
      'Test Person',
      'to Reapit, 09:03 today',
      'Reapit did not accept one of the values of this contact.',
      'What to do: Check its email address, telephone numbers and postcode here, and save it. We try again with the next sync.',
      'Contact, not linked to a contact yet',
      'Contact OXF2, from Reapit, 09:02 today',
      'One of the values of this record in Reapit cannot be used here.',
      'What to do: Check its email address, telephone numbers and postcode in Reapit, and save it. We do not try again until it is corrected.',
      'Contact, not linked to a contact yet',
      'Contact OXF3, from Reapit, 09:01 today',
      'One of the values of this record in Reapit cannot be used here.',
      'What to do: Check its email address, telephone numbers and postcode in Reapit, and save it. Somebody has put it aside, so we do not try again.',
    ]);
    expect(text).toContain('Trying again\n2 records\nTo be checked\n1 record\nPut aside\n1 record');
  });
});

describe('the page of a contact', () => {
  test('shows its ids everywhere, their states, and what was synced lately', async () => {
    const agency = await connectedAgency(pool);
    const [contactId = ''] = agency.contactIds;
    await connectedAgency(pool, { of: agency, provider: 'alto' });
    const link = { contactId, entityType: 'landlord' } as const;
    await contactExternalIdLinkMany(pool, {
      organisationId: agency.organisationId,
      ifContactTaken: 'alias',
      links: [
        { ...link, provider: 'reapit', externalId: 'RPT1' },
        { ...link, provider: 'reapit', externalId: 'RPT2' },
        { ...link, provider: 'alto', externalId: '48' },
      ],
    });
    await pool.query(
      "update contact_external_id_aliases set remote_state = 'archived' where external_id = 'RPT2'",
    );
    await log(agency, { ...failure('not_found'), internalId: contactId, occurredAt: '2026-11-15T09:00:00Z' });
    const text = await pageText(`/contacts/${contactId}`, agency);
    expect(text).toContain('\nTest Person\nIn your CRMs\n');
    expect(section(text, 'In your CRMs').slice(3)).toEqual([
      ...['Alto', 'Landlord 48', 'In use'],
      ...['Reapit', 'Landlord RPT1', 'In use'],
      ...['Reapit', 'Landlord RPT2', 'Archived there, a further record'],
    ]);
    expect(section(text, 'Synced lately').slice(3)).toEqual([
      '15 November, 09:00',
      'Contact, from Reapit',
      'Failed',
      'Reapit no longer has this record.',
    ]);
  });

  test('says so if it is in no CRM', async () => {
    const agency = await connectedAgency(pool);
    const text = await pageText(`/contacts/${agency.contactIds[0]}`, agency);
    expect(section(text, 'In your CRMs')).toEqual(['This contact is in none of your CRMs.']);
    expect(section(text, 'Synced lately')).toEqual(['Nothing has been synced yet.']);
  });
});

describe('the form that finds a contact', () => {
  let agency: ConnectedAgency;
  beforeAll(async () => {
    agency = await connectedAgency(pool);
    const link = { ...agency, contactId: agency.contactIds[0] as string, provider: 'reapit' } as const;
    await contactExternalIdLink(pool, { ...link, entityType: 'sole_owner', externalId: 'RPT 1/ä' });
  });
  const find = (query: Record<string, string>, by = agency.organisationId) =>
    page.get(`/find?${new URLSearchParams(query)}`, by);

  test('leads to the contact, however its kind is spelt', async () => {
    for (const kind of ['sole_owner', ' Sole  owner ']) {
      const response = await find({ crm: 'reapit', kind, id: ' RPT 1/ä ' });
      expect([response.status, response.headers.get('location')]).toEqual([
        303,
        `/contacts/${agency.contactIds[0]}`,
      ]);
    }
  });

  test.each([
    ['another id', { id: 'rpt 1/ä' }],
    ['another kind', { kind: 'owner' }],
    ['another CRM', { crm: 'alto' }],
    ['no id', { id: '' }],
    ['a kind that is none', { kind: '?' }],
    ['a CRM that is none', { crm: 'rm' }],
  ])('says that nobody has %s', async (_, change) => {
    const response = await find({ crm: 'reapit', kind: 'sole_owner', id: 'RPT 1/ä', ...change });
    expect(response.status).toBe(404);
    expect(textOf(await response.text())).toContain('No contact found\nNone of your contacts has this id.');
  });

  test('does not find the contact of another agency', async () => {
    const other = await connectedAgency(pool);
    const asked = { crm: 'reapit', kind: 'sole_owner', id: 'RPT 1/ä' };
    expect((await find(asked, other.organisationId)).status).toBe(404);
  });
});

test('an agency without a live connection is told to connect one, and sees its earlier ones', async () => {
  const agency = await connectedAgency(pool);
  await set(
    pool,
    agency,
    "status = 'disconnected', disconnected_at = '2026-11-14 10:00Z', credentials = null",
  );
  const text = await pageText('/', agency);
  expect(text).toContain('No CRM is connected. Connect one in your CRM settings.');
  expect(section(text, 'Earlier connections').slice(0, 2)).toEqual(['Reapit', 'Disconnected']);
});

test('an earlier connection to a CRM that is connected again has a page, but no card', async () => {
  const agency = await connectedAgency(pool);
  await set(
    pool,
    agency,
    "status = 'disconnected', disconnected_at = '2026-11-14 10:00Z', credentials = null",
  );
  await connectedAgency(pool, { of: agency });
  expect(await pageText('/', agency)).not.toContain('Earlier connections');
  expect(await pageText(`/connections/${agency.connectionId}`, agency)).toContain(
    'This is an earlier connection to Reapit.\nWhat to do: Nothing: you have connected Reapit again since.',
  );
});

test('of several earlier connections to a CRM, the first page has the last', async () => {
  const agency = await connectedAgency(pool);
  const end = (key: ConnectedAgency) =>
    set(pool, key, "status = 'disconnected', disconnected_at = '2026-11-14 10:00Z', credentials = null");
  await end(agency);
  const later = await connectedAgency(pool, { of: agency });
  await end(later);
  await set(pool, later, "connected_at = '2026-11-13 09:00Z'");
  const text = await (await page.get('/', agency.organisationId)).text();
  expect(text).toContain(later.connectionId);
  expect(text).not.toContain(agency.connectionId);
});

test('an agency that never had a connection sees that alone, under its own name', async () => {
  const { organisationId } = await createTenant(pool);
  const text = await pageText('/', { organisationId });
  expect(text.split('\n').slice(1)).toEqual([
    'Pumpernickel & Sons',
    'Your CRM connections',
    'No CRM is connected. Connect one in your CRM settings.',
    'All times are UK time.',
  ]);
});
