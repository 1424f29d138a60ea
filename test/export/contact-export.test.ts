import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type pg from 'pg';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { dataMap, kindsOfColumns } from '../../dev/data-map/page.js';
import { projectPath } from '../../dev/database.js';
import { withSnapshotDatabase } from '../../dev/snapshot/database.js';
import { readSchema } from '../../dev/snapshot/read-schema.js';
import type { Schema } from '../../dev/snapshot/schema.js';
import {
  type ContactExport,
  connectionDisconnect,
  contactExport,
  contactExternalIdLinkMany,
  contactExternalIdRepoint,
  contactExternalIdUnlink,
  contactMerge,
  contactMergeUndo,
  type Queryable,
  syncLogRecord,
  withOrganisation,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { eraseContacts } from '../support/erasure.js';
import { tenantWithIds } from '../support/identity.js';
import { interruptDetach, monthName } from '../support/log-partitions.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const app = useMember(database, 'crm_app');
const reader = useMember(database, 'crm_reader');

const contact = { direction: 'inbound', entityType: 'contact' } as const;
const failed = {
  status: 'error',
  error: { kind: 'validation', retryable: false, message: 'No name.' },
} as const;

/** The pieces of an export. */
async function piecesOf(client: Queryable, organisationId: string, contactId: string): Promise<string[]> {
  const pieces: string[] = [];
  for await (const piece of contactExport(client, { organisationId, contactId })) pieces.push(piece);
  return pieces;
}

/** Reads an export, and checks it against its published schema, without properties that the schema does not know. */
async function exported(
  client: Queryable,
  organisationId: string,
  contactId: string,
): Promise<ContactExport> {
  const text = (await piecesOf(client, organisationId, contactId)).join('');
  return strictSchema.parse(JSON.parse(text)) as unknown as ContactExport;
}

let jsonSchema: { properties: Record<string, { items?: { properties?: Record<string, unknown> } }> };
let strictSchema: z.ZodType;
let schema: Schema;
beforeAll(async () => {
  jsonSchema = JSON.parse(await readFile(projectPath('docs/contact-export.schema.json'), 'utf8'));
  const strict = (part: unknown): unknown => {
    if (Array.isArray(part)) return part.map(strict);
    if (typeof part !== 'object' || part === null) return part;
    const entries = Object.entries(part).map(([key, value]) => [key, strict(value)]);
    const copy = Object.fromEntries(entries);
    return copy.type === 'object' ? { ...copy, additionalProperties: false } : copy;
  };
  strictSchema = z.fromJSONSchema(strict(jsonSchema) as never);
  schema = await withSnapshotDatabase(readSchema);
});

/** The sections in which an export has rows. */
function filled(document: ContactExport): string[] {
  return Object.entries(document).flatMap(([name, value]) =>
    Array.isArray(value) && value.length > 0 ? [name] : [],
  );
}

const eventIds = ({ events }: ContactExport) => events.map(({ externalId }) => externalId);

describe('contactExport', () => {
  test('exports every column that names a contact or is about one, of everyone who was merged into it', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1', 'reapit landlord 2'], ['alto contact 3']);
    const [survivor, mergedAway] = [tenant.contact(0), tenant.contact(1)];
    await contactMerge(pool, tenant.merge(1, 0));
    const { organisationId } = tenant;
    const { connectionId } = await connect(pool, organisationId);
    const ended = await connect(pool, organisationId, 'alto');
    await connectionDisconnect(pool, ended);
    await fillEveryColumn(pool, {
      organisationId,
      connectionId,
      archivedFrom: ended.connectionId,
      survivor,
      mergedAway,
    });

    const document = await exported(pool, organisationId, survivor);
    expect(filled(document)).toEqual([
      'contacts',
      'records',
      'identityChanges',
      'outboundChanges',
      'failures',
      'conflicts',
      'recordRequests',
      'events',
    ]);
    const missing: string[] = [];
    for (const [table, kinds] of kindsOfColumns(schema)) {
      const { exported: how } = dataMap[table] ?? expect.unreachable();
      if (!('as' in how)) continue;
      const rows = document[how.as as keyof ContactExport] as unknown as Record<string, unknown>[];
      for (const [column, kind] of kinds) {
        if (kind === 'agency' || how.leftOut?.[column] !== undefined) continue;
        const property = column.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
        if (!rows.some((row) => row[property] !== null && row[property] !== undefined))
          missing.push(`${table}.${column}`);
      }
    }
    expect(missing).toEqual([]);
    // Each of the two contacts has a row of its own in these tables.
    for (const section of ['records', 'outboundChanges', 'conflicts'] as const) {
      const ids = new Set(document[section].map(({ contactId }) => contactId));
      expect([section, [...ids].toSorted()]).toEqual([section, [survivor, mergedAway].toSorted()]);
    }
    expect(document.contacts).toEqual([
      { contactId: survivor, mergedIntoId: null, mergedAt: null },
      { contactId: mergedAway, mergedIntoId: survivor, mergedAt: expect.any(String) },
    ]);
    expect(new Set(document.events.map(({ internalId }) => internalId))).toEqual(
      new Set([survivor, mergedAway]),
    );
  });

  test('has neither ciphertext nor a key id', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1']);
    const key = await connect(pool, tenant.organisationId);
    await syncLogRecord(pool, {
      ...key,
      events: [{ ...contact, externalId: '1', internalId: tenant.contact(0), status: 'success' }],
    });
    const text = (await piecesOf(pool, tenant.organisationId, tenant.contact(0))).join('');
    const { rows } = await pool.query(
      'select credentials, credentials_key_id from crm_connections where id = $1',
      [key.connectionId],
    );
    expect(text).toContain(key.connectionId);
    for (const secret of [rows[0].credentials.ciphertext, rows[0].credentials_key_id]) {
      expect(secret.length).toBeGreaterThan(5);
      expect(text).not.toContain(secret);
    }
  });

  test('of a contact that was merged away, says into which one, and leaves that one out', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const key = await connect(pool, tenant.organisationId);
    await syncLogRecord(pool, {
      ...key,
      events: [0, 1].map((index) => ({
        ...contact,
        externalId: String(index + 1),
        internalId: tenant.contact(index),
        status: 'success' as const,
      })),
    });
    const { operationId } = await contactMerge(pool, tenant.merge(1, 0));
    // While the two are one, the event of the other's record names the one that is left.
    await syncLogRecord(pool, {
      ...key,
      events: [{ ...contact, externalId: '2', internalId: tenant.contact(0), status: 'success' }],
    });
    const gone = await exported(pool, tenant.organisationId, tenant.contact(1));
    expect(gone.mergedIntoId).toBe(tenant.contact(0));
    expect(eventIds(gone)).toEqual(['2']);
    expect(eventIds(await exported(pool, tenant.organisationId, tenant.contact(0))).toSorted()).toEqual([
      '1',
      '2',
      '2',
    ]);

    // A reader who began before the merge was undone has read, or would read, what is the other person's again.
    const reading = contactExport(pool, {
      organisationId: tenant.organisationId,
      contactId: tenant.contact(0),
    })[Symbol.asyncIterator]();
    await reading.next();
    await contactMergeUndo(pool, tenant.undo(operationId));
    await expect(
      (async () => {
        while (!(await reading.next()).done);
      })(),
    ).rejects.toMatchObject({ code: 'mapping_changed', message: expect.stringContaining('export again') });
    const back = await exported(pool, tenant.organisationId, tenant.contact(1));
    expect(back.mergedIntoId).toBeNull();
    const alone = await exported(pool, tenant.organisationId, tenant.contact(0));
    expect([alone.contacts.length, eventIds(alone)]).toEqual([1, [null, '1']]);
    // That the merge was there and was undone, but not the id that is the other's again.
    const changes = alone.identityChanges.filter(({ provider }) => provider === 'reapit');
    expect(changes.map(({ kind, externalId }) => [kind, externalId])).toEqual([
      ['undone', null],
      ['contacts_merged', null],
    ]);
    expect(back.identityChanges.map(({ externalId }) => externalId)).toContain('2');
  });

  test('of an id that is another contact by now, shows what is of the time in which it was this one', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 7'], []);
    const { organisationId } = tenant;
    const key = await connect(pool, organisationId);
    // Linked at noon, re-pointed an hour later.
    await pool.query(
      "update contact_external_ids set first_seen_at = '2026-11-16T12:00Z' where organisation_id = $1",
      [organisationId],
    );
    const repointed = { organisationId, ...tenant.record('reapit contact 7') };
    await contactExternalIdRepoint(pool, {
      ...repointed,
      fromContactId: tenant.contact(0),
      toContactId: tenant.contact(1),
    });
    await pool.query(
      "update contact_external_ids set first_seen_at = '2026-11-16T13:00Z', last_seen_at = '2026-11-16T13:00Z' where organisation_id = $1",
      [organisationId],
    );
    const times = ['11:30', '12:30', '13:30'];
    await syncLogRecord(pool, {
      ...key,
      events: times.map((time) => ({
        ...contact,
        externalId: '7',
        occurredAt: `2026-11-16T${time}:00Z`,
        ...failed,
      })),
    });
    await pool.query(
      `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, gave_up_at)
       values ($1, $2, 'inbound', 'contact', '7', 1, $3, now(), now(), now())`,
      [organisationId, key.connectionId, failed.error],
    );
    await pool.query(
      "insert into crm_record_requests (organisation_id, connection_id, entity_type, external_id, requested_at) values ($1, $2, 'contact', '7', now())",
      [organisationId, key.connectionId],
    );

    const former = await exported(pool, organisationId, tenant.contact(0));
    const present = await exported(pool, organisationId, tenant.contact(1));
    const timesOf = ({ events }: ContactExport) => events.map(({ occurredAt }) => occurredAt.slice(11, 16));
    expect([timesOf(former), timesOf(present)]).toEqual([['12:30', '11:30'], ['13:30']]);
    expect([filled(former), filled(present)]).toEqual([
      ['contacts', 'identityChanges', 'events'],
      ['contacts', 'records', 'identityChanges', 'failures', 'recordRequests', 'events'],
    ]);
    // Neither learns who the other is.
    expect(former.identityChanges).toMatchObject([
      {
        kind: 'repointed',
        fromContactId: tenant.contact(0),
        toContactId: null,
        isToAnother: true,
        isPrimary: null,
      },
    ]);
    expect(present.identityChanges).toMatchObject([
      {
        fromContactId: null,
        isFromAnother: true,
        wasPrimary: null,
        linkedAt: null,
        toContactId: tenant.contact(1),
      },
    ]);
    expect(JSON.stringify(former)).not.toContain(tenant.contact(1));
    expect(JSON.stringify(present)).not.toContain(tenant.contact(0));
  });

  test('of a record that was merged into one that another contact has by now, does not show that one', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1', 'reapit contact 2'], []);
    await pool.query(
      `update contact_external_id_aliases
       set remote_state = 'merged', merged_into_entity_type = 'contact', merged_into_external_id = '1'
       where organisation_id = $1`,
      [tenant.organisationId],
    );
    const mergedInto = async () =>
      (await exported(pool, tenant.organisationId, tenant.contact(0))).records.map(
        ({ externalId, mergedIntoExternalId }) => `${externalId} ${mergedIntoExternalId}`,
      );
    expect(await mergedInto()).toContain('2 1');
    await contactExternalIdUnlink(pool, {
      organisationId: tenant.organisationId,
      ...tenant.link(0, 'reapit contact 1'),
    });
    await contactExternalIdLinkMany(pool, {
      organisationId: tenant.organisationId,
      links: [tenant.link(1, 'reapit contact 1')],
    });
    expect(await mergedInto()).toEqual(['2 null']);
  });

  test('leaves out the same id of another account of the CRM', async () => {
    const tenant = await tenantWithIds(pool, ['alto contact 48213']);
    const { organisationId } = tenant;
    const first = await connect(pool, organisationId, 'alto');
    await connectionDisconnect(pool, first);
    const second = await connect(pool, organisationId, 'alto');
    const setAccount = (id: string, account: string | null) =>
      pool.query('update crm_connections set account = $2 where id = $1', [id, account]);
    for (const key of [first, second]) {
      await syncLogRecord(pool, { ...key, events: [{ ...contact, externalId: '48213', ...failed }] });
    }
    const connections = async () =>
      (await exported(pool, organisationId, tenant.contact(0))).events.map(
        ({ connectionId }) => connectionId,
      );
    // While an account is unknown, it may be the same.
    await setAccount(second.connectionId, 'present');
    expect((await connections()).toSorted()).toEqual([first.connectionId, second.connectionId].toSorted());
    await setAccount(first.connectionId, 'other');
    expect(await connections()).toEqual([second.connectionId]);
  });

  test('has the refused link of a record that nobody else was linked to', async () => {
    const tenant = await tenantWithIds(pool, [], ['reapit contact 5']);
    const key = await connect(pool, tenant.organisationId);
    const refused = { ...contact, internalId: tenant.contact(0), status: 'success' } as const;
    await syncLogRecord(pool, {
      ...key,
      events: [
        { ...refused, externalId: '4' },
        { ...contact, externalId: '4', ...failed },
        { ...refused, externalId: '5' },
        { ...contact, externalId: '5', ...failed },
      ],
    });
    const { events } = await exported(pool, tenant.organisationId, tenant.contact(0));
    // Of the record 5, which is another contact's, only the event that names the contact, without the id.
    expect(
      events.map(({ externalId, internalId }) => [externalId ?? 'null', internalId === null]).toSorted(),
    ).toEqual([
      ['4', false],
      ['4', true],
      ['null', false],
    ]);
  });

  test('of an event or a conflict that names a record of another contact, shows it without the record', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1'], ['reapit contact 2']);
    const { organisationId } = tenant;
    const key = await connect(pool, organisationId);
    const named = { ...contact, internalId: tenant.contact(0) };
    await syncLogRecord(pool, {
      ...key,
      events: [
        { ...named, externalId: '1', status: 'success' },
        { ...named, externalId: '2', status: 'success' },
        { ...named, externalId: 'A12', ...failed },
      ],
    });
    await pool.query(
      `insert into crm_sync_conflicts
         (organisation_id, connection_id, entity_type, external_id, contact_id, kept, first_seen_at, last_seen_at)
       select $1, $2, 'contact', external_id, $3, 'crm', now(), now()
       from unnest('{1,2,A12,A13}'::text[]) as external_id`,
      [organisationId, key.connectionId, tenant.contact(0)],
    );
    const shown = async () => {
      const { events, conflicts } = await exported(pool, organisationId, tenant.contact(0));
      return [events, conflicts].map((rows) => rows.map(({ externalId }) => String(externalId)).toSorted());
    };
    // Nobody else has A12 and A13 yet: their links were refused.
    expect(await shown()).toEqual([
      ['1', 'A12', 'null'],
      ['1', 'A12', 'A13', 'null'],
    ]);

    await contactExternalIdLinkMany(pool, {
      organisationId,
      links: ['reapit contact A12', 'reapit contact A13'].map((record) => tenant.link(1, record)),
      ifContactTaken: 'alias',
    });
    expect(await shown()).toEqual([
      ['1', 'null', 'null'],
      ['1', 'null', 'null', 'null'],
    ]);
  });

  test('of an event with a record of another account, in which nobody was linked to it, shows the record', async () => {
    const tenant = await tenantWithIds(pool, [], ['alto contact 48213']);
    const { organisationId } = tenant;
    const first = await connect(pool, organisationId, 'alto');
    await syncLogRecord(pool, {
      ...first,
      events: [{ ...contact, externalId: '48213', internalId: tenant.contact(0), status: 'success' }],
    });
    await connectionDisconnect(pool, first);
    const second = await connect(pool, organisationId, 'alto');
    const ids = async () => eventIds(await exported(pool, organisationId, tenant.contact(0)));
    // While an account is unknown, it may be the other contact's account.
    expect(await ids()).toEqual([null]);
    await pool.query('update crm_connections set account = id::text where id = any($1)', [
      [first.connectionId, second.connectionId],
    ]);
    expect(await ids()).toEqual(['48213']);
  });

  test('reads any number of events and changes, a page at a time, each once and newest first', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1']);
    const { organisationId } = tenant;
    const key = await connect(pool, organisationId);
    await pool.query(
      `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status, error)
       -- Many at the same time, and every third without the contact.
       select $1, $2, now() - number / 400 * interval '1 minute', 'inbound', 'contact', '1',
         case when number % 3 > 0 then $3::uuid end, 'error', $4
       from generate_series(1, 2600) as number`,
      [organisationId, key.connectionId, tenant.contact(0), failed.error],
    );
    await pool.query(
      `insert into contact_external_id_changes (organisation_id, kind, provider, entity_type, external_id, from_contact_id)
       select $1, 'unlinked', 'reapit', 'contact', number::text, $2
       from generate_series(1, 1200) as number`,
      [organisationId, tenant.contact(0)],
    );
    const pieces = await piecesOf(pool, organisationId, tenant.contact(0));
    const rows = pieces.map((piece) => piece.split('\n').filter((line) => line.startsWith('    {')).length);
    expect(Math.max(...rows)).toBe(500);
    const { events, identityChanges } = JSON.parse(pieces.join('')) as ContactExport;
    const { rows: wanted } = await pool.query(
      'select id::text from crm_sync_log where organisation_id = $1 order by occurred_at desc, crm_sync_log.id desc',
      [organisationId],
    );
    expect(events.map(({ id }) => id)).toEqual(wanted.map(({ id }) => id));
    expect(identityChanges).toHaveLength(1200);
    expect(new Set(identityChanges.map(({ id }) => id)).size).toBe(1200);
  });

  test('has nothing of a contact that was erased', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1', 'reapit landlord 2'], ['alto contact 3']);
    const [survivor, mergedAway] = [tenant.contact(0), tenant.contact(1)];
    await contactMerge(pool, tenant.merge(1, 0));
    const { organisationId } = tenant;
    const { connectionId } = await connect(pool, organisationId);
    const ended = await connect(pool, organisationId, 'alto');
    await connectionDisconnect(pool, ended);
    await fillEveryColumn(pool, {
      organisationId,
      connectionId,
      archivedFrom: ended.connectionId,
      survivor,
      mergedAway,
    });
    await eraseContacts(pool, organisationId, [survivor, mergedAway]);
    for (const contactId of [survivor, mergedAway])
      expect(filled(await exported(pool, organisationId, contactId))).toEqual(['contacts']);
  });

  test('refuses what is no UUID, before it runs anything', () => {
    const refused = (params: { organisationId: string; contactId: string }) => () =>
      contactExport(pool, params);
    const id = randomUUID();
    expect(refused({ organisationId: 'x', contactId: id })).toThrow(/organisationId/);
    expect(refused({ organisationId: id, contactId: 'x' })).toThrow(/contactId/);
  });

  test('of an unknown contact, has no rows', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1']);
    const document = await exported(pool, tenant.organisationId, randomUUID());
    expect(filled(document)).toEqual(['contacts']);
  });
});

