import { randomBytes, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { rolledBack, useDatabase } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';
import { expectRefused } from '../support/refusals.js';
import { useMember } from '../support/roles.js';
import { type Agency, agencyWithOttoline } from './agency.js';
import { asOwner, giveAllTo } from './owner.js';

// The log is append-only for everybody but the functions that erase. Each of these tries another way round that.

const database = useDatabase();
const { pool } = database;
const members = {
  crm_app: useMember(database, 'crm_app'),
  crm_worker: useMember(database, 'crm_worker'),
  crm_reader: useMember(database, 'crm_reader'),
};

const appendOnly = { code: 'CRM02', message: expect.stringContaining('append-only') };
const forbidden = { code: '42501' };
const forge = "set crm_schema.erasing = 'on'";

let agency: Agency;

beforeAll(async () => {
  agency = await agencyWithOttoline(pool);
});

/** Expects a statement to fail, and leaves the transaction as it was. */
async function refused(client: pg.PoolClient, sql: string, fields: object): Promise<void> {
  await client.query('savepoint attempt');
  await expectRefused(client.query(sql), fields);
  await client.query('rollback to attempt');
}

describe.each(Object.entries(members))('%s', (role, member) => {
  test('may not call the functions that erase, or list what they erase', async () => {
    const { organisationId, ottoline, duplicate } = agency;
    await expectRefused(eraseContacts(member, organisationId, [ottoline, duplicate]), forbidden);
    await expectRefused(
      member.query('select crm_contact_records($1, $2)', [organisationId, [ottoline]]),
      forbidden,
    );
    await expectRefused(member.query('select crm_sync_log_tables()'), forbidden);
  });

  test('may not change the log with the setting forged', async () => {
    await rolledBack(member, async (client) => {
      await client.query(forge);
      await refused(client, 'update crm_sync_log set internal_id = null', forbidden);
      await refused(client, 'delete from crm_sync_log', forbidden);
      await refused(client, 'truncate crm_sync_log', forbidden);
    });
  });

  test('reads neither salts nor hashes, and writes no proof', async () => {
    for (const table of ['crm_erasure_salts', 'crm_erased_records']) {
      await expectRefused(member.query(`select * from ${table}`), forbidden);
      await expectRefused(member.query(`delete from ${table}`), forbidden);
    }
    for (const sql of [
      'delete from crm_erasures',
      'update crm_erasures set counts = counts',
      "insert into crm_erasures (organisation_id, subject, key_id, subject_hashes, counts) values (gen_random_uuid(), 'contact', repeat('0', 16), '{1}', '{}')",
    ]) {
      await expectRefused(member.query(sql), forbidden);
    }
    expect(role).toMatch(/^crm_/);
  });
});

test('a role with every privilege, BYPASSRLS and the setting forged is refused', async () => {
  await rolledBack(pool, async (client) => {
    const role = `crm_strong_${randomBytes(4).toString('hex')}`;
    await client.query(`create role ${role} bypassrls; grant all on all tables in schema public to ${role}`);
    await client.query(`set local role ${role}`);
    await client.query(forge);
    await refused(client, 'update crm_sync_log set internal_id = null', appendOnly);
    await refused(client, 'delete from crm_sync_log', appendOnly);
    await refused(client, 'truncate crm_sync_log', appendOnly);
    await refused(
      client,
      `select crm_erase_contact('${agency.organisationId}', '{}', '{}', '{}', '', '')`,
      forbidden,
    );
  });
});

test('a function of another owner that turns the setting on is refused', async () => {
  await rolledBack(pool, async (client) => {
    const role = `crm_forger_${randomBytes(4).toString('hex')}`;
    await client.query(
      `create role ${role} bypassrls; grant all on all tables in schema public to ${role};
       create schema forgery; grant all on schema forgery to ${role};
       create function forgery.erase() returns void language sql security definer
       as $$ select set_config('crm_schema.erasing', 'on', true); delete from public.crm_sync_log $$;
       alter function forgery.erase() owner to ${role}`,
    );
    await refused(client, 'select forgery.erase()', appendOnly);
  });
});

test('a superuser who does not own the log is refused, with the setting forged', async () => {
  await rolledBack(pool, async (client) => {
    const owner = `crm_owner_${randomBytes(4).toString('hex')}`;
    await client.query(`create role ${owner}; grant create, usage on schema public to ${owner}`);
    await giveAllTo(client, owner);
    await client.query(forge);
    await refused(client, 'delete from crm_sync_log', appendOnly);
  });
});

describe('the owner of the log', () => {
  test('is refused by mistake, on the log and on each partition', async () => {
    await asOwner(pool, async (client) => {
      const { rows } = await client.query(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'crm_sync_log'::regclass",
      );
      for (const { name } of [{ name: 'crm_sync_log' }, ...rows]) {
        await refused(client, `truncate ${name}`, appendOnly);
      }
      await refused(client, 'update crm_sync_log set internal_id = null', appendOnly);
      await refused(client, 'delete from crm_sync_log', appendOnly);
    });
  });

  test('erases, and is refused later in the same transaction', async () => {
    const { organisationId, ottoline, duplicate } = agency;
    await asOwner(pool, async (client) => {
      await eraseContacts(client, organisationId, [ottoline, duplicate]);
      expect(await placesOf(client, ottoline)).toEqual([]);
      await refused(client, 'update crm_sync_log set internal_id = null', appendOnly);
      await refused(client, 'delete from crm_sync_log', appendOnly);
    });
  });

  test('is refused later in the same transaction if the erasure failed half-way', async () => {
    const { organisationId, ottoline, duplicate } = agency;
    await asOwner(pool, async (client) => {
      await client.query('savepoint attempt');
      await client.query('alter table crm_erasures add constraint none check (false) not valid');
      await expectRefused(eraseContacts(client, organisationId, [ottoline, duplicate]), { code: '23514' });
      await client.query('rollback to attempt');
      expect(await placesOf(client, ottoline)).not.toEqual([]);
      await refused(client, 'delete from crm_sync_log', appendOnly);
    });
  });

  test('truncates nothing, even with the setting forged', async () => {
    await asOwner(pool, async (client) => {
      await client.query(forge);
      await refused(client, 'truncate crm_sync_log', appendOnly);
    });
  });

  test('may be granted to the user that migrates, who then erases', async () => {
    const { organisationId, ottoline, duplicate } = agency;
    await asOwner(pool, async (client, owner) => {
      const migrator = `crm_migrator_${randomBytes(4).toString('hex')}`;
      await client.query('reset role');
      await client.query(
        `create role ${migrator}; grant ${owner} to ${migrator}; set local role ${migrator}`,
      );
      await eraseContacts(client, organisationId, [ottoline, duplicate]);
    });
  });
});

test('functions and operators that others create do not run within the erasure', async () => {
  const { organisationId, ottoline, duplicate } = agency;
  await rolledBack(pool, async (client) => {
    const planted = "language plpgsql as $$ begin raise exception 'planted'; end $$";
    await client.query(`create function public.sha256(bytea) returns bytea ${planted}`);
    await client.query(`create function public.jsonb_build_object(text, bigint) returns jsonb ${planted}`);
    await client.query(`create function public.crm_lock_contacts(text, text) returns void ${planted}`);
    await client.query('create temporary table crm_erasures (x integer)');
    await client.query('create temporary table crm_connections (x integer)');
    await eraseContacts(client, organisationId, [ottoline, duplicate]);
  });
});

test('a proof outlives the organisation', async () => {
  await rolledBack(pool, async (client) => {
    const gone = randomUUID();
    await eraseContacts(client, gone, [randomUUID()]);
    const { rows } = await client.query('select subject from crm_erasures where organisation_id = $1', [
      gone,
    ]);
    expect(rows).toEqual([{ subject: 'contact' }]);
  });
});
