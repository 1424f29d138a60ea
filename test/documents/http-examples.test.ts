import { execFile, spawn } from 'node:child_process';
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { type AddressInfo, connect as connectTo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { createHealthServer, tenantsFrom } from '../../examples/health-endpoint.js';
import { contactNames } from '../../examples/health-page/host.js';
import { createHealthPage } from '../../examples/health-page/server.js';
import { createReceiver, webhookSecret } from '../../examples/webhook-receiver.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionSetStatus,
  syncErrorKinds,
  syncLogRecord,
} from '../../src/index.js';
import { noPgBouncer, startPgBouncer } from '../poolers/pgbouncer.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { start } from '../support/http-server.js';
import { useMember } from '../support/roles.js';

const run = promisify(execFile);
const database = useDatabase();
const { pool } = database;
const app = useMember(database, 'crm_app');
const worker = useMember(database, 'crm_worker');
const unreachable = new pg.Pool({ connectionString: 'postgres://u:topsecret@127.0.0.1:1/x' });
afterAll(() => unreachable.end());

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

describe.each([
  ['webhook-receiver.ts', () => createReceiver(app, 'a test secret of more than 32 characters')],
  ['health-endpoint.ts', () => createHealthServer(app, tenantsFrom({}))],
  [
    'health-page/server.ts',
    () => createHealthPage(app, { organisationOf: async () => undefined, contactNames }),
  ],
])('%s', (_, create) => {
  test.each([
    ['header', 'POST /webhooks/1/2 HTTP/1.1\r\nhost: localhost\r\n'],
    [
      'body',
      `POST /webhooks/${randomUUID()}/${randomUUID()} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf`,
    ],
  ])('closes a connection that sends half a %s long before 30 seconds have passed', async (_, half) => {
    const server = create();
    const { port } = new URL(await start(server));
    const sender = connectTo(Number(port), '127.0.0.1');
    onTestFinished(() => void sender.destroy());
    const sentAt = Date.now();
    sender
      .on('error', () => {})
      .resume()
      .write(half);
    await once(sender, 'close');
    // The limits are 5 and 10 seconds. Without an interval, Node checks them every 30.
    expect(Date.now() - sentAt).toBeLessThan(25_000);
    expect(server.maxConnections).toBeLessThanOrEqual(1_000);
  });
});

