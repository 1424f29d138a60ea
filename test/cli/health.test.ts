import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { beforeEach, describe, expect, test } from 'vitest';
import { migrate, withClient } from '../../dev/database.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  type Provider,
  type SyncError,
  syncConflictAcknowledge,
  syncConflictList,
  syncFailureDismiss,
  syncFailureList,
  syncLogRecord,
} from '../../src/index.js';
import { type Run, runCli, startCli } from '../support/cli.js';
import { connect } from '../support/connection.js';
import { createTenant, insert, type Tenant, type TestDatabase, useDatabase } from '../support/database.js';
import { migrations } from '../support/migrations.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;

let tenant: Tenant;
beforeEach(async () => {
  tenant = await createTenant(pool, 3);
});

/** Runs the command with the database's clock stopped, and checks the width of its output. */
async function run(args: readonly string[], { url } = database as Pick<TestDatabase, 'url'>): Promise<Run> {
  const env = { DATABASE_URL: url, PGOPTIONS: '-c crm_schema.now=2026-11-16T09:30:00Z' };
  const ended = await runCli(args, env);
  if (!args.includes('--json')) {
    for (const line of ended.stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
  }
  return ended;
}

function succeeded(stdout: string): Run {
  return { code: 0, stdout, stderr: '' };
}

/** Connects a CRM, and sets these columns in its row. */
async function connectWith(provider: Provider, columns = '', on = pool): Promise<ConnectionKey> {
  const { organisationId } = on === pool ? tenant : await createTenant(on);
  const key = await connect(on, organisationId, provider);
  const set = (text: string) =>
    on.query(`update crm_connections set ${text} where id = $1`, [key.connectionId]);
  await set("next_sync_at = '2026-11-16 09:45Z'");
  if (columns !== '') await set(columns);
  return key;
}

const inError =
  "status = 'error', status_reason = 'The token was revoked: sign in at Reapit again, as a user who may read contacts.', status_changed_at = '2026-11-16 07:25Z'";
const failing = "first_failed_at = '2026-11-16 07:25Z', failure_count = 6";
const healthy = "last_success_at = '2026-11-16 09:27Z', last_synced_at = '2026-11-16 09:26Z'";

async function startRun(key: ConnectionKey, expiresAt: string, on = pool): Promise<void> {
  await on.query(
    `insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at)
     values ($1, $2, 'test', '2026-11-16 09:00Z', '2026-11-16 09:00Z', $3)`,
    [key.organisationId, key.connectionId, expiresAt],
  );
}

async function addOutboundChanges(key: ConnectionKey): Promise<void> {
  await pool.query(
    `insert into crm_outbound_changes (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at)
     select $1, id, $2, now(), now(), now() from unnest($3::uuid[]) as id`,
    [key.organisationId, key.connectionId, tenant.contactIds],
  );
}

const noEmail: SyncError = {
  kind: 'validation',
  retryable: false,
  code: 'E-17',
  message: 'The e-mail address is invalid, and the CRM requires one for each contact that is a landlord.',
};
const noAnswer: SyncError = { kind: 'timeout', retryable: true, message: 'No answer within 30 seconds.' };

/** Records failures of these records; sync has given up on them if there is no next attempt. */
async function recordFailures(
  key: ConnectionKey,
  recordIds: readonly string[],
  failure: { error: SyncError; lastFailedAt: string; nextAttemptAt?: string; attempts?: number },
  on = pool,
): Promise<void> {
  const { error, lastFailedAt, nextAttemptAt = null, attempts = 1 } = failure;
  await on.query(
    `insert into crm_sync_failures (
       organisation_id, connection_id, direction, entity_type, record_id, attempts, error,
       first_failed_at, last_failed_at, next_attempt_at, gave_up_at
     )
     select $1, $2, 'inbound', 'contact', id, $4, $5, $6, $6, $7, case when $7::timestamptz is null then $6::timestamptz end
     from unnest($3::text[]) as id`,
    [key.organisationId, key.connectionId, recordIds, attempts, error, lastFailedAt, nextAttemptAt],
  );
}

describe('health', () => {
  const fleet = useDatabase();
  const fresh = useDatabase();

  test('shows the health of all connections, and the waiting work', async () => {
    const on = fleet.pool;
    await connectWith('reapit', `${inError}, ${failing}, last_success_at = '2026-11-14 06:30Z'`, on);
    await connectWith('reapit', healthy, on);
    await connectWith('reapit', `${healthy}, next_sync_at = '2026-11-16 09:05Z'`, on);
    const alto = await connectWith('alto', "next_sync_at = '2026-11-16 09:10Z'", on);
    const street = await connectWith('street', healthy, on);
    await startRun(street, '2026-11-16 09:31Z', on);
    await startRun(alto, '2026-11-16 09:05Z', on);
    const many = Array.from({ length: 10_000 }, (_, index) => `R-${index}`);
    await recordFailures(street, many, { error: noEmail, lastFailedAt: '2026-11-16 09:00Z' }, on);
    const retried = {
      error: noAnswer,
      lastFailedAt: '2026-11-16 09:00Z',
      nextAttemptAt: '2026-11-16 09:40Z',
    };
    await recordFailures(street, ['C-1', 'C-2'], retried, on);
    expect(await run(['health'], fleet)).toEqual(
      succeeded(`All organisations, 2026-11-16 09:30 UTC

                                             Never  Oldest success
CRM     Status  Live  Failing  Paused  Due  synced  (UTC)
alto    active     1        0       0    1       1  never
reapit  active     2        0       0    1       0  2026-11-16 09:27, 3 min ago
reapit  error      1        1       0    0       0  2026-11-14 06:30, 51 h ago
street  active     1        0       0    0       0  2026-11-16 09:27, 3 min ago

Most failures in a row: reapit, 6 syncs, status error.

Longest due: reapit, since 2026-11-16 09:05 UTC (25 min ago).

Syncs running                        1
Syncs with an expired lease          1
Failing records to be retried        2
Records given up on            10,000+
Records dismissed                    0
Contacts waiting to be pushed        0
`),
    );
    const { code, stdout, stderr } = await run(['health', '--json'], fleet);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({
      at: '2026-11-16T09:30:00.000000Z',
      connections: expect.arrayContaining([
        {
          provider: 'reapit',
          status: 'error',
          connections: 1,
          neverSynced: 0,
          failing: 1,
          mostFailedSyncs: 6,
          paused: 0,
          due: 0,
          nextSyncAt: '2026-11-16T09:45:00.000000Z',
          oldestSuccessAt: '2026-11-14T06:30:00.000000Z',
        },
      ]),
      work: {
        running: 1,
        expired: 1,
        retriedRecords: 2,
        givenUpRecords: 10_000,
        dismissedRecords: 0,
        waitingChanges: 0,
      },
    });
  });

  test('reports that no organisation is connected', async () => {
    expect(await run(['health'], fresh)).toEqual(
      succeeded(`All organisations, 2026-11-16 09:30 UTC

No organisation is connected to a CRM.

Syncs running                  0
Syncs with an expired lease    0
Failing records to be retried  0
Records given up on            0
Records dismissed              0
Contacts waiting to be pushed  0
`),
    );
  });
});

describe('health --organisation', () => {
  test('shows its connections, with the reason of each in error', async () => {
    const reapit = await connectWith(
      'reapit',
      `${inError}, ${failing}, last_success_at = '2026-11-16 06:30Z'`,
    );
    const alto = await connectWith('alto', `${healthy}, account = '${'A'.repeat(80)}'`);
    const custom = await connectWith('custom', "next_sync_at = '2026-11-16 09:10Z'");
    const loop = await connectWith('loop', "account = 'Puddlewick \u001b[2J'");
    await connectionDisconnect(pool, { ...loop, reason: 'The agency moved to Reapit.' });
    await pool.query(
      "update crm_connections set disconnected_at = '2026-10-01 12:00Z', status_changed_at = '2026-10-01 12:00Z' where id = $1",
      [loop.connectionId],
    );
    await startRun(alto, '2026-11-16 09:31Z');
    await addOutboundChanges(alto);
    await recordFailures(
      reapit,
      Array.from({ length: 1000 }, (_, index) => `R-${index}`),
      {
        error: noEmail,
        lastFailedAt: '2026-11-16 07:00Z',
      },
    );
    await recordFailures(reapit, ['C-1', 'C-2'], {
      error: noAnswer,
      lastFailedAt: '2026-11-16 07:00Z',
      nextAttemptAt: '2026-11-16 09:40Z',
    });
    await syncLogRecord(pool, {
      ...reapit,
      events: [
        {
          direction: 'inbound',
          entityType: 'contact',
          status: 'error',
          error: noAnswer,
          occurredAt: '2026-11-16T07:00Z',
        },
      ],
    });
    expect(await run(['health', '--organisation', tenant.organisationId])).toEqual(
      succeeded(`Organisation ${tenant.organisationId}, 2026-11-16 09:30 UTC

                Last       Failing         Records   Given   Pushes  Running
CRM     Status  success    for      Lag    failing      up  waiting  for
alto    active  3 min ago  -        4 min        0       0        3  30 min
custom  active  never      -        -            0       0        0  -
reapit  error   3 h ago    2 h      -            2  1,000+        0  -

alto ${alto.connectionId}
  Account
  ${'A'.repeat(78)}
  AA
  Syncing since 2026-11-16 09:00 UTC (30 min ago).

custom ${custom.connectionId}
  Due since 2026-11-16 09:10 UTC (20 min ago), waiting for a worker.

reapit ${reapit.connectionId}
  In error since 2026-11-16 07:25 UTC (2 h ago): The token was revoked: sign in
  at Reapit again, as a user who may read contacts.
  6 syncs failed in a row since 2026-11-16 07:25 UTC (2 h ago).
  Failures logged in the last 24 h: 1, the latest 2026-11-16 07:00 UTC (2 h
  ago): timeout: No answer within 30 seconds.
  Next sync 2026-11-16 09:45 UTC (in 15 min).

loop ${loop.connectionId}
  Account Puddlewick \\u001b[2J
  Disconnected 2026-10-01 12:00 UTC (45 d ago): The agency moved to Reapit.
`),
    );
    const { code, stdout, stderr } = await run(['health', '--organisation', tenant.organisationId, '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const document = JSON.parse(stdout);
    expect(document).toMatchObject({
      at: '2026-11-16T09:30:00.000000Z',
      organisationId: tenant.organisationId,
      failuresSince: '2026-11-15T09:30:00.000000Z',
      connections: [
        { provider: 'alto', runningSince: '2026-11-16T09:00:00.000000Z', waitingChanges: 3, lagSeconds: 240 },
        { ...custom, account: null, lastSuccessAt: null, lagSeconds: null },
        { ...reapit, status: 'error', retriedRecords: 2, givenUpRecords: 1000, lastError: noAnswer },
        { ...loop, status: 'disconnected', statusReason: 'The agency moved to Reapit.' },
      ],
    });
    expect(stdout).not.toContain('credentials"');
  });

  test('exits with 3 if the organisation has no connections', async () => {
    expect(await run(['health', '--organisation', tenant.organisationId])).toEqual({
      code: 3,
      stdout: '',
      stderr: `Organisation ${tenant.organisationId} does not exist, or has never connected a CRM.\n`,
    });
  });
});

describe('failures', () => {
  const args = ({ organisationId, connectionId }: ConnectionKey) => [
    ...['--organisation', organisationId],
    ...['--connection', connectionId],
  ];

  test('counts failures by kind and shows the newest', async () => {
    const key = await connectWith('reapit');
    const uuid = '5f0e8a1c-3f0b-4e52-9d7e-0a4f3f1f2b6d';
    await recordFailures(key, [uuid], { error: noEmail, lastFailedAt: '2026-11-16 09:05Z' });
    await recordFailures(key, ['CNT-1'], {
      error: noAnswer,
      lastFailedAt: '2026-11-16 09:20Z',
      nextAttemptAt: '2026-11-16 10:55Z',
      attempts: 3,
    });
    await recordFailures(key, ['CNT-2'], {
      error: noAnswer,
      lastFailedAt: '2026-11-10 09:20Z',
      nextAttemptAt: '2026-11-16 09:29Z',
      attempts: 0,
    });
    const ids = new Map((await syncFailureList(pool, key)).map(({ recordId, id }) => [recordId, id]));
    expect(await run(['failures', ...args(key)])).toEqual(
      succeeded(`Connection ${key.connectionId}
reapit, active, 2026-11-16 09:30 UTC

Kind        Records  Given up  Dismissed
timeout           2         0          0
validation        1         1          0

failure ${ids.get('CNT-1')}: inbound contact CNT-1
  timeout: No answer within 30 seconds.
  3 attempts, the latest 10 min ago, next 2026-11-16 10:55 UTC (in 85 min)

failure ${ids.get(uuid)}: inbound contact ${uuid}
  validation E-17: The e-mail address is invalid, and the CRM requires one for
  each contact that is a landlord.
  1 attempt, gave up 2026-11-16 09:05 UTC (25 min ago)

failure ${ids.get('CNT-2')}: inbound contact CNT-2
  timeout: No answer within 30 seconds.
  replayed, due since 2026-11-16 09:29 UTC (60 s ago)
`),
    );
    const limited = await run(['failures', ...args(key), '--kind', 'timeout', 'auth', '--limit', '1']);
    expect(limited).toMatchObject({ code: 0, stderr: '' });
    expect(limited.stdout).toContain('CNT-1');
    expect(limited.stdout).not.toMatch(/CNT-2|E-17/);
    expect(limited.stdout).toMatch(
      /\nThese are the newest 1; there may be more: --limit takes up to 1000.\n$/,
    );
    const { stdout } = await run(['failures', 'list', ...args(key), '--kind', 'timeout', '--json']);
    expect(JSON.parse(stdout)).toEqual({
      at: '2026-11-16T09:30:00.000000Z',
      ...key,
      counts: [
        { kind: 'timeout', count: 2, givenUpCount: 0, dismissedCount: 0 },
        { kind: 'validation', count: 1, givenUpCount: 1, dismissedCount: 0 },
      ],
      failures: await syncFailureList(pool, { ...key, kinds: ['timeout'] }),
      conflicts: [],
    });
  });

  test('shows records that were edited on both sides until they are acknowledged, in health too', async () => {
    const key = await connectWith('reapit', healthy);
    const contactId = '5f0e8a1c-3f0b-4e52-9d7e-0a4f3f1f2b6d';
    await insert(pool, 'crm_sync_conflicts', {
      organisation_id: key.organisationId,
      connection_id: key.connectionId,
      entity_type: 'contact',
      external_id: 'OXF18000001',
      contact_id: contactId,
      kept: 'nurturehub',
      first_seen_at: '2026-11-15 09:00Z',
      last_seen_at: '2026-11-16 09:20Z',
      occurrences: 2,
    });
    const [conflict] = await syncConflictList(pool, key);
    const { stdout } = await run(['failures', ...args(key)]);
    expect(stdout).toContain(`
conflict ${conflict?.id}: edited on both sides, contact OXF18000001
  contact ${contactId}
  2 times, the latest 10 min ago: ours was kept
`);
    const health = async () => (await run(['health', '--organisation', key.organisationId])).stdout;
    const line = 'edited here and at the CRM';
    expect(await health()).toContain(line);
    const ids = [conflict?.id ?? ''];
    await syncConflictAcknowledge(pool, { ...key, ids, acknowledgedBy: 'support' });
    expect((await run(['failures', ...args(key)])).stdout).not.toContain('edited on both sides');
    expect(await health()).not.toContain(line);
  });

  test('shows who dismissed a record, when and why, in health too', async () => {
    const key = await connectWith('reapit', healthy);
    await recordFailures(key, ['CNT-1', 'CNT-2'], { error: noEmail, lastFailedAt: '2026-11-16 09:05Z' });
    const [failure] = await syncFailureList(pool, key);
    const decision = { reason: 'Archived at the branch.', dismissedBy: 'support' };
    await syncFailureDismiss(pool, { ...key, ids: [failure?.id ?? ''], ...decision });
    await pool.query(
      "update crm_sync_failures set dismissed_at = '2026-11-16 09:20Z' where dismissed_at is not null",
    );
    const { stdout } = await run(['failures', ...args(key)]);
    expect(stdout).toContain('\nvalidation        2         1          1\n');
    expect(stdout).toContain(
      '\n  1 attempt, dismissed 2026-11-16 09:20 UTC (10 min ago) by support: Archived at\n  the branch.\n',
    );
    const health = await run(['health', '--organisation', key.organisationId]);
    expect(health.stdout).toContain('\n  Failing records that a person has dismissed: 1.\n');
  });

  test('marks counts at which the database stops counting', async () => {
    const key = await connectWith('reapit');
    const many = Array.from({ length: 1000 }, (_, index) => `R-${index}`);
    await recordFailures(key, many, { error: noEmail, lastFailedAt: '2026-11-16 09:05Z' });
    const { stdout } = await run(['failures', ...args(key), '--limit', '1']);
    expect(stdout).toContain('\nvalidation   1,000+    1,000+         0+\n');
  });

  test('reports that no record fails, or none of the requested kinds', async () => {
    const key = await connectWith('reapit');
    const start = `Connection ${key.connectionId}\nreapit, active, 2026-11-16 09:30 UTC\n\n`;
    expect(await run(['failures', ...args(key)])).toEqual(succeeded(`${start}No failing records.\n`));
    await recordFailures(key, ['CNT-1'], { error: noEmail, lastFailedAt: '2026-11-16 09:05Z' });
    expect(await run(['failures', ...args(key), '--kind', 'auth'])).toEqual(
      succeeded(
        `${start}Kind        Records  Given up  Dismissed\nvalidation        1         1          0\n\nNone of the requested kinds.\n`,
      ),
    );
  });

  test('exits with 3 if the organisation has no such connection', async () => {
    const { connectionId } = await connectWith('reapit');
    const { organisationId } = await createTenant(pool);
    const window = ['--from', '2026-11-16T00:00Z', '--before', '2026-11-17T00:00Z'];
    for (const command of [['failures'], ['failures', 'replay', ...window]]) {
      expect(await run([...command, ...args({ organisationId, connectionId })])).toEqual({
        code: 3,
        stdout: '',
        stderr: `Organisation ${organisationId} has no connection ${connectionId}.\n`,
      });
    }
  });

  test('replay makes all failures of a period due, page by page', async () => {
    const key = await connectWith('reapit');
    const many = Array.from({ length: 1001 }, (_, index) => `R-${index}`);
    await recordFailures(key, many, { error: noEmail, lastFailedAt: '2026-11-16 09:05Z' });
    await recordFailures(key, ['later'], { error: noEmail, lastFailedAt: '2026-11-16 09:10Z' });
    await recordFailures(key, ['other'], {
      error: { ...noEmail, kind: 'auth' },
      lastFailedAt: '2026-11-16 09:05Z',
    });
    const command = [
      'failures',
      'replay',
      ...args(key),
      ...['--from', '2026-11-16T10:00+01:00', '--before', '2026-11-16T09:10Z', '--kind', 'validation'],
    ];
    expect(await run(command)).toEqual(succeeded('1,001 records will be retried: a sync was requested.\n'));
    const left = await syncFailureList(pool, { ...key, limit: 1000 });
    expect(left.filter(({ gaveUpAt }) => gaveUpAt !== null).map(({ recordId }) => recordId)).toEqual([
      'later',
      'other',
    ]);
    expect(await run(command)).toEqual(
      succeeded(
        'Nothing to replay: no matching failures in that period, or all already due or left to a person to decide.\n',
      ),
    );
    const again = await run([...command, '--json']);
    expect(JSON.parse(again.stdout)).toEqual({ ...key, replayed: 0 });
    await connectionDisconnect(pool, key);
    expect(await run(command)).toEqual({
      code: 1,
      stdout: '',
      stderr: 'The organisation has no such live connection, or is not the one set for this transaction.\n',
    });
  });
});

test('control characters from a CRM never reach the terminal', async () => {
  const key = await connectWith(
    'reapit',
    `status = 'error', status_reason = E'Red \\u001b[31m, C1 \\u009b31m,\\nbackwards \\u202e.', status_changed_at = '2026-11-16 07:25Z'`,
  );
  const message = 'Bell \u0007, title \u001b]0;owned\u0007, a\r\nline, \u{e0001}.';
  await recordFailures(key, ['R\u001b[2J\u007f'], {
    error: { ...noEmail, code: '\u009b1m', message },
    lastFailedAt: '2026-11-16 09:05Z',
  });
  const health = ['health', '--organisation', key.organisationId];
  const failures = ['failures', '--organisation', key.organisationId, '--connection', key.connectionId];
  const shown = await run(health);
  expect(shown.stdout).toContain('Red \\u001b[31m, C1\n  \\u009b31m,\\u000abackwards');
  const listed = await run(failures);
  expect(listed.stdout).toContain(
    'inbound contact R\\u001b[2J\\u007f\n  validation \\u009b1m: Bell \\u0007, title',
  );
  const documents = [await run([...health, '--json']), await run([...failures, '--json'])];
  for (const { stdout } of [shown, listed, ...documents]) {
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  }
  expect(JSON.parse(documents[1]?.stdout ?? '').failures[0].error.message).toBe(message);
});

test('a long text without spaces is broken at the line width', async () => {
  const key = await connectWith('reapit');
  await recordFailures(key, ['x'.repeat(512)], { error: noAnswer, lastFailedAt: '2026-11-16 09:05Z' });
  const { organisationId, connectionId } = key;
  const { stdout } = await run(['failures', '--organisation', organisationId, '--connection', connectionId]);
  expect(stdout).toContain(`inbound contact\n${'x'.repeat(80)}\n`);
});

test('exits quietly if the reader closes standard output', async () => {
  const { child, ended } = startCli(['health'], { DATABASE_URL: database.url });
  child.stdout.destroy();
  expect(await ended).toEqual(succeeded(''));
});

describe('a usage error exits with 2 and one line', () => {
  const id = '00000000-0000-4000-8000-000000000001';
  const failures = ['failures', '--organisation', id, '--connection', id];
  const window = ['--from', '2026-11-16T09:00Z', '--before', '2026-11-16T09:00Z'];
  test.each([
    ['an invalid id', ['health', '--organisation', '1'], 'It must be a UUID.'],
    [
      'a missing --connection',
      ['failures', '--organisation', id],
      "required option '--connection <id>' not specified",
    ],
    ['an unknown kind', [...failures, '--kind', 'auth', 'odd'], 'Allowed choices are auth, permission,'],
    ['a limit out of range', [...failures, '--limit', '1001'], 'It must be a whole number from 1 to 1000.'],
    [
      'a time without a zone',
      ['failures', 'replay', '--from', '2026-11-16T09:00'],
      'It must be a time with a time zone: 2026-',
    ],
    ['an unknown command', ['failures', 'forget', ...failures.slice(1)], 'too many arguments'],
    [
      'an empty period',
      ['failures', 'replay', ...failures.slice(1), ...window],
      '--from must be earlier than',
    ],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toContain(message);
  });
});

describe('a database without the installed schema', () => {
  const empty = useDatabase('empty');
  const older = useDatabase('host');
  const id = '00000000-0000-4000-8000-000000000001';

  test.each([
    ['never migrated', empty],
    ['of an older version', older],
  ])('%s: each command says to migrate first', async (_, on) => {
    // Version 1.0 of the schema.
    if (on === older) await withClient(older.url, (client) => migrate(client, 'up', 4));
    for (const args of [
      ['health'],
      ['health', '--organisation', id],
      ['failures', '--organisation', id, '--connection', id],
    ]) {
      const { code, stdout, stderr } = await run(args, on);
      expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: '' });
      expect(stderr).toBe(
        'The schema is missing or of an older version: run crm-schema migrate up first, or name its schema in PGOPTIONS="-c search_path=…".\n',
      );
    }
  });
});

const notPermitted =
  'The user may not do this: connect as a member of crm_worker, or of crm_reader to view health and failures. If the user already is, the schema may be older than this version: run crm-schema migrate status as the owner.\n';

describe('a database that went down to a version without roles', () => {
  const older = useDatabase();
  const worker = useMember(older, 'crm_worker');

  test('health tells a member of crm_worker that the schema may be older', async () => {
    const position = migrations.findIndex(({ file }) => file.startsWith('0010_'));
    await withClient(older.url, (client) => migrate(client, 'down', migrations.length - position));
    expect(await runCli(['health'], { DATABASE_URL: worker.options.connectionString as string })).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'The schema is missing or of an older version: run crm-schema migrate up first, or name its schema in PGOPTIONS="-c search_path=…".\n',
    });
  });
});

