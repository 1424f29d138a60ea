import { AxeBuilder } from '@axe-core/playwright';
import pg from 'pg';
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { prepareForPage, type ShownPage, servePage } from '../../demo/page.js';
import { playDemo } from '../../demo/play.js';
import { findChromium, startChromium } from '../../dev/chromium.js';
import { createHealthPage } from '../../examples/health-page/server.js';
import { contactExternalIdLink, syncErrorKinds, syncLogRecord } from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { start } from '../support/http-server.js';
import { isMissing } from '../support/programs.js';
import { type ConnectedAgency, connectedAgency, errorOf, insertRun, now, set, usePage } from './support.js';

const path = findChromium();
const noChromium = isMissing('Chromium', path, 'TEST_REQUIRE_CHROMIUM');

// Text, because these run in the browser: this project is not compiled with its types.
const openDetails = "for (const details of document.querySelectorAll('details')) details.open = true";
const outlineOfFocus =
  "(({ outlineStyle, outlineWidth }) => outlineStyle + ' ' + outlineWidth)(getComputedStyle(document.activeElement))";

const widths = [375, 1280];
const schemes = ['light', 'dark'] as const;
const looks = widths.flatMap((width) => schemes.map((colorScheme) => ({ width, colorScheme })));

describe.skipIf(noChromium)('in Chromium', () => {
  const demo = useDatabase();
  const database = useDatabase();
  const page = usePage(database);
  let browser: Browser;
  let shown: ShownPage;
  let client: pg.Client;
  let agency: ConnectedAgency;
  beforeAll(async () => {
    client = new pg.Client({ connectionString: demo.url });
    await client.connect();
    await prepareForPage(client);
    await playDemo(client, () => {});
    shown = await servePage({ client, url: demo.url });
    agency = await crowdedAgency();
    browser = await startChromium(path as string);
  });
  afterAll(async () => {
    await browser?.close();
    await shown?.close();
    await client?.end();
  });

  /** An agency with a connection in each state, and the longest texts that the database takes, without a space. */
  async function crowdedAgency(): Promise<ConnectedAgency> {
    const { pool } = database;
    const first = await connectedAgency(pool);
    const connectAs = (provider: 'alto' | 'street' | 'loop' | 'agentos' | 'custom') =>
      connectedAgency(pool, { of: first, provider });
    const long = 'x'.repeat(500);
    await insertRun(pool, first, { outcome: 'failed', error: errorOf('auth') });
    await set(
      pool,
      first,
      `failure_count = 9, first_failed_at = '2026-11-12 09:00Z', status = 'error', status_reason = '${long}'`,
    );
    const alto = await connectAs('alto');
    await insertRun(pool, alto, { outcome: 'failed', error: errorOf('rate_limited') });
    await set(pool, alto, "failure_count = 1, first_failed_at = '2026-11-16 09:00Z'");
    await set(pool, await connectAs('street'), "paused_at = '2026-11-15 09:00Z'");
    await set(
      pool,
      await connectAs('loop'),
      "fill_started_at = '2026-11-16 08:00Z', filled_contacts = 123456",
    );
    await connectAs('agentos');
    await set(
      pool,
      await connectAs('custom'),
      "status = 'disconnected', disconnected_at = '2026-11-14 10:00Z', credentials = null",
    );
    const [contactId = ''] = first.contactIds;
    await database.pool.query('update contacts set name = $1 where id = $2', [long, contactId]);
    const externalId = 'X'.repeat(512);
    await contactExternalIdLink(pool, {
      ...first,
      provider: 'reapit',
      entityType: 'landlord',
      externalId,
      contactId,
    });
    await syncLogRecord(pool, {
      ...first,
      events: syncErrorKinds.map((kind, hour) => ({
        direction: 'outbound',
        entityType: `l${'o'.repeat(61)}g`,
        externalId,
        internalId: contactId,
        occurredAt: `2026-11-15T0${hour}:00:00Z`,
        status: 'error',
        error: { ...errorOf(kind), code: 'E'.repeat(100) },
      })),
    });
    await syncLogRecord(pool, {
      ...first,
      events: Array.from({ length: 1000 }, (_, index) => ({
        direction: 'inbound',
        entityType: 'landlord',
        status: index % 3 === 0 ? 'skipped' : 'success',
        occurredAt: `2026-11-${String(1 + (index % 14)).padStart(2, '0')}T09:00:00Z`,
      })),
    });
    return first;
  }

  /** Opens a window. What the browser complains of, such as a blocked style, is an error. */
  async function open(options: BrowserContextOptions): Promise<Page> {
    const context: BrowserContext = await browser.newContext(options);
    onTestFinished(() => context.close());
    const opened = await context.newPage();
    // Some of the pages are those of somebody who is signed out, or lost.
    opened.on('console', (message) => {
      if (!/status of 40[14]/.test(message.text())) complaints.push(message.text());
    });
    opened.on('pageerror', (error) => complaints.push(error.message));
    return opened;
  }
  const complaints: string[] = [];

  /** Opens each kind of page of the crowded agency, with its table of days open. */
  async function* pages(window: Page): AsyncGenerator<string> {
    const own = await start(createHealthPage(page.app, page.host, () => new Date(now)));
    await window.setExtraHTTPHeaders({ 'x-agency': agency.organisationId });
    const { connectionId, contactIds } = agency;
    for (const path of ['/', `/connections/${connectionId}`, `/contacts/${contactIds[0]}`, '/none']) {
      await window.goto(own + path);
      await window.evaluate(openDetails);
      yield path;
    }
    await window.setExtraHTTPHeaders({});
    await window.goto(own);
    yield 'signed out';
  }

  test.each(looks)('axe finds nothing on any page, $width pixels wide and $colorScheme', async (look) => {
    const { width, colorScheme } = look;
    const window = await open({ viewport: { width, height: 800 }, colorScheme });
    for await (const path of pages(window)) {
      const { violations } = await new AxeBuilder({ page: window })
        .options({ rules: { 'target-size': { enabled: true } } })
        .analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
      expect({ path, found }).toEqual({ path, found: [] });
    }
    expect(complaints).toEqual([]);
  });

  // 320 is what 1280 is at a zoom of 400 %.
  test.each([320, ...widths])('nothing is wider than a window of %i pixels', async (width) => {
    const window = await open({ viewport: { width, height: 800 } });
    for await (const path of pages(window)) {
      const widest = await window.evaluate('document.documentElement.scrollWidth');
      expect({ path, widest }).toEqual({ path, widest: width });
    }
  });

  test.each(schemes)(
    'the colours of the plot have a contrast of 4.5 with its background, %s',
    async (colorScheme) => {
      const window = await open({ colorScheme });
      await window.goto(shown.url);
      const styleOf = (selector: string, name: string) =>
        window.evaluate<string>(`getComputedStyle(document.querySelector('${selector}')).${name}`);
      const background = await styleOf('.plot', 'backgroundColor');
      const bars = {
        synced: await styleOf('rect.synced', 'fill'),
        skipped: await styleOf('rect.skipped', 'stroke'),
        failed: await styleOf('rect.failed', 'fill'),
      };
      for (const [name, colour] of Object.entries(bars)) {
        expect(contrast(colour, background), name).toBeGreaterThanOrEqual(4.5);
      }
      // Told apart without colours: a solid bar, a hollow one above it, and failures below the line.
      expect(await styleOf('rect.skipped', 'fill')).toBe(background);
    },
  );

  test('everything can be reached and used by keyboard alone, without JavaScript', async () => {
    const window = await open({ javaScriptEnabled: false, viewport: { width: 375, height: 800 } });
    await window.goto(shown.url);
    const focused = () => window.locator(':focus');
    const next = async () => {
      await window.keyboard.press('Tab');
      return (await focused().textContent())?.trim();
    };
    expect(await next()).toBe('Skip to the content');
    const links = [
      'agentOS',
      'Reapit',
      'The same as a table',
      ...['Ottoline Sprat', 'Ottoline Sprat', 'Rufus Marrow'],
    ];
    for (const link of links) expect(await next()).toBe(link);
    for (const name of ['CRM', 'Kind of record', 'Its id there']) {
      await window.keyboard.press('Tab');
      expect(await focused().getAttribute('id')).toBe(
        await window.getByLabel(name, { exact: true }).getAttribute('id'),
      );
    }
    await window.keyboard.press('Shift+Tab');
    await window.keyboard.press('Shift+Tab');
    await window.keyboard.press('R');
    await window.keyboard.press('Tab');
    await window.keyboard.type('Landlord');
    await window.keyboard.press('Tab');
    await window.keyboard.type('RPT120080');
    await window.keyboard.press('Tab');
    expect(await focused().textContent()).toBe('Find');
    await window.keyboard.press('Enter');
    await window.waitForURL('**/contacts/*');
    expect(await window.getByRole('heading', { level: 1 }).textContent()).toBe('Ottoline Sprat');
    await window.keyboard.press('Tab');
    await window.keyboard.press('Tab');
    await window.keyboard.press('Enter');
    await window.waitForURL(shown.url);
    const table = window.getByRole('table');
    expect(await table.isVisible()).toBe(false);
    await window.locator('summary').focus();
    await window.keyboard.press('Space');
    expect(await table.isVisible()).toBe(true);
    expect(await table.getByRole('row').count()).toBe(31);
  });

  test('what has the focus has a visible outline', async () => {
    const window = await open({});
    await window.goto(shown.url);
    const stops = await window.locator('a, summary, select, input, button').count();
    for (let stop = 0; stop < stops; stop += 1) {
      await window.keyboard.press('Tab');
      const outline = await window.evaluate(outlineOfFocus);
      expect(outline).toBe('solid 3px');
    }
  });

  test('a screen reader is told the state of each CRM, and what the plot shows', async () => {
    const window = await open({});
    await window.goto(shown.url);
    const cards = await window
      .getByRole('listitem')
      .filter({ has: window.getByRole('heading', { level: 3 }) })
      .all();
    const said = await Promise.all(cards.map((card) => card.ariaSnapshot()));
    expect(said[0]).toContain('heading "agentOS" [level=3]');
    expect(said[0]).toContain('paragraph: Needs attention');
    expect(said[1]).toContain('paragraph: Connected');
    const plot = window.getByRole('img', { name: /^Records on each of the last 30 days: 11 synced, / });
    expect(await plot.count()).toBe(1);
  });
});

/** The contrast of two colours, as WCAG defines it. */
function contrast(one: string, other: string): number {
  const [light = 0, dark = 0] = [luminance(one), luminance(other)].toSorted((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = (colour.match(/\d+/g) ?? []).map((channel) => {
    const part = Number(channel) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
