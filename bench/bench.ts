/**
 * Measures this package: everything beside what a user would pick instead and an earlier release, or one subject alone.
 *
 *   npm run bench                   five to ten minutes; writes docs/performance.json, docs/performance.md and docs/performance.svg
 *   npm run bench -- --full         the same with 10 million events
 *   npm run bench -- --only claims,log   only these groups of rows, and only prints
 *   npm run bench -- --document     writes the last two from docs/performance.json, without measuring
 *   npm run bench -- --identity     how long the calls of identity take on a million mappings
 *   npm run bench -- --limits       whether the row of a rate limit that twenty workers share is hot
 *   npm run bench -- --erasure      how long the erasure of a person takes in an agency with 440,000 events
 *   npm run bench -- --organisation   how long the erasure of an agency takes, and whether another one notices
 *   npm run bench -- --first-sync FOLDER   the example worker beside that of a release that is checked out in FOLDER
 */
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { createHostTables, migrate, projectPath } from '../dev/database.js';
import { startEmbeddedPostgres } from '../dev/embedded-postgres.js';
import { measureContactErasure } from './contact-erasure.js';
import { measureFirstSync } from './first-sync.js';
import { measureIdentity } from './identity.js';
import { measureOrganisationErasure } from './organisation-erasure.js';
import { performanceDocument } from './performance/document.js';
import { performancePlot } from './performance/plot.js';
import { measurePerformance, type Performance } from './performance/run.js';
import { measureRateLimits } from './rate-limits.js';

const { values: options } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    only: { type: 'string' },
    document: { type: 'boolean', default: false },
    identity: { type: 'boolean', default: false },
    limits: { type: 'boolean', default: false },
    erasure: { type: 'boolean', default: false },
    organisation: { type: 'boolean', default: false },
    'first-sync': { type: 'string' },
  },
});

if (options.identity || options.limits || options.erasure || options.organisation || options['first-sync']) {
  await measureSubject();
} else if (options.only !== undefined) {
  await measurePerformance(options.full, options.only.split(','));
} else {
  const json = projectPath('docs/performance.json');
  const performance: Performance = options.document
    ? JSON.parse(await readFile(json, 'utf8'))
    : await measurePerformance(options.full);
  if (!options.document) await writeFile(json, `${JSON.stringify(performance, null, 2)}\n`);
  await writeFile(projectPath('docs/performance.md'), performanceDocument(performance));
  await writeFile(projectPath('docs/performance.svg'), await performancePlot(performance));
}

async function measureSubject(): Promise<void> {
  const settings = options.identity ? { settings: { shared_buffers: '1GB', max_wal_size: '4GB' } } : {};
  const server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, settings);
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    await createHostTables(client);
    await migrate(client);
    if (options.identity) await measureIdentity(client);
    else if (options['first-sync'] !== undefined) await measureFirstSync(server.url, options['first-sync']);
    else if (options.erasure) await measureContactErasure(server.url);
    else if (options.organisation) await measureOrganisationErasure(server.url);
    else await measureRateLimits(server.url);
  } finally {
    await client.end();
    await server.stop();
  }
}