describe('webhook-receiver.ts', () => {
  const secret = 'a test secret of more than 32 characters';
  const body = '{"person":"Test Person"}';
  let key: ConnectionKey;
  beforeEach(async () => {
    key = await connect(pool, (await createTenant(pool)).organisationId);
    await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  });

  const pathOf = ({ organisationId, connectionId }: ConnectionKey) =>
    `/webhooks/${organisationId}/${connectionId}`;
  const sign = (text: string, signer: string) =>
    `sha256=${createHmac('sha256', signer).update(text).digest('hex')}`;

  /** Sends a notification as the CRM of a connection does, but for what a test changes. */
  async function send(
    url: string,
    change: { key?: ConnectionKey; path?: string; body?: string; signature?: string; method?: string } = {},
  ): Promise<Response> {
    const { key: to = key, body: text = body, method = 'POST' } = change;
    const signature = change.signature ?? sign(text, webhookSecret(secret, to));
    return fetch(url + (change.path ?? pathOf(to)), {
      method,
      headers: { 'x-signature': signature },
      ...(method === 'POST' ? { body: text } : {}),
    });
  }

  async function isDue({ connectionId }: ConnectionKey): Promise<boolean> {
    const { rows } = await pool.query(
      'select next_sync_at <= crm_now() as due from crm_connections where id = $1',
      [connectionId],
    );
    return rows[0].due;
  }

  test('makes the connection due, and answers a repeated notification in the same way', async () => {
    const url = await start(createReceiver(app, secret));
    const other = await connect(pool, key.organisationId, 'alto');
    await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
    expect((await send(url)).status).toBe(202);
    expect((await send(url)).status).toBe(202);
    expect(await isDue(key)).toBe(true);
    expect(await isDue(other)).toBe(false);
  });

  test.each<[string, number, (url: string) => ReturnType<typeof send>]>([
    ['another path', 404, (url) => send(url, { path: '/' })],
    ['an id that is not a UUID', 404, (url) => send(url, { path: '/webhooks/1/2' })],
    ['a method other than POST', 405, (url) => send(url, { method: 'GET' })],
    ['no signature', 401, (url) => send(url, { signature: '' })],
    ['a signature that is too short', 401, (url) => send(url, { signature: 'sha256=00' })],
    [
      "a signature with the receiver's own secret",
      401,
      (url) => send(url, { signature: sign(body, secret) }),
    ],
    [
      'a signature of another body',
      401,
      (url) => send(url, { signature: sign('', webhookSecret(secret, key)) }),
    ],
    [
      'a signature of another connection',
      401,
      (url) =>
        send(url, { signature: sign(body, webhookSecret(secret, { ...key, connectionId: randomUUID() })) }),
    ],
    ['a body of more than 64 KiB', 413, (url) => send(url, { body: 'x'.repeat(65_537) })],
    ['an unknown connection', 404, (url) => send(url, { key: { ...key, connectionId: randomUUID() } })],
    [
      "another organisation's connection",
      404,
      (url) => send(url, { key: { ...key, organisationId: randomUUID() } }),
    ],
  ])('refuses %s with %s, and requests no sync', async (_, status, sendTo) => {
    const url = await start(createReceiver(app, secret));
    expect((await sendTo(url)).status).toBe(status);
    expect(await isDue(key)).toBe(false);
  });

  test('accepts the old secret during a rotation, and no other', async () => {
    const url = await start(createReceiver(app, 'a new test secret of more than 32 characters', secret));
    const third = webhookSecret('a third test secret of more than 32 characters', key);
    expect((await send(url, { signature: sign(body, third) })).status).toBe(401);
    expect(await isDue(key)).toBe(false);
    expect((await send(url)).status).toBe(202);
    expect(await isDue(key)).toBe(true);
  });

  test('refuses a body without a length once it is longer than 64 KiB', async () => {
    const url = await start(createReceiver(app, secret));
    const sending = httpRequest(url + pathOf(key), { method: 'POST' });
    sending.on('error', () => {});
    const answered = once(sending, 'response');
    for (let sent = 0; sent < 3; sent += 1) sending.write('x'.repeat(40_000));
    const [response] = await answered;
    expect(response.statusCode).toBe(413);
    sending.destroy();
  });

  test('answers 410 for a disconnected connection', async () => {
    await connectionDisconnect(pool, key);
    expect((await send(await start(createReceiver(app, secret)))).status).toBe(410);
  });

  test('answers 503 with Retry-After while the database is down, and logs no secret', async () => {
    const log = logged();
    const response = await send(await start(createReceiver(unreachable, secret)));
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '30']);
    expect(log()).toMatch(/^Webhook not handled: /);
    for (const text of ['topsecret', secret, webhookSecret(secret, key), 'Test Person']) {
      expect(log()).not.toContain(text);
    }
  });

  test('answers 503 when a worker keeps the connection locked for too long', async () => {
    logged();
    const worker = await pool.connect();
    try {
      await worker.query('begin');
      await worker.query('select from crm_connections where id = $1 for update', [key.connectionId]);
      expect((await send(await start(createReceiver(app, secret)))).status).toBe(503);
    } finally {
      await worker.query('rollback');
      worker.release();
    }
    expect(await isDue(key)).toBe(false);
  });

  test('answers 500 when its user may not do this, because trying again would not help', async () => {
    const log = logged();
    const reader = new pg.Pool({ ...app.options });
    const { rows } = await reader.query('select current_user as name');
    await pool.query(`revoke crm_app from ${rows[0].name}`);
    onTestFinished(async () => {
      await pool.query(`grant crm_app to ${rows[0].name}`);
      await reader.end();
    });
    expect((await send(await start(createReceiver(reader, secret)))).status).toBe(500);
    expect(log()).toMatch(/^Webhook not handled: CrmSchemaError /);
  });
});

