import { describe, expect, test } from 'vitest';
import {
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdRepoint,
  externalRecordMergeMany,
  syncBatchRecord,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';
import { monthName } from '../support/log-partitions.js';
import { expectRefused } from '../support/refusals.js';
import { claimOne, makeDue } from '../support/sync.js';
import { agencyWithOttoline, log } from './agency.js';

const { pool } = useDatabase();

/** Every text of a person that still stands in a table, with the places. */
async function remains(texts: readonly string[]): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const text of texts) {
    const places = await placesOf(pool, text);
    if (places.length > 0) found[text] = places;
  }
  return found;
}

/** Adds a contact that has nothing to do with anybody else. */
async function addContact(organisationId: string): Promise<string> {
  const { rows } = await pool.query(
    "insert into contacts (id, organisation_id, name) values (gen_random_uuid(), $1, 'Cosima') returning id",
    [organisationId],
  );
  return rows[0].id;
}

const month = (ahead: number) => `now() + make_interval(months => ${ahead})`;

describe('an erased person', () => {
  test('is in no row of any table, and was in many', async () => {
    const { organisationId, ottoline, duplicate, hers } = await agencyWithOttoline(pool);
    for (const text of hers) expect(await placesOf(pool, text)).not.toEqual([]);
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(await remains(hers)).toEqual({});
  });

  test('leaves the events, their number and the kinds of their errors', async () => {
    const { organisationId, ottoline, duplicate } = await agencyWithOttoline(pool);
    const events = async () =>
      (
        await pool.query(
          `select occurred_at, id, status, error ->> 'kind' as kind from crm_sync_log where organisation_id = $1 order by id`,
          [organisationId],
        )
      ).rows;
    const before = await events();
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(await events()).toEqual(before);
    const { rows } = await pool.query(
      `select error from crm_sync_log
       where organisation_id = $1 and error is not null and internal_id is null and external_id is null`,
      [organisationId],
    );
    expect(rows).toEqual(
      Array(2).fill({ error: { kind: 'validation', retryable: false, message: 'Erased.' } }),
    );
  });

  test('takes nothing of another person along', async () => {
    const { organisationId, ottoline, duplicate, barnaby } = await agencyWithOttoline(pool);
    const ofBarnaby = async () => (await placesOf(pool, 'BARNABY-')).length;
    expect(await ofBarnaby()).toBeGreaterThan(5);
    // How far the fill has come may be his id afterwards.
    await pool.query('update crm_connections set fill_contact_id = null where organisation_id = $1', [
      organisationId,
    ]);
    const before = await placesOf(pool, barnaby);
    const records = await ofBarnaby();
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(await ofBarnaby()).toBe(records);
    const after = await placesOf(pool, barnaby);
    const gone = before.filter((place) => !after.includes(place));
    // The record that was re-pointed between the two, in the history and in the log.
    expect(gone.map((place) => place.split(' ')[0]).sort()).toEqual([
      'contact_external_id_aliases',
      'contact_external_id_changes',
      expect.stringMatching(/^crm_sync_log_/),
    ]);
    expect(after.filter((place) => !before.includes(place)).map((place) => place.split(' ')[0])).toEqual([
      'contact_external_id_aliases',
      expect.stringMatching(/^crm_sync_log_/),
    ]);
  });

  test('keeps what another contact is known by, if an id means that one by now', async () => {
    const { organisationId, reapit, ottoline, duplicate, barnaby, hers } = await agencyWithOttoline(pool);
    const landlord = hers.find((text) => text.startsWith('LANDLORD')) as string;
    await pool.query(
      "delete from contact_external_ids where organisation_id = $1 and contact_id = $2 and provider = 'reapit'",
      [organisationId, barnaby],
    );
    await log(pool, reapit, [{ externalId: landlord, internalId: barnaby, error: 'It failed before.' }]);
    await contactExternalIdRepoint(pool, {
      organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalId: landlord,
      fromContactId: ottoline,
      toContactId: barnaby,
    });
    await log(pool, reapit, [
      { externalId: landlord, internalId: barnaby },
      { externalId: landlord, error: 'It failed since.' },
    ]);
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(await remains(hers.filter((text) => text !== landlord))).toEqual({});
    const places = await placesOf(pool, landlord);
    expect(places.map((place) => place.split(' ')[0])).toEqual([
      'contact_external_ids',
      'crm_sync_failures',
      ...Array(3).fill(monthName(0)),
    ]);
    expect(places.slice(2).join()).toMatch(/It failed before.*It failed since/);
    expect(places.join()).not.toContain(ottoline);
  });

  test('of one account leaves the person with the same id in another', async () => {
    const { organisationId, ottoline, duplicate, barnaby, hers } = await agencyWithOttoline(pool);
    const archived = hers.find((text) => text.startsWith('ARCHIVED')) as string;
    const record = { organisationId, provider: 'alto', entityType: 'contact', externalId: archived } as const;
    await contactExternalIdLink(pool, { ...record, contactId: barnaby });
    const { rows } = await pool.query(
      "select id from crm_connections where organisation_id = $1 and account = 'second'",
      [organisationId],
    );
    const second = { organisationId, connectionId: rows[0].id as string };
    await log(pool, second, [
      { externalId: archived, error: 'Before he was linked.', occurredAt: '2026-01-01T00:00:00Z' },
    ]);
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    const places = await placesOf(pool, archived);
    expect(places.map((place) => place.split(' ')[0])).toEqual([
      'contact_external_ids',
      expect.stringMatching(/^crm_sync_log_/),
    ]);
    // The record of the other account is linked as before, and can be linked anew.
    await pool.query('delete from contact_external_ids where external_id = $1', [archived]);
    await contactExternalIdLink(pool, { ...record, contactId: barnaby });
    expect(await placesOf(pool, archived)).toHaveLength(2);
  });

  test('whose contact the host has deleted before is erased as well', async () => {
    const { organisationId, ottoline, duplicate, hers } = await agencyWithOttoline(pool);
    await pool.query('delete from contacts where id = any($1)', [[ottoline, duplicate]]);
    expect(await placesOf(pool, ottoline)).not.toEqual([]);
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(await remains(hers)).toEqual({});
  });

  test('is not named by a record of another person that was merged into one of theirs', async () => {
    const { organisationId, ottoline, duplicate } = await agencyWithOttoline(pool);
    const cosima = await addContact(organisationId);
    const [given, survivor] = ['GIVEN-AWAY', 'SURVIVOR'].map((name) => `${name}-${organisationId}`) as [
      string,
      string,
    ];
    const record = (externalId: string) => ({ entityType: 'contact', externalId });
    for (const externalId of [survivor, given]) {
      await contactExternalIdLinkMany(pool, {
        organisationId,
        links: [{ provider: 'reapit', ...record(externalId), contactId: ottoline }],
        ifContactTaken: 'alias',
      });
    }
    await externalRecordMergeMany(pool, {
      organisationId,
      provider: 'reapit',
      merges: [{ from: record(given), into: record(survivor) }],
    });
    await contactExternalIdRepoint(pool, {
      organisationId,
      provider: 'reapit',
      ...record(given),
      fromContactId: ottoline,
      toContactId: cosima,
    });
    // The same in the archive of another account, without any history.
    await pool.query(
      `insert into contact_external_id_archive (organisation_id, connection_id, entity_type, external_id, contact_id, is_primary, first_seen_at, last_seen_at, remote_state, merged_into_entity_type, merged_into_external_id)
       select $1, id, 'contact', archived.external_id, archived.contact_id, false, now(), now(), archived.state, archived.into_type, archived.into_id
       from crm_connections
       cross join (values
         ('OTHERS-7', $3::uuid, 'merged', 'contact', $2),
         ($2, $4, 'active', null, null)
       ) as archived (external_id, contact_id, state, into_type, into_id)
       where organisation_id = $1 and account = 'first'`,
      [organisationId, `ARCHIVED-SURVIVOR-${organisationId}`, cosima, ottoline],
    );
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(await remains([survivor, `ARCHIVED-SURVIVOR-${organisationId}`])).toEqual({});
    // What is Cosima's stays hers.
    expect((await placesOf(pool, given)).map((place) => place.split(' ')[0])).toEqual([
      'contact_external_id_aliases',
    ]);
    expect(await placesOf(pool, 'OTHERS-7')).toHaveLength(1);
  });

  test('is not named by an event of another person to whom one of the records was refused', async () => {
    await pool.query('select crm_sync_log_ensure_partitions(3)');
    const { organisationId, reapit, ottoline, duplicate, hers } = await agencyWithOttoline(pool);
    const cosima = await addContact(organisationId);
    const landlord = hers.find((text) => text.startsWith('LANDLORD')) as string;
    const refused = { externalId: landlord, internalId: cosima, error: `${landlord} is somebody else's.` };
    const { rows: times } = await pool.query(`select ${month(3)} as "then"`);
    await log(pool, reapit, [refused, { ...refused, occurredAt: times[0].then }]);
    await pool.query(`alter table crm_sync_log detach partition ${monthName(3)}`);
    const ofCosima = async () =>
      (await placesOf(pool, cosima)).filter((place) => place.startsWith('crm_sync_log_')).length;
    const before = await ofCosima();
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(await remains(hers)).toEqual({});
    expect(await ofCosima()).toBe(before);
    await pool.query(`drop table ${monthName(3)}`);
  });

  test('in a detached month is erased there', async () => {
    await pool.query('select crm_sync_log_ensure_partitions(3)');
    const { organisationId, reapit, ottoline, duplicate, hers } = await agencyWithOttoline(pool);
    await pool.query(
      `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status)
       select $1, $2, at, 'inbound', 'contact', id, contact_id, 'success'
       from (values (${month(2)}, 'ONLYHERE-1', $3::uuid), (${month(2)}, 'ONLYHERE-1', null)) as event (at, id, contact_id)`,
      [organisationId, reapit.connectionId, ottoline],
    );
    await pool.query(`alter table crm_sync_log detach partition ${monthName(2)}`);
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(await remains([...hers, 'ONLYHERE-1'])).toEqual({});
    const { rows } = await pool.query(`select count(*)::integer as kept from ${monthName(2)}`);
    expect(rows).toEqual([{ kept: 2 }]);
    await pool.query(`drop table ${monthName(2)}`);
  });

  test('is not erased while a detached month cannot be searched, which the error names', async () => {
    const { organisationId, ottoline, duplicate } = await agencyWithOttoline(pool);
    await rolledBack(pool, async (client) => {
      await client.query('create table crm_sync_log_2019_03 (internal_id uuid)');
      await expectRefused(eraseContacts(client, organisationId, [ottoline, duplicate]), {
        code: 'CRM01',
        message: 'detached months cannot be searched: public.crm_sync_log_2019_03',
      });
    });
    await rolledBack(pool, async (client) => {
      await client.query(
        'create table crm_sync_log_2019_05 (like crm_sync_log) partition by range (occurred_at)',
      );
      await expectRefused(eraseContacts(client, organisationId, [ottoline, duplicate]), {
        code: 'CRM01',
        message: 'detached months cannot be searched: public.crm_sync_log_2019_05',
      });
    });
    await rolledBack(pool, async (client) => {
      await client.query('create table crm_sync_log_2019_04 (like crm_sync_log)');
      await client.query('alter table crm_sync_log_2019_04 owner to crm_reader');
      await expectRefused(eraseContacts(client, organisationId, [ottoline, duplicate]), {
        code: 'CRM01',
        message: 'detached months cannot be searched: public.crm_sync_log_2019_04',
      });
    });
    expect(await placesOf(pool, ottoline)).not.toEqual([]);
  });

  test('leaves a proof without personal data', async () => {
    const { organisationId, ottoline, duplicate } = await agencyWithOttoline(pool);
    const { erasureId, counts } = await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    expect(counts).toEqual({
      crm_sync_runs: 0,
      crm_sync_log: 7,
      crm_sync_failures: 2,
      crm_outbound_changes: 1,
      crm_record_requests: 1,
      crm_sync_conflicts: 1,
      crm_connections: 1,
      contact_external_ids: 1,
      contact_external_id_aliases: 4,
      contact_external_id_archive: 1,
      contact_external_id_changes: expect.any(Number),
    });
    const { rows } = await pool.query(
      'select organisation_id, id, subject, cardinality(subject_hashes) as hashes, counts from crm_erasures where organisation_id = $1',
      [organisationId],
    );
    expect(rows).toEqual([
      { organisation_id: organisationId, id: erasureId, subject: 'contact', hashes: 2, counts },
    ]);
  });

  test('moves the position of a fill to the contact before', async () => {
    const { organisationId, reapit, ottoline, duplicate } = await agencyWithOttoline(pool);
    const { rows: before } = await pool.query(
      'select max(id::text) as id from contacts where organisation_id = $1 and id < $2 and id <> $3',
      [organisationId, ottoline, duplicate],
    );
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    const { rows } = await pool.query('select fill_contact_id as id from crm_connections where id = $1', [
      reapit.connectionId,
    ]);
    expect(rows).toEqual(before);
  });
});

