import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { reapitApp } from '../../examples/simulated-crm/keys.js';
import { connectionGet } from '../../src/index.js';
import { testRingKey } from '../support/credentials.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { connectReapit, startReapit, stopAll } from './reapit-crm.js';

const run = promisify(execFile);
const database = useDatabase();
const workerUrl = useMember(database, 'crm_worker').options.connectionString as string;
beforeAll(() => database.pool.query('grant select, insert, update, delete on contacts to crm_worker'));
afterEach(stopAll);

test('run-worker.ts syncs with Reapit if the environment names an app', async () => {
  const crm = await startReapit();
  crm.create('Ottoline Sprat');
  const { organisationId, connectionId } = await connectReapit(database, crm);
  const start = (reapit: Record<string, string>) =>
    run(process.execPath, ['--import', 'tsx', 'examples/run-worker.ts', '--once'], {
      cwd: projectPath('.'),
      env: {
        ...process.env,
        DATABASE_URL: workerUrl,
        CRM_SCHEMA_KEYS: JSON.stringify({ keys: [testRingKey()] }),
        REAPIT_API_URL: crm.url,
        REAPIT_TOKEN_URL: `${crm.url}/token`,
        ...reapit,
      },
    });
  const { stdout } = await start({ REAPIT_CLIENT_ID: reapitApp.id, REAPIT_CLIENT_SECRET: reapitApp.secret });
  expect(stdout).toBe(`Syncing reapit of organisation ${organisationId}\nNothing is due.\n`);
  const { rows } = await database.pool.query('select name from contacts where organisation_id = $1', [
    organisationId,
  ]);
  expect(rows).toEqual([{ name: 'Ottoline Sprat' }]);
  expect(await connectionGet(database.pool, { organisationId, connectionId })).toMatchObject({
    account: 'SBOX',
    credentialsVersion: 2,
    lastSyncedAt: expect.any(String),
  });
});