describe('with a month that is detached', () => {
  let tenant: Awaited<ReturnType<typeof tenantWithIds>>;
  const inTransaction = <Result>(work: (client: pg.PoolClient) => Promise<Result>) =>
    rolledBack(pool, async (client) => {
      const { rows } = await client.query(
        `select inhrelid::regclass::text as name from pg_inherits
         where inhparent = 'crm_sync_log'::regclass and inhrelid::regclass::text ~ '_[0-9]{4}_[0-9]{2}$'
         order by 1 limit 1`,
      );
      await client.query(`alter table crm_sync_log detach partition ${rows[0].name}`);
      await client.query(`alter table ${rows[0].name} rename to crm_sync_log_2020_01`);
      return work(client);
    });

  beforeEach(async () => {
    tenant = await tenantWithIds(pool, ['reapit contact 1']);
    const key = await connect(pool, tenant.organisationId);
    const { rows } = await pool.query("select date_trunc('month', now())::text as start");
    await syncLogRecord(pool, {
      ...key,
      events: [{ ...contact, externalId: '1', occurredAt: new Date(rows[0].start), ...failed }],
    });
  });

  test('an export by the owner has its events', async () => {
    await inTransaction(async (client) => {
      const document = await exported(client, tenant.organisationId, tenant.contact(0));
      expect([document.monthsNotRead, eventIds(document)]).toEqual([[], ['1']]);
    });
  });

  test('an export knows a record that only this month names together with the person', async () => {
    const key = await connect(pool, tenant.organisationId, 'alto');
    const { rows } = await pool.query("select date_trunc('month', now())::text as start");
    const occurredAt = new Date(rows[0].start);
    const event = { ...contact, externalId: 'OLD', occurredAt, status: 'success' } as const;
    await syncLogRecord(pool, { ...key, events: [event, { ...event, internalId: tenant.contact(0) }] });
    await inTransaction(async (client) => {
      const document = await exported(client, tenant.organisationId, tenant.contact(0));
      expect(eventIds(document).toSorted()).toEqual(['1', 'OLD', 'OLD']);
    });
  });

  test.each([
    ['lacks a column of the log', 'alter table crm_sync_log_2020_01 drop column reason cascade'],
    ['has another owner', 'alter table crm_sync_log_2020_01 owner to pg_database_owner'],
    [
      'has a column of another type',
      'alter table crm_sync_log_2020_01 alter column entity_type type varchar(50)',
    ],
  ])('one that %s is named, and the rest is exported', async (_, change) => {
    await inTransaction(async (client) => {
      await client.query(change);
      const document = await exported(client, tenant.organisationId, tenant.contact(0));
      expect([document.monthsNotRead, eventIds(document)]).toEqual([['crm_sync_log_2020_01'], []]);
    });
  });

  test('one that has partitions of its own is read', async () => {
    await inTransaction(async (client) => {
      await client.query(`
        alter table crm_sync_log_2020_01 rename to part;
        create table crm_sync_log_2020_01 (like crm_sync_log including defaults) partition by range (occurred_at);
        alter table crm_sync_log_2020_01 attach partition part default`);
      const document = await exported(client, tenant.organisationId, tenant.contact(0));
      expect([document.monthsNotRead, eventIds(document)]).toEqual([[], ['1']]);
    });
  });

  test.each(['crm_app', 'crm_reader', 'crm_worker'])(
    'an export by %s names it, and has the rest',
    async (role) => {
      await inTransaction(async (client) => {
        await client.query(`set local role ${role}`);
        await client.query("select set_config('crm_schema.organisation_id', $1, true)", [
          tenant.organisationId,
        ]);
        const document = await exported(client, tenant.organisationId, tenant.contact(0));
        expect([document.monthsNotRead, eventIds(document)]).toEqual([['crm_sync_log_2020_01'], []]);
        expect(document.records).toHaveLength(1);
      });
    },
  );

  test('one whose rows are hidden is named, too', async () => {
    await inTransaction(async (client) => {
      await client.query('grant select on crm_sync_log_2020_01 to crm_reader');
      await client.query('set local role crm_reader');
      const { monthsNotRead } = await exported(client, tenant.organisationId, tenant.contact(0));
      expect(monthsNotRead).toEqual(['crm_sync_log_2020_01']);
    });
  });
});

