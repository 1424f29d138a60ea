import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import * as api from '../../src/index.js';
import { connect } from '../support/connection.js';
import { testRingKey } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { codeBlocks } from './blocks.js';

const run = promisify(execFile);
const database = useDatabase();
const appUrl = useMember(database, 'crm_app').options.connectionString as string;
const workerUrl = useMember(database, 'crm_worker').options.connectionString as string;
const keyRing = JSON.stringify({ keys: [testRingKey()] });

test('the program in docs/credentials.md prints the documented output', async () => {
  const blocks = await codeBlocks('docs/credentials.md');
  const index = blocks.findIndex(({ text }) => text.includes('credentialsGet(workerPool, keys, connection)'));
  const { organisationId } = await createTenant(database.pool);
  const path = projectPath(`.credentials-test-${process.pid}.mts`);
  onTestFinished(() => rm(path));
  await writeFile(
    path,
    `import pg from 'pg';
const organisationId = '${organisationId}';
const appPool = new pg.Pool({ connectionString: process.env.APP_URL });
const workerPool = new pg.Pool({ connectionString: process.env.WORKER_URL });
${blocks[index]?.text}
await Promise.all([appPool.end(), workerPool.end()]);`,
  );
  const { stdout } = await run(process.execPath, ['--import', 'tsx', path], {
    cwd: projectPath('.'),
    env: { ...process.env, APP_URL: appUrl, WORKER_URL: workerUrl, CRM_SCHEMA_KEYS: keyRing },
  });
  expect(stdout).toBe(blocks[index + 1]?.text);
});

test('examples/refresh-token.ts refreshes once for concurrent runs, and marks a connection whose token is refused', async () => {
  const { organisationId } = await createTenant(database.pool);
  const { connectionId } = await connect(database.pool, organisationId, 'reapit');
  let valid = 'test-refresh-1';
  let refreshes = 0;
  let error = 'invalid_grant';
  const endpoint = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const token = new URLSearchParams(body).get('refresh_token');
    if (token !== valid) return response.writeHead(400).end(JSON.stringify({ error }));
    refreshes += 1;
    valid = `test-refresh-${refreshes + 1}`;
    response.end(JSON.stringify({ access_token: 'test-access-2', refresh_token: valid, expires_in: null }));
  });
  endpoint.listen(0, '127.0.0.1');
  await once(endpoint, 'listening');
  onTestFinished(() => void endpoint.close());
  const { port } = endpoint.address() as AddressInfo;
  const start = () =>
    run(process.execPath, ['--import', 'tsx', 'examples/refresh-token.ts', organisationId, connectionId], {
      cwd: projectPath('.'),
      env: {
        ...process.env,
        DATABASE_URL: workerUrl,
        CRM_SCHEMA_KEYS: keyRing,
        TOKEN_URL: `http://127.0.0.1:${port}/token`,
      },
    });
  const expireToken = () =>
    database.pool.query('update crm_connections set credentials_expires_at = now() where id = $1', [
      connectionId,
    ]);
  expect((await start()).stdout).toBe('Signed in until the CRM refuses the token.\n');
  expect(refreshes).toBe(0);
  await expireToken();
  const outputs = await Promise.all([start(), start(), start()]);
  for (const { stdout } of outputs) expect(stdout).toMatch(/^Signed in until 20\d\d-.*Z\.\n$/);
  expect(refreshes).toBe(1);
  const key = { organisationId, connectionId };
  expect(await api.connectionGet(database.pool, key)).toMatchObject({
    status: 'active',
    credentialsVersion: 2,
  });

  valid = 'nobody-has-this-one';
  await expireToken();
  await expect(start()).rejects.toMatchObject({ code: 1, stdout: 'Not signed in.\n' });
  expect(await api.connectionGet(database.pool, key)).toMatchObject({
    status: 'error',
    statusReason: 'Reapit requires the agency to consent again. Reconnect it.',
  });

  error = 'unauthorized_client';
  await expect(start()).rejects.toMatchObject({ code: 1, stdout: 'Not signed in.\n' });
  expect(await api.connectionGet(database.pool, key)).toMatchObject({
    status: 'error',
    statusReason: 'Reapit says unauthorized_client: check the app.',
  });
});