describe('the call', () => {
  test('is refused unless it names everyone who was merged into the person', async () => {
    const { organisationId, ottoline, duplicate } = await agencyWithOttoline(pool);
    const { rows } = await pool.query('select contact_id as id from crm_contact_lineage($1, $2)', [
      organisationId,
      [ottoline],
    ]);
    expect(rows.map(({ id }) => id).sort()).toEqual([ottoline, duplicate].sort());
    await expectRefused(eraseContacts(pool, organisationId, [ottoline]), {
      code: '40001',
      message: expect.stringContaining(duplicate),
    });
    await expectRefused(eraseContacts(pool, organisationId, [duplicate]), {
      code: 'CRM04',
      message: `the contact was merged into ${ottoline}`,
    });
    expect(await placesOf(pool, duplicate)).not.toEqual([]);
  });

  test.each([
    ['organisation', [null, [''], [''], 'key', 'salt']],
    ['contact', ['o', [], [], 'key', 'salt']],
  ])('is refused without %s', async (_, given) => {
    const parameters = (given as unknown[]).map((value) =>
      value === 'o' ? '00000000-0000-4000-8000-000000000000' : value === 'salt' ? Buffer.alloc(32) : value,
    );
    const uuids = (parameters[1] as string[]).map(() => '00000000-0000-4000-8000-000000000000');
    await expectRefused(
      pool.query('select crm_erase_contact($1, $2, $2, $3, $4, $5)', [
        parameters[0],
        uuids,
        uuids.map(() => Buffer.alloc(32)),
        ...parameters.slice(3),
      ]),
      { code: 'CRM04' },
    );
  });

  test('is refused if the salt of a key changes', async () => {
    const { organisationId, ottoline, duplicate } = await agencyWithOttoline(pool);
    const call = (salt: Buffer) =>
      pool.query('select crm_erase_contact($1, $2, $2, $3, $4, $5)', [
        organisationId,
        [ottoline, duplicate],
        [Buffer.alloc(32), Buffer.alloc(32)],
        '0123456789abcdef',
        salt,
      ]);
    await call(Buffer.alloc(32, 1));
    await expectRefused(call(Buffer.alloc(32, 2)), { code: 'CRM04' });
  });

  test('is refused at REPEATABLE READ, where it would not see what a batch has just written', async () => {
    const { organisationId, ottoline, duplicate } = await agencyWithOttoline(pool);
    await rolledBack(pool, async (client) => {
      await client.query('set transaction isolation level repeatable read');
      await expectRefused(eraseContacts(client, organisationId, [ottoline, duplicate]), { code: '0A000' });
    });
  });

  test('erases nothing of a contact with the same id in another organisation', async () => {
    const { ottoline, duplicate, hers } = await agencyWithOttoline(pool);
    const other = await agencyWithOttoline(pool);
    const before = (await placesOf(pool, ottoline)).length;
    await eraseContacts(pool, other.organisationId, [ottoline, duplicate]);
    expect(await placesOf(pool, ottoline)).toHaveLength(before);
    for (const text of [...hers, ...other.hers]) expect(await placesOf(pool, text)).not.toEqual([]);
  });
});