test('says what to do about an invalid port, and a server that never answers', async () => {
  const noPort = await runCli(['health'], { PGHOST: '127.0.0.1', PGPORT: 'abc' });
  expect(noPort).toEqual({
    code: 1,
    stdout: '',
    stderr: 'PGPORT is not a port: it must be a number from 1 to 65535.\n',
  });
  const silent = createServer(() => {});
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const noAnswer = await runCli(['health'], { DATABASE_URL: `postgres://u:topsecret@127.0.0.1:${port}/x` });
  silent.close();
  expect(noAnswer).toEqual({
    code: 1,
    stdout: '',
    stderr: 'The database did not answer in time: check DATABASE_URL and the network.\n',
  });
});

describe('as a user other than the owner', () => {
  const database = useDatabase();
  const users = {
    crm_app: useMember(database, 'crm_app'),
    crm_worker: useMember(database, 'crm_worker'),
    crm_reader: useMember(database, 'crm_reader'),
    nobody: useMember(database),
  };
  const urlOf = (user: keyof typeof users) => ({
    DATABASE_URL: users[user].options.connectionString as string,
  });

  test.each(['crm_worker', 'crm_reader'] as const)('%s sees all organisations', async (user) => {
    await connect(database.pool, (await createTenant(database.pool)).organisationId, 'alto');
    const asOwner = await runCli(['health', '--json'], { DATABASE_URL: database.url });
    const asMember = await runCli(['health', '--json'], urlOf(user));
    expect(asMember).toMatchObject({ code: 0, stderr: '' });
    const { connections } = JSON.parse(asOwner.stdout);
    expect(connections.length).toBeGreaterThan(0);
    expect(JSON.parse(asMember.stdout).connections).toEqual(connections);
  });

  test.each(['crm_app', 'nobody'] as const)(
    '%s is refused, because it would see only a part',
    async (user) => {
      expect(await runCli(['health'], urlOf(user))).toEqual({
        code: 1,
        stdout: '',
        stderr:
          'The user does not see all organisations: connect as a member of crm_worker, or of crm_reader for read-only access.\n',
      });
    },
  );

  test('crm_reader may not replay, and the error names the role that may', async () => {
    const { organisationId } = await createTenant(database.pool);
    const { connectionId } = await connect(database.pool, organisationId);
    const key = ['--organisation', organisationId, '--connection', connectionId];
    const window = ['--from', '2026-11-16T08:00Z', '--before', '2026-11-16T09:00Z'];
    expect(await runCli(['failures', 'replay', ...key, ...window], urlOf('crm_reader'))).toEqual({
      code: 1,
      stdout: '',
      stderr: notPermitted,
    });
    expect(await runCli(['failures', 'replay', ...key, ...window], urlOf('crm_worker'))).toMatchObject({
      code: 0,
    });
  });
});
