import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { projectPath } from '../../dev/database.js';
import * as api from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { waiting } from '../support/waiting.js';
import { codeBlocks } from './blocks.js';

const run = promisify(execFile);
const database = useDatabase();
const workerUrl = useMember(database, 'crm_worker').options.connectionString as string;

test('the outline in docs/sync-engine.md runs, and its run ends successfully', async () => {
  const outline =
    (await codeBlocks('docs/sync-engine.md')).find(({ text }) => text.includes('syncBatchRecord(pool, {'))
      ?.text ?? '';
  const { organisationId, contactIds } = await createTenant(database.pool, 2);
  const { connectionId } = await connect(database.pool, organisationId, 'reapit');
  await database.pool.query("update crm_connections set next_sync_at = '2000-01-01' where id = $1", [
    connectionId,
  ]);
  const path = projectPath(`.sync-engine-test-${process.pid}.mts`);
  onTestFinished(() => rm(path));
  const functions = Object.keys(api).filter((name) => new RegExp(`\\b${name}\\(`).test(outline));
  await writeFile(
    path,
    `import pg from 'pg';
import { outboundChangeRecord, ${functions.join(', ')} } from '@nurturehub/crm-schema';
const [contactId, contact] = ${JSON.stringify(contactIds)};
const externalIdOf = (_change: object) => 'OXF18000002';
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
await outboundChangeRecord(pool, { organisationId: '${organisationId}', contactIds: [contact] });
${outline}
await pool.end();`,
  );
  await run(process.execPath, ['--import', 'tsx', path], {
    cwd: projectPath('.'),
    env: { ...process.env, DATABASE_URL: workerUrl },
  });
  const { rows } = await database.pool.query(
    `select outcome, success_count, last_synced_at, (select count(*) from crm_outbound_changes) as waiting
     from crm_sync_runs inner join crm_connections on crm_connections.id = connection_id
     where connection_id = $1`,
    [connectionId],
  );
  expect(rows).toEqual([
    {
      outcome: 'success',
      success_count: '2',
      last_synced_at: new Date('2026-11-16T09:05:00Z'),
      waiting: '0',
    },
  ]);
});

/** The grant that the example asks for; step 4 of the README has the same one. */
beforeAll(async () => {
  const example = await readFile(projectPath('examples/run-worker.ts'), 'utf8');
  const [grant = ''] = /grant .* to crm_worker;/.exec(example) ?? [];
  expect(await readFile(projectPath('examples/sync-worker.ts'), 'utf8')).toContain(grant);
  expect(await readFile(projectPath('README.md'), 'utf8')).toContain(grant);
  await database.pool.query(grant);
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  'the example worker imports contacts, pushes a change, and exits on %s',
  async (signal) => {
    const { organisationId } = await createTenant(database.pool);
    const key = await connect(database.pool, organisationId, 'alto');
    const worker = spawn(process.execPath, ['--import', 'tsx', 'examples/run-worker.ts'], {
      cwd: projectPath('.'),
      env: { ...process.env, DATABASE_URL: workerUrl },
    });
    onTestFinished(() => void worker.kill('SIGKILL'));
    const lines: string[] = [];
    const printed = (line: string) => vi.waitFor(() => expect(lines).toContain(line), waiting);
    createInterface({ input: worker.stdout }).on('line', (line) => lines.push(line));
    await printed('  3 read');
    const contacts = await vi.waitFor(async () => {
      const { rows } = await database.pool.query(
        'select id, name from contacts where organisation_id = $1 order by name',
        [organisationId],
      );
      expect(rows.map(({ name }) => name)).toEqual(['Barnaby Quince', 'Ottoline Sprat', 'Winifred Plum']);
      return rows;
    }, waiting);

    const contactId = contacts[0]?.id;
    await database.pool.query("update contacts set name = 'Barnaby Quince-Sprat' where id = $1", [contactId]);
    await api.outboundChangeRecord(database.pool, { organisationId, contactIds: [contactId] });
    await printed('  Barnaby Quince-Sprat written');
    worker.kill(signal);
    expect(await once(worker, 'close')).toEqual([0, null]);
    expect(await api.outboundChangeListWaiting(database.pool, { ...key, contactIds: [contactId] })).toEqual(
      [],
    );
  },
);