describe('a batch in flight', () => {
  test('is refused afterwards, writes nothing of the person, and its connection is due at once', async () => {
    const { organisationId, ottoline, duplicate, hers, reapit } = await agencyWithOttoline(pool);
    await pool.query("update crm_connections set next_sync_at = now() + interval '1 day'");
    await makeDue(pool, reapit);
    const run = await claimOne(pool);
    await eraseContacts(pool, organisationId, [ottoline, duplicate]);
    await expect(
      syncBatchRecord(pool, {
        ...run,
        batchNumber: 1,
        events: [
          {
            direction: 'inbound',
            entityType: 'contact',
            externalId: hers[2] as string,
            internalId: ottoline,
            status: 'success',
            linksContact: true,
          },
        ],
      }),
    ).rejects.toMatchObject({ code: 'lease_lost' });
    expect(await remains(hers)).toEqual({});
    const { rows } = await pool.query(
      'select next_sync_at <= now() as "isDue" from crm_connections where id = $1',
      [reapit.connectionId],
    );
    expect(rows).toEqual([{ isDue: true }]);
  });

  test('that holds the connection is waited for, and then erased', async () => {
    const { organisationId, ottoline, duplicate, hers, reapit } = await agencyWithOttoline(pool);
    await pool.query("update crm_connections set next_sync_at = now() + interval '1 day'");
    await makeDue(pool, reapit);
    const run = await claimOne(pool);
    const worker = await pool.connect();
    try {
      await worker.query('begin');
      await syncBatchRecord(worker, {
        ...run,
        batchNumber: 1,
        events: [
          {
            direction: 'inbound',
            entityType: 'contact',
            externalId: 'INFLIGHT-1',
            internalId: ottoline,
            status: 'success',
          },
        ],
      });
      const erasing = eraseContacts(pool, organisationId, [ottoline, duplicate]);
      await worker.query('select pg_sleep(0.3)');
      await worker.query('commit');
      expect(await erasing).toMatchObject({ counts: { crm_sync_runs: 1 } });
    } finally {
      worker.release();
    }
    expect(await remains([...hers, 'INFLIGHT-1'])).toEqual({});
  });
});

test('an erasure again erases what was logged since without a lease', async () => {
  const { organisationId, ottoline, duplicate, hers, reapit } = await agencyWithOttoline(pool);
  await eraseContacts(pool, organisationId, [ottoline, duplicate]);
  await log(pool, reapit, [{ internalId: ottoline, externalId: hers[2] as string }]);
  expect(await placesOf(pool, ottoline)).not.toEqual([]);
  await eraseContacts(pool, organisationId, [ottoline, duplicate]);
  expect(await remains(hers)).toEqual({});
  await connect(pool, organisationId, 'loop');
});