describe('with a month whose detach was interrupted', () => {
  const own = useDatabase();
  const member = useMember(own, 'crm_reader');

  test('an export by the owner has its events, one by another names it', async () => {
    const tenant = await tenantWithIds(own.pool, ['reapit contact 1']);
    const key = await connect(own.pool, tenant.organisationId);
    const month = monthName(0);
    await syncLogRecord(own.pool, { ...key, events: [{ ...contact, externalId: '1', ...failed }] });
    const read = (client: Queryable) => exported(client, tenant.organisationId, tenant.contact(0));
    expect(eventIds(await read(own.pool))).toEqual(['1']);

    await interruptDetach(own.url, month);
    const byOwner = await read(own.pool);
    expect([byOwner.monthsNotRead, eventIds(byOwner)]).toEqual([[], ['1']]);
    const byMember = await read(member);
    expect([byMember.monthsNotRead, eventIds(byMember)]).toEqual([[month], []]);
  });
});

describe('by a member of a role', () => {
  test('crm_app exports the organisation that it has set, as the owner would, and no other', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1']);
    const stranger = await tenantWithIds(pool, ['reapit contact 1']);
    const key = await connect(pool, tenant.organisationId);
    await syncLogRecord(pool, { ...key, events: [{ ...contact, externalId: '1', ...failed }] });
    const { organisationId } = tenant;
    const own = await withOrganisation(app, organisationId, (client) =>
      exported(client, organisationId, tenant.contact(0)),
    );
    const byOwner = await exported(pool, organisationId, tenant.contact(0));
    expect({ ...own, exportedAt: '' }).toEqual({ ...byOwner, exportedAt: '' });
    expect(filled(own)).toEqual(['contacts', 'records', 'events']);
    const other = await withOrganisation(app, stranger.organisationId, (client) =>
      exported(client, organisationId, tenant.contact(0)),
    );
    expect(filled(other)).toEqual(['contacts']);
    await expect(piecesOf(app, organisationId, tenant.contact(0))).rejects.toMatchObject({
      code: 'organisation_not_set',
    });
  });

  test('crm_reader exports as the owner would', async () => {
    const tenant = await tenantWithIds(pool, ['reapit contact 1', 'reapit landlord 1']);
    const byReader = await exported(reader, tenant.organisationId, tenant.contact(0));
    const byOwner = await exported(pool, tenant.organisationId, tenant.contact(0));
    expect({ ...byReader, exportedAt: '' }).toEqual({ ...byOwner, exportedAt: '' });
    expect(byReader.records).toHaveLength(2);
  });
});