describe('webhook-receiver.ts, with one webhook for all agencies', () => {
  const secret = 'a test secret of more than 32 characters';
  const notification = { customerId: 'OXF', entityType: 'contact', entityId: 'OXF18000001' };

  async function connectAccount(account: string): Promise<ConnectionKey> {
    const key = await connect(pool, (await createTenant(pool)).organisationId);
    await pool.query(
      "update crm_connections set account = $1, next_sync_at = '9000-01-01', sync_requested_at = null where id = $2",
      [account, key.connectionId],
    );
    return key;
  }

  async function send(body: unknown, { signer = webhookSecret(secret, 'reapit'), receiver = worker } = {}) {
    const url = await start(createReceiver(receiver, secret));
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const signature = `sha256=${createHmac('sha256', signer).update(text).digest('hex')}`;
    const init = { method: 'POST', headers: { 'x-signature': signature }, body: text };
    return (await fetch(`${url}/webhooks/reapit`, init)).status;
  }

  /** The records that were asked for, of connections that are due. */
  async function asked({ connectionId }: ConnectionKey): Promise<string[]> {
    const { rows } = await pool.query(
      `select entity_type || ' ' || external_id as record
       from crm_record_requests
       inner join crm_connections on crm_connections.id = connection_id
       where connection_id = $1 and next_sync_at <= crm_now()`,
      [connectionId],
    );
    return rows.map(({ record }) => record);
  }

  beforeEach(async () => {
    await pool.query('truncate crm_record_requests');
    await pool.query('update crm_connections set account = null');
  });

  test('asks for the record of each connection to the account, and of no other', async () => {
    const [key, same, other] = [
      await connectAccount('OXF'),
      await connectAccount('OXF'),
      await connectAccount('oxf'),
    ];
    expect(await send(notification)).toBe(202);
    expect(await send(notification)).toBe(202);
    expect(await asked(key)).toEqual(['contact OXF18000001']);
    expect(await asked(same)).toEqual(['contact OXF18000001']);
    expect(await asked(other)).toEqual([]);
  });

  test.each<[string, number, Parameters<typeof send>]>([
    ['an account that nobody is connected to', 404, [{ ...notification, customerId: 'AAA' }]],
    ['a notification without an account', 400, [{ ...notification, customerId: undefined }]],
    ['a notification without a record', 400, [{ ...notification, entityId: undefined }]],
    ['text that is not JSON', 400, ['OXF18000001']],
    ['JSON null', 400, ['null']],
    ["a signature with the receiver's own secret", 401, [notification, { signer: secret }]],
    ['a signature of another CRM', 401, [notification, { signer: webhookSecret(secret, 'alto') }]],
  ])('refuses %s with %s, and asks for nothing', async (_, status, args) => {
    const key = await connectAccount('OXF');
    expect(await send(...args)).toBe(status);
    expect(await asked(key)).toEqual([]);
  });

  test('answers 500 if its user is not a member of crm_worker', async () => {
    logged();
    await connectAccount('OXF');
    expect(await send(notification, { receiver: app })).toBe(500);
  });
});

