/**
 * Shows the schema at work: a first week of sync, and the answers to its three questions.
 *
 *   npm run demo              on an embedded PostgreSQL, removed afterwards
 *   npm run demo -- --keep    keeps the database, to explore it
 *   npm run demo -- --page    then shows examples/health-page/ on it, until Ctrl-C
 *
 * With DATABASE_URL set, the demo runs on that server, in a separate database.
 */
import { prepareForPage, servePage } from './page.js';
import { playDemo } from './play.js';
import { createDemoDatabase, type DemoDatabase } from './server.js';

const usage = 'Usage: npm run demo [-- --keep | --page]';

/** Ended by a signal. The exit code is the one that a shell reports for it. */
class Interrupted extends Error {
  readonly exitCode: number;

  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`Interrupted by ${signal}.`);
    this.exitCode = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[signal];
  }
}

/** Rejects on the first signal. Later ones change nothing: a Ctrl-C may arrive more than once. */
function interruption(): Promise<never> {
  return new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => reject(new Interrupted(signal)));
    }
  });
}

type Option = '--keep' | '--page' | undefined;

async function run(option: Option): Promise<void> {
  const interrupted = interruption();
  // Nothing awaits this promise yet: without a handler, its rejection would end the process.
  interrupted.catch(() => {});
  // Awaited even when interrupted: a half-created database cannot be removed.
  const database = await createDemoDatabase(process.env.DATABASE_URL || undefined);
  try {
    console.log(`${database.description}\n`);
    if (option === '--page') await prepareForPage(database.client);
    await Promise.race([interrupted, playDemo(database.client, console.log)]);
    if (option === '--page') await showPage(database, interrupted);
  } catch (error) {
    await database.remove();
    throw error;
  }
  if (option === '--keep') console.log(`\n${(await database.keep()).join('\n')}`);
  else await database.remove();
}

/** Shows the page until a signal, which is how it is meant to end. */
async function showPage(database: DemoDatabase, interrupted: Promise<never>): Promise<void> {
  const page = await Promise.race([interrupted, servePage(database)]);
  console.log(`\n${page.description}`);
  await interrupted.catch(() => {});
  await page.close();
}

/** Describes any error in one line. */
function inOneLine(error: unknown): string {
  const { message, code } = error as { message?: string; code?: string };
  // Node leaves the message empty when every address of a host refuses the connection.
  return (message || code || String(error)).split('\n', 1).join('');
}

function isOption(text: string | undefined): text is Option {
  return text === undefined || text === '--keep' || text === '--page';
}

// If the reader exits early, as in `npm run demo | head`, the demo must still clean up.
process.stdout.on('error', () => {});

const [option, ...others] = process.argv.slice(2);
if (others.length > 0 || !isOption(option)) {
  console.error(usage);
  process.exit(2);
}
try {
  await run(option);
} catch (error) {
  console.error(error instanceof Interrupted ? error.message : `The demo failed: ${inOneLine(error)}`);
  process.exitCode = error instanceof Interrupted ? error.exitCode : 1;
}
