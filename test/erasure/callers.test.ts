import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectionDisconnect, connectionSetAccount, contactExternalIdLink } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { eraseContacts } from '../support/erasure.js';
import { useMember } from '../support/roles.js';

// Who may ask whether a record was an erased person's: the functions that answer run as their owner.

const database = useDatabase();
const { pool } = database;
const app = useMember(database, 'crm_app');

/** Runs a statement as a member of crm_app with this organisation set, or none, and takes it back. */
async function asApp(set: string | null, sql: string, values: unknown[]): Promise<pg.QueryResult> {
  const client = await app.connect();
  try {
    await client.query('begin');
    if (set !== null) await client.query('select crm_set_organisation($1)', [set]);
    return await client.query(sql, values);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

describe('a SECURITY DEFINER function of the host, which runs as a member of crm_worker', () => {
  const owner = `crm_test_${randomBytes(6).toString('hex')}`;
  beforeAll(async () => {
    await pool.query(`create role ${owner}`);
    await pool.query(`grant crm_worker to ${owner}`);
    await pool.query(`grant select, update on contacts to ${owner}`);
    for (const [name, statement] of [
      [
        'host_link',
        `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
         values (organisation, 'reapit', 'contact', id, contact)`,
      ],
      [
        'host_unlink',
        'delete from contact_external_ids where organisation_id = organisation and contact_id = contact and external_id = id',
      ],
    ]) {
      await pool.query(
        `create function ${name}(organisation uuid, contact uuid, id text) returns bigint
         language sql security definer set search_path = public, pg_temp
         as $$ with changed as (${statement} returning 1) select count(*) from changed $$`,
      );
      await pool.query(`alter function ${name} owner to ${owner}`);
    }
  });
  afterAll(async () => {
    await pool.query(`drop owned by ${owner}`);
    await pool.query(`drop role ${owner}`);
  });

  test('links and unlinks ids for an application that has set no organisation, if nobody was erased there', async () => {
    const { organisationId, contactIds } = await createTenant(pool, 1);
    await connect(pool, organisationId, 'reapit');
    const link = await asApp(null, 'select host_link($1, $2, $3) as rows', [
      organisationId,
      contactIds[0],
      'OXF1',
    ]);
    expect(link.rows).toEqual([{ rows: '1' }]);
    await contactExternalIdLink(pool, {
      organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalId: 'OXF2',
      contactId: contactIds[0] as string,
    });
    const unlink = await asApp(null, 'select host_unlink($1, $2, $3) as rows', [
      organisationId,
      contactIds[0],
      'OXF2',
    ]);
    expect(unlink.rows).toEqual([{ rows: '1' }]);
  });

  test('links no record of an erased person for an application that has set no organisation', async () => {
    const { organisationId, contactIds } = await createTenant(pool, 2);
    const [ottoline, barnaby] = contactIds as [string, string];
    await connect(pool, organisationId, 'reapit');
    await contactExternalIdLink(pool, {
      organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalId: 'OXF3',
      contactId: ottoline,
    });
    await eraseContacts(pool, organisationId, [ottoline]);
    await expect(
      asApp(null, 'select host_link($1, $2, $3)', [organisationId, barnaby, 'OXF3']),
    ).rejects.toMatchObject({ code: 'CRM05' });
    const set = await asApp(organisationId, 'select host_link($1, $2, $3) as rows', [
      organisationId,
      barnaby,
      'OXF3',
    ]);
    expect(set.rows).toEqual([{ rows: '0' }]);
  });
});

test.each(['another', 'none'])(
  'crm_note_unlinked_record refuses every id of an organisation alike while %s is set',
  async (set) => {
    const { organisationId, contactIds } = await createTenant(pool, 2);
    const [ottoline, barnaby] = contactIds as [string, string];
    const reused = { organisationId, provider: 'alto', entityType: 'contact', externalId: 'REUSED' } as const;
    const first = await connect(pool, organisationId, 'alto');
    await connectionSetAccount(pool, { ...first, account: 'first' });
    await contactExternalIdLink(pool, { ...reused, contactId: ottoline });
    await connectionDisconnect(pool, first);
    const second = await connect(pool, organisationId, 'alto');
    await connectionSetAccount(pool, { ...second, account: 'second' });
    await contactExternalIdLink(pool, { ...reused, contactId: barnaby });
    await eraseContacts(pool, organisationId, [ottoline]);

    const other = set === 'none' ? null : (await createTenant(pool, 1)).organisationId;
    const note = (caller: string | null, id: string) =>
      asApp(caller, "select crm_note_unlinked_record($1, 'alto', 'contact', $2)", [organisationId, id]);
    for (const id of ['REUSED', 'NOBODYS']) {
      await expect(note(other, id)).rejects.toMatchObject({ code: 'CRM05' });
      await note(organisationId, id);
    }
  },
);
