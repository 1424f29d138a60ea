/**
 * Takes the pictures of docs/health-page.md: plays the demo's week, shows examples/health-page/ on it, and opens it in
 * Chromium. Chromium draws text with the system's fonts, so the pictures of two computers differ.
 *
 *   npm run screenshots     needs Chromium; CHROMIUM is its path, if it is not in the usual place
 */
import { writeFile } from 'node:fs/promises';
import type { Browser } from 'playwright-core';
import { prepareForPage, servePage } from '../demo/page.js';
import { playDemo } from '../demo/play.js';
import { createDemoDatabase } from '../demo/server.js';
import { findChromium, startChromium } from './chromium.js';
import { projectPath } from './database.js';
import { smallPng } from './small-png.js';

/** A picture: the top of a page, as far as it is of interest. */
interface Picture {
  name: string;
  /** Leads to the page from the first one; none for that one itself. */
  link?: string;
  width: number;
  height: number;
  colorScheme: 'light' | 'dark';
}

const pictures: Picture[] = [
  { name: 'desktop', width: 1000, height: 1170, colorScheme: 'light' },
  { name: 'phone', width: 375, height: 890, colorScheme: 'dark' },
  { name: 'contact', link: 'Ottoline Sprat', width: 1000, height: 750, colorScheme: 'light' },
];

const path = findChromium();
if (path === undefined) {
  console.error('Chromium is not installed. Install it, or set CHROMIUM to its path.');
  process.exit(1);
}
const database = await createDemoDatabase(undefined);
try {
  await prepareForPage(database.client);
  await playDemo(database.client, () => {});
  const page = await servePage(database);
  const browser = await startChromium(path);
  for (const picture of pictures) await take(browser, page.url, picture);
  await browser.close();
  await page.close();
} finally {
  await database.remove();
}

async function take(browser: Browser, url: string, picture: Picture): Promise<void> {
  const { name, link, width, height, colorScheme } = picture;
  const window = await browser.newPage({ viewport: { width, height }, colorScheme });
  await window.goto(url);
  if (link !== undefined) await window.getByRole('link', { name: link }).first().click();
  const file = `docs/health-page/${name}.png`;
  await writeFile(projectPath(file), smallPng(await window.screenshot()));
  await window.close();
  console.log(`Written: ${file}`);
}
