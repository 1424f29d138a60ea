/**
 * Symptom: health shows "validation: no email", and a person has to find out of which record. It also lists every
 * connection that the agency ever had: after some reconnects, a page for the agency's staff is mostly history, and asks
 * the log and the failures of each.
 *
 * Source: issue 17.
 *
 * Input: records fail on both ways, new ones among them, and a run as a whole; a CRM was connected, disconnected, and
 * connected again. Right: the last error says which way it was, and which record, if it was of one; disconnected
 * connections can be left out, or listed alone.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionListWithHealth,
  type SyncEvent,
  syncLogRecord,
} from '../../src/index.js';
import { runCli } from '../support/cli.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool, url } = useDatabase();
const failuresSince = '2026-01-01T00:00:00Z';
const error = { kind: 'validation', retryable: false, message: 'No email.' } as const;

let key: ConnectionKey;
let contactId: string;
beforeEach(async () => {
  const tenant = await createTenant(pool, 1);
  contactId = tenant.contactIds[0] as string;
  key = await connect(pool, tenant.organisationId);
});

async function fail(event: Partial<SyncEvent>): Promise<void> {
  await syncLogRecord(pool, {
    ...key,
    events: [{ direction: 'inbound', entityType: 'landlord', status: 'error', error, ...event } as SyncEvent],
  });
}

async function lastError() {
  const [health = expect.unreachable()] = await connectionListWithHealth(pool, { ...key, failuresSince });
  return [
    health.lastErrorDirection,
    health.lastErrorEntityType,
    health.lastErrorExternalId,
    health.lastErrorInternalId,
  ];
}

/** What `crm-schema health` says of the organisation, on one line. */
async function shown(): Promise<string> {
  const { stdout } = await runCli(['health', '--organisation', key.organisationId], { DATABASE_URL: url });
  return stdout.replaceAll(/\s+/g, ' ');
}

describe('the last error', () => {
  test('of a record that was read names the record', async () => {
    await fail({ externalId: 'RPT120080' });
    expect(await lastError()).toEqual(['inbound', 'landlord', 'RPT120080', null]);
    expect(await shown()).toContain('ago), of inbound landlord RPT120080: validation: No email.');
  });

  test('of a record that was read and is linked names its contact too', async () => {
    await fail({ externalId: 'RPT120080', internalId: contactId });
    expect(await lastError()).toEqual(['inbound', 'landlord', 'RPT120080', contactId]);
    expect(await shown()).toContain('of inbound landlord RPT120080: validation');
  });

  test('of a push that was to create a record names the contact', async () => {
    await fail({ direction: 'outbound', entityType: 'contact', internalId: contactId });
    expect(await lastError()).toEqual(['outbound', 'contact', null, contactId]);
    expect(await shown()).toContain(`of outbound contact ${contactId}: validation`);
  });

  test('of a push to a record names both, and health the contact, as the list of failures does', async () => {
    await fail({
      direction: 'outbound',
      entityType: 'contact',
      externalId: 'OXF1',
      internalId: contactId,
    });
    expect(await lastError()).toEqual(['outbound', 'contact', 'OXF1', contactId]);
    expect(await shown()).toContain(`of outbound contact ${contactId}: validation`);
  });

  test('of a whole run names no record', async () => {
    await fail({ externalId: 'RPT120080', occurredAt: '2026-11-01T00:00:00Z' });
    await fail({});
    expect(await lastError()).toEqual([null, null, null, null]);
    expect(await shown()).toMatch(/ago\): validation: No email\./);
  });

  test('is the latest one, whatever succeeded since', async () => {
    await fail({ externalId: 'RPT1', occurredAt: '2026-11-01T09:00:00Z' });
    await fail({ externalId: 'RPT2', occurredAt: '2026-11-01T10:00:00Z' });
    await fail({
      externalId: 'RPT3',
      occurredAt: '2026-11-01T11:00:00Z',
      status: 'success',
      error: undefined,
    } as Partial<SyncEvent>);
    expect(await lastError()).toEqual(['inbound', 'landlord', 'RPT2', null]);
  });

  test('that does not exist names no record', async () => {
    await fail({ externalId: 'RPT3', status: 'success', error: undefined } as Partial<SyncEvent>);
    expect(await lastError()).toEqual([null, null, null, null]);
  });
});

describe('isLive', () => {
  let earlier: ConnectionKey;
  beforeEach(async () => {
    earlier = key;
    await connectionDisconnect(pool, earlier);
    key = await connect(pool, earlier.organisationId);
    await connect(pool, earlier.organisationId, 'alto');
  });

  const listed = async (isLive?: boolean) => {
    const rows = await connectionListWithHealth(pool, { ...key, failuresSince, isLive });
    return rows.map(({ provider, status }) => `${provider} ${status}`);
  };

  test('leaves out disconnected connections if it is true', async () => {
    expect(await listed(true)).toEqual(['alto active', 'reapit active']);
    await pool.query("update crm_connections set status = 'error', status_reason = 'Test.' where id = $1", [
      key.connectionId,
    ]);
    expect(await listed(true)).toEqual(['alto active', 'reapit error']);
  });

  test('lists disconnected connections alone if it is false', async () => {
    expect(await listed(false)).toEqual(['reapit disconnected']);
  });

  test('lists all if it is omitted', async () => {
    expect(await listed()).toEqual(['alto active', 'reapit active', 'reapit disconnected']);
  });

  test('is refused if it is not true or false', async () => {
    for (const wrong of ['yes', 1]) {
      await expect(listed(wrong as unknown as boolean)).rejects.toMatchObject({
        code: 'invalid_input',
        message: `isLive must be true or false, not ${JSON.stringify(wrong)}.`,
      });
    }
  });
});