test('each column that names a contact or is about one has a property in the published schema', () => {
  for (const [table, kinds] of kindsOfColumns(schema)) {
    const { exported: how } = dataMap[table] ?? expect.unreachable();
    if (!('as' in how)) continue;
    const properties = Object.keys(jsonSchema.properties[how.as]?.items?.properties ?? {});
    const wanted = [...kinds]
      .filter(([column, kind]) => kind !== 'agency' && how.leftOut?.[column] === undefined)
      .map(([column]) => column.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()));
    expect(properties, table).toEqual(expect.arrayContaining(wanted));
  }
});

/** Gives a contact, and one that was merged into it, a row in each table that is exported, with a value in each column. */
async function fillEveryColumn(
  client: pg.Pool,
  {
    organisationId,
    connectionId,
    archivedFrom,
    survivor,
    mergedAway,
  }: Record<'organisationId' | 'connectionId' | 'archivedFrom' | 'survivor' | 'mergedAway', string>,
): Promise<void> {
  const ids = [organisationId, connectionId, [survivor, mergedAway]];
  const known = `remote_version = '"7"', remote_modified_at = now(), content_hash = sha256('a'), pushed_at = now(),
    replaced_hashes = array[sha256('b')], replaced_at = now()`;
  await client.query(`update contact_external_ids set ${known} where organisation_id = $1`, [organisationId]);
  await client.query(
    `update contact_external_id_aliases
     set ${known}, remote_state = 'merged', merged_into_entity_type = 'contact', merged_into_external_id = '1'
     where organisation_id = $1`,
    [organisationId],
  );
  await client.query(
    `insert into contact_external_id_archive
       (organisation_id, connection_id, entity_type, external_id, contact_id, is_primary, first_seen_at, last_seen_at,
        remote_state, remote_modified_at, merged_into_entity_type, merged_into_external_id)
     select $1, $2, 'contact', contact_id, contact_id, false, now(), now(), 'merged', now(), 'contact', '1'
     from unnest($3::uuid[]) as contact_id`,
    [organisationId, archivedFrom, [survivor, mergedAway]],
  );
  await client.query(
    `insert into contact_external_id_changes
       (organisation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id, to_contact_id,
        was_primary, is_primary, linked_at, reason, undone_by)
     select $1, 'unlinked', 'reapit', 'contact', '9', $2, contact_id, contact_id, true, true, now(), 'A test.', gen_random_uuid()
     from unnest($3::uuid[]) as contact_id`,
    ids,
  );
  await client.query(
    `insert into crm_outbound_changes
       (organisation_id, connection_id, contact_id, first_changed_at, last_changed_at, next_attempt_at)
     select $1, $2, contact_id, now(), now(), now()
     from unnest($3::uuid[]) as contact_id`,
    ids,
  );
  for (const state of ['next_attempt_at', 'gave_up_at', 'dismissed_at']) {
    await client.query(
      `insert into crm_sync_failures
         (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at,
          last_failed_at, ${state}${state === 'dismissed_at' ? ', dismissed_by, dismissal_reason' : ''})
       select $1, $2, 'outbound', '${state}', contact_id, 1, $4, now(), now(),
         now()${state === 'dismissed_at' ? ", 'support', 'A test.'" : ''}
       from unnest($3::uuid[]) as contact_id`,
      [...ids, failed.error],
    );
  }
  await client.query(
    `insert into crm_sync_conflicts
       (organisation_id, connection_id, entity_type, external_id, contact_id, kept, first_seen_at, last_seen_at,
        acknowledged_at, acknowledged_by)
     select $1, $2, 'contact', contact_id, contact_id, 'crm', now(), now(), now(), 'support'
     from unnest($3::uuid[]) as contact_id`,
    ids,
  );
  await client.query(
    `insert into crm_record_requests (organisation_id, connection_id, entity_type, external_id, requested_at, claimed_run_id)
     values ($1, $2, 'contact', '1', now(), 7)
     -- A failed push has asked for it already.
     on conflict (organisation_id, connection_id, entity_type, external_id) do update set claimed_run_id = 7`,
    [organisationId, connectionId],
  );
  await client.query(
    `insert into crm_sync_log
       (organisation_id, connection_id, direction, entity_type, external_id, internal_id, status, error, reason)
     select $1, $2, 'inbound', 'contact', '1', contact_id, status, case when status = 'error' then $4::jsonb end, reason
     from unnest($3::uuid[]) as contact_id
     cross join (values ('error', null), ('skipped', 'echo')) as ended (status, reason)`,
    [...ids, failed.error],
  );
}