describe.skipIf(noPgBouncer)('behind PgBouncer', () => {
  const secret = 'a test secret of more than 32 characters';

  /** Starts an example as the application's user, through PgBouncer; returns its URL. */
  async function startProgram(file: string, env: Record<string, string>): Promise<string> {
    const appUrl = app.options.connectionString as string;
    const bouncer = await startPgBouncer({ connections: 2, users: [database.url, appUrl] });
    onTestFinished(bouncer.stop);
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    probe.close();
    await once(probe, 'close');
    const program = spawn(process.execPath, ['--import', 'tsx', `examples/${file}`], {
      cwd: projectPath('.'),
      env: { ...process.env, DATABASE_URL: bouncer.through(appUrl), PORT: String(port), ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void program.kill('SIGKILL'));
    const [said] = await Promise.race([once(program.stdout, 'data'), once(program, 'exit')]);
    expect(String(said)).toBe(`Listening on port ${port}.\n`);
    return `http://127.0.0.1:${port}`;
  }

  test('webhook-receiver.ts makes a connection due', async () => {
    const key = await connect(pool, (await createTenant(pool)).organisationId);
    const url = await startProgram('webhook-receiver.ts', { WEBHOOK_SECRET: secret });
    const signature = createHmac('sha256', webhookSecret(secret, key)).update('{}').digest('hex');
    const response = await fetch(`${url}/webhooks/${key.organisationId}/${key.connectionId}`, {
      method: 'POST',
      headers: { 'x-signature': `sha256=${signature}` },
      body: '{}',
    });
    expect(response.status).toBe(202);
  });

  test('health-endpoint.ts shows the connections', async () => {
    const { organisationId } = await connect(pool, (await createTenant(pool)).organisationId);
    const file = join(await mkdtemp(join(tmpdir(), 'crm-schema-tenants-')), 'tenants.json');
    onTestFinished(() => rm(dirname(file), { recursive: true }));
    const token = randomUUID();
    const hash = createHash('sha256').update(token).digest('hex');
    await writeFile(file, JSON.stringify({ [hash]: organisationId }));
    const url = await startProgram('health-endpoint.ts', { TENANTS: file });
    const response = await fetch(`${url}/connections`, { headers: { authorization: `Bearer ${token}` } });
    expect([response.status, await response.json()]).toMatchObject([
      200,
      { connections: [{ crm: 'reapit' }] },
    ]);
  });

  test('health-page/server.ts shows the page of its one organisation', async () => {
    const { organisationId } = await connect(pool, (await createTenant(pool)).organisationId);
    const url = await startProgram('health-page/server.ts', { ORGANISATION: organisationId });
    const response = await fetch(url);
    expect([response.status, await response.text()]).toEqual([
      200,
      expect.stringContaining('You have connected Reapit, and its first sync is about to begin.'),
    ]);
  });
});

test('health-page/server.ts, started without an organisation, exits with 2 and says what to set', async () => {
  const failure = await run(process.execPath, ['--import', 'tsx', 'examples/health-page/server.ts'], {
    cwd: projectPath('.'),
    env: { ...process.env, ORGANISATION: '' },
  }).catch((error) => error);
  expect([failure.code, failure.stderr]).toEqual([2, "Set ORGANISATION to an organisation's id.\n"]);
});

test.each([{ WEBHOOK_SECRET: 'short' }, { WEBHOOK_SECRET: 'x'.repeat(32), OLD_WEBHOOK_SECRET: 'short' }])(
  'webhook-receiver.ts, started with a short secret, exits with 2 and says what to set: %o',
  async (env) => {
    const failure = await run(process.execPath, ['--import', 'tsx', 'examples/webhook-receiver.ts'], {
      cwd: projectPath('.'),
      env: { ...process.env, ...env },
    }).catch((error) => error);
    expect([failure.code, failure.stderr]).toEqual([
      2,
      'Set WEBHOOK_SECRET to at least 32 random characters.\n',
    ]);
  },
);

describe('health-endpoint.ts', () => {
  const hash = (token: string) => createHash('sha256').update(token).digest('hex');
  let mine: ConnectionKey;
  let others: ConnectionKey;
  beforeEach(async () => {
    mine = await connect(pool, (await createTenant(pool)).organisationId);
    others = await connect(pool, (await createTenant(pool)).organisationId, 'alto');
  });

  const startHealth = (on = app) =>
    start(
      createHealthServer(
        on,
        tenantsFrom({
          [hash('my-token')]: mine.organisationId,
          [hash('their-token')]: others.organisationId,
        }),
      ),
    );
  const ask = (url: string, token?: string, path = '/connections', method = 'GET') =>
    fetch(url + path, { method, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });

  test("shows a tenant its own connections in words, and never another tenant's", async () => {
    const error = { kind: 'auth', retryable: false, message: 'HTTP 401 from the CRM' } as const;
    const event = { direction: 'inbound', entityType: 'contact', status: 'error', error } as const;
    await syncLogRecord(pool, { ...mine, events: [event] });
    await connectionSetStatus(pool, { ...mine, status: 'error', reason: 'Create a new key.' });
    const url = await startHealth();
    const response = await ask(url, 'my-token', `/connections?organisationId=${others.organisationId}`);
    expect([response.status, response.headers.get('cache-control')]).toEqual([200, 'no-store']);
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({
      connections: [
        {
          crm: 'reapit',
          status: 'error',
          summary: 'Needs attention.',
          reason: 'Create a new key.',
          isSyncing: false,
          lastError: {
            at: expect.stringMatching(/^\d{4}-/),
            explanation: 'The CRM rejected the sign-in. Reconnect it.',
          },
        },
      ],
    });
    expect(text).not.toContain('HTTP 401');
    for (const id of Object.values(others)) expect(text).not.toContain(id);
    expect(await (await ask(url, 'their-token')).json()).toMatchObject({
      connections: [{ crm: 'alto', status: 'active', summary: 'Connected.', lastError: null }],
    });
  });

  test('has words for every kind of error', async () => {
    const url = await startHealth();
    for (const kind of syncErrorKinds) {
      const error = { kind, retryable: true, message: 'Test.' };
      const event = { direction: 'inbound', entityType: 'contact', status: 'error', error } as const;
      await syncLogRecord(pool, { ...mine, events: [event] });
      const { connections } = (await (await ask(url, 'my-token')).json()) as {
        connections: { lastError: { explanation: string } }[];
      };
      expect(connections[0]?.lastError.explanation).toMatch(/^\S.*\.$/);
    }
  });

  test.each<[string, number, (url: string) => Promise<Response>]>([
    ['no token', 401, (url) => ask(url)],
    ['an unknown token', 401, (url) => ask(url, 'nonsense')],
    ['an organisation id as the token', 401, (url) => ask(url, mine.organisationId)],
    ['another path', 404, (url) => ask(url, 'my-token', '/')],
    ['a method other than GET', 405, (url) => ask(url, 'my-token', '/connections', 'POST')],
  ])('refuses %s with %s', async (_, status, send) => {
    const response = await send(await startHealth());
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ error: expect.any(String) });
  });

  test('answers 503 with Retry-After while the database is down, and logs no secret', async () => {
    const log = logged();
    const response = await ask(await startHealth(unreachable), 'my-token');
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '60']);
    expect(await response.text()).not.toContain('ECONN');
    expect(log()).toMatch(/^Health not answered: /);
    expect(log()).not.toMatch(/topsecret|my-token/);
  });

  test('shows a disconnected connection as disconnected', async () => {
    await connectionDisconnect(pool, mine);
    expect(await (await ask(await startHealth(), 'my-token')).json()).toMatchObject({
      connections: [{ status: 'disconnected', summary: 'Disconnected.' }],
    });
  });
});
