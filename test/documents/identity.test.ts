import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { page, runIdentityPage } from '../../dev/pictures/identity-page.js';
import * as credentials from '../../src/credentials.js';
import * as api from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { codeBlocks } from './blocks.js';

const { pool } = useDatabase();
const text = await readFile(projectPath(page), 'utf8');

async function runPage(shown: string): Promise<string> {
  const client = await pool.connect();
  try {
    return await runIdentityPage(shown, client);
  } finally {
    client.release();
  }
}

test('the code of docs/identity.md runs from top to bottom, and each call returns what the page shows', async () => {
  expect(text.match(/; \/\/ → /g)?.length).toBeGreaterThan(12);
  const organisationId = await runPage(text);
  const { rows } = await pool.query(
    `select external_id, is_primary, remote_state from contact_external_records
     where organisation_id = $1 order by provider, external_id`,
    [organisationId],
  );
  expect(rows).toEqual([
    { external_id: 'hK3vQ0pP', is_primary: true, remote_state: 'deleted' },
    { external_id: 'tR8wZ1mL', is_primary: false, remote_state: 'active' },
    { external_id: '48213', is_primary: true, remote_state: 'active' },
    { external_id: 'OXF18000001', is_primary: false, remote_state: 'merged' },
    { external_id: 'RPT120080', is_primary: true, remote_state: 'active' },
  ]);
});

test('a page that shows another value than a call returns fails, and names the call', async () => {
  const wrong = text.replace("sentBack.decision; // → 'echo'", "sentBack.decision; // → 'changed'");
  await expect(runPage(wrong)).rejects.toThrow(
    'docs/identity.md says that sentBack.decision is "changed", but it is "echo".',
  );
});

test('the code of docs/identity.md is TypeScript as the strict mode wants it', async () => {
  const code = (await codeBlocks(page)).filter(({ language }) => language === 'ts').map(({ text }) => text);
  const path = projectPath(`.identity-page-${process.pid}.mts`);
  onTestFinished(() => rm(path));
  const imported = (names: object) =>
    Object.keys(names).filter((name) => new RegExp(`\\b${name}\\(`).test(code.join('')));
  await writeFile(
    path,
    `import pg from 'pg';
import { type ClaimedRun, ${imported(api).join(', ')} } from './src/index.js';
import { type KeyRing, ${imported(credentials).join(', ')} } from './src/credentials.js';
declare const client: pg.Client;
declare const keys: KeyRing;
declare const organisationId: string;
declare const run: ClaimedRun;
declare const agentosRun: ClaimedRun;
declare function createContact(name: string): Promise<string>;
${code.join('')}`,
  );
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2023', '--module', 'nodenext'];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [projectPath('node_modules/typescript-7/bin/tsc'), '--ignoreConfig', ...options, path],
    { cwd: projectPath('.') },
  ).catch((error) => error);
  // The source of this package is checked under its own options.
  expect(stdout.split('\n').filter((line: string) => line.includes('.identity-page'))).toEqual([]);
});
