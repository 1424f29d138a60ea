import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { type ConnectionKey, type ContactExport, contactMerge, syncLogRecord } from '../../src/index.js';
import { runCli } from '../support/cli.js';
import { connect } from '../support/connection.js';
import { useDatabase } from '../support/database.js';
import { tenantWithIds } from '../support/identity.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const reader = useMember(database, 'crm_reader');

let tenant: Awaited<ReturnType<typeof tenantWithIds>>;
let key: ConnectionKey;
beforeEach(async () => {
  tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
  key = await connect(pool, tenant.organisationId);
});

const contact = { direction: 'inbound', entityType: 'contact', status: 'success' } as const;

function exportContact(contactId: string, url = database.url) {
  const key = ['--organisation', tenant.organisationId, '--contact', contactId];
  return runCli(['contact', 'export', ...key], { DATABASE_URL: url });
}

describe('crm-schema contact export', () => {
  test('prints one JSON document', async () => {
    await syncLogRecord(pool, {
      ...key,
      events: Array.from({ length: 1200 }, () => ({
        ...contact,
        externalId: '1',
        internalId: tenant.contact(0),
      })),
    });
    const { code, stdout, stderr } = await exportContact(tenant.contact(0));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const document: ContactExport = JSON.parse(stdout);
    expect(document).toMatchObject({
      format: 1,
      contactId: tenant.contact(0),
      records: [{ externalId: '1' }],
    });
    expect(document.events).toHaveLength(1200);
    expect(stdout.endsWith('\n}\n')).toBe(true);
  });

  test('escapes what a terminal would obey, and is still the same JSON', async () => {
    const externalId = 'RTL \u202e and \u009b31m';
    await syncLogRecord(pool, {
      ...key,
      events: [{ ...contact, externalId, internalId: tenant.contact(0) }],
    });
    const { stdout } = await exportContact(tenant.contact(0));
    expect(stdout).toContain('RTL \\u202e and \\u009b31m');
    expect(stdout).not.toMatch(/[\u009b\u202e]/);
    expect((JSON.parse(stdout) as ContactExport).events[0]?.externalId).toBe(externalId);
  });

  test('exits with 3 and prints nothing if nothing is kept of the contact', async () => {
    const contactId = randomUUID();
    expect(await exportContact(contactId)).toEqual({
      code: 3,
      stdout: '',
      stderr: `Nothing is kept of contact ${contactId} in organisation ${tenant.organisationId}.\n`,
    });
  });

  test('of a contact that was merged away, names the one that has the rest', async () => {
    await contactMerge(pool, tenant.merge(1, 0));
    const { code, stdout, stderr } = await exportContact(tenant.contact(1));
    expect(code).toBe(0);
    expect(stderr).toBe(
      `The contact was merged into ${tenant.contact(0)}: export that one for what has been kept since.\n`,
    );
    expect((JSON.parse(stdout) as ContactExport).mergedIntoId).toBe(tenant.contact(0));
  });

  test('exits with 3 after the document if a detached month could not be read', async () => {
    await pool.query('create table crm_sync_log_2020_01 (like crm_sync_log)');
    try {
      const { code, stdout, stderr } = await exportContact(
        tenant.contact(0),
        String(reader.options.connectionString),
      );
      expect(code).toBe(3);
      expect((JSON.parse(stdout) as ContactExport).monthsNotRead).toEqual(['crm_sync_log_2020_01']);
      expect(stderr).toContain('could not be read: crm_sync_log_2020_01.');
      expect((await exportContact(tenant.contact(0))).code).toBe(0);
    } finally {
      await pool.query('drop table crm_sync_log_2020_01');
    }
  });

  test.each([
    [['--organisation', 'x', '--contact', randomUUID()], /--organisation/],
    [['--organisation', randomUUID()], /--contact/],
  ])('refuses %j as a usage error', async (args, message) => {
    const { code, stderr } = await runCli(['contact', 'export', ...args], { DATABASE_URL: database.url });
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});
