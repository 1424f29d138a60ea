import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { type ConnectionKey, connectionSetStatus } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { monthName } from '../support/log-partitions.js';
import { useMember } from '../support/roles.js';
import { noPrometheus } from './programs.js';
import { type MonitoringStack, startMonitoring } from './stack.js';

/** A change reaches an alert within some seconds: the exporter, Prometheus and Alertmanager each look once a second. */
const waiting = { timeout: 60_000, interval: 250 };

describe.skipIf(noPrometheus)('with the SQL exporter, Prometheus and Alertmanager,', () => {
  const database = useDatabase();
  const { pool } = database;
  const reader = useMember(database, 'crm_reader');
  let stack: MonitoringStack;
  let key: ConnectionKey;
  let user: string;

  beforeAll(async () => {
    const { organisationId } = await createTenant(pool);
    key = await connect(pool, organisationId, 'street');
    await pool.query(
      "update crm_connections set next_sync_at = now() + interval '1 hour', last_success_at = now()",
    );
    const url = new URL(reader.options.connectionString ?? '');
    user = url.username;
    await withClient(database.url, async (client) => {
      // The exporter's driver refuses fewer, which the embedded server uses to save time.
      await client.query(
        "select set_config('scram_iterations', '4096', false) where current_setting('scram_iterations', true) <> ''",
      );
      await client.query(`alter role ${user} password 'test'`);
    });
    stack = await startMonitoring(`${url.href}?sslmode=disable`);
  });
  afterAll(() => stack.stop());

  const firing = async () => [...new Set((await stack.firing()).map(({ labels }) => labels.alertname ?? ''))];

  test('no alert fires while all is well', async () => {
    await expect
      .poll(
        () => stack.query('sql_crm_connections{col="connections",provider="street",status="active"}'),
        waiting,
      )
      .toEqual([1]);
    await expect.poll(() => stack.query('sql_crm_credentials{col="unknownAccounts"}'), waiting).toEqual([1]);
    expect(await stack.query('sql_crm_log{col="monthsAhead"}')).toEqual([3]);
    await expect.poll(firing, waiting).toEqual([]);
    expect(await stack.query('max(sql_exporter_last_scrape_failed)')).toEqual([0]);
  });

  test('a connection that goes into error fires an alert, a ticket is written, and it resolves when the connection is active again', async () => {
    await connectionSetStatus(pool, { ...key, status: 'error', reason: 'Test.' });
    await expect.poll(firing, waiting).toEqual(['CrmConnectionsInError']);
    const [alert] = await stack.firing();
    expect(alert?.labels).toMatchObject({ provider: 'street', severity: 'ticket' });
    expect(alert?.annotations.summary).toBe('street: 1 connections are in error.');
    await expect
      .poll(() => [...(stack.told.get('tickets') ?? [])], waiting)
      .toContain('CrmConnectionsInError');
    await connectionSetStatus(pool, { ...key, status: 'active' });
    await expect.poll(firing, waiting).toEqual([]);
    expect(await stack.query('sql_crm_connections{status="error"}')).toEqual([]);
  });

  test('an alert fires and resolves although no connection is left', async () => {
    await connectionSetStatus(pool, { ...key, status: 'error', reason: 'Test.' });
    await expect.poll(firing, waiting).toEqual(['CrmConnectionsInError']);
    await pool.query(
      "update crm_connections set status = 'disconnected', disconnected_at = now(), credentials = null, next_sync_at = now()",
    );
    await expect.poll(firing, waiting).toEqual([]);
  });

  test('a missing month pages somebody', async () => {
    await pool.query(`drop table ${monthName(1)}`);
    await expect.poll(firing, waiting).toEqual(['CrmLogMonthMissing']);
    await expect.poll(() => [...(stack.told.get('on-call') ?? [])], waiting).toContain('CrmLogMonthMissing');
    expect(stack.told.get('tickets')).not.toContain('CrmLogMonthMissing');
  });

  test('a connection that the exporter opens later has the same limits as its first', async () => {
    const sessions = async () => {
      const { rows } = await pool.query(
        "select pid, application_name = 'crm-monitoring' as is_limited from pg_stat_activity where usename = $1",
        [user],
      );
      return rows;
    };
    const first = new Set((await sessions()).map(({ pid }) => pid));
    await expect.poll(async () => (await sessions()).some(({ pid }) => !first.has(pid)), waiting).toBe(true);
    // The parameters of the address arrive together.
    for (const session of await sessions()) expect(session.is_limited).toBe(true);
  });

  test('a database that refuses the queries pages somebody, because the values are old', async () => {
    await pool.query(`revoke crm_reader from ${user}`);
    await expect.poll(firing, waiting).toContain('CrmQueriesFail');
    // The values have not gone: only this alert tells that they are old.
    expect(await stack.query('sql_crm_log{col="monthsAhead"}')).toEqual([0]);
    await pool.query(`grant crm_reader to ${user}`);
    await expect.poll(firing, waiting).not.toContain('CrmQueriesFail');
  });

  test('an exporter that is down pages somebody', async () => {
    await stack.stopExporter();
    await expect.poll(firing, waiting).toContain('CrmExporterDown');
  });
});
