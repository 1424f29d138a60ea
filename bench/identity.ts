import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type pg from 'pg';
import { busyAgency, loadAgencies, loadMappings, settle } from '../dev/busy-database/index.js';
import {
  connectionConnect,
  connectionDisconnect,
  contactExternalIdMatchMany,
  contactExternalIdUnlinkMany,
  contactMerge,
  externalRecordCheckMany,
  externalRecordMergeMany,
} from '../src/index.js';
import { encryptCredentials } from '../test/support/credentials.js';

const calls = 15;
const switchedIds = 50_000;
const provider = 'reapit';

/**
 * Measures the calls of identity on a million mappings and a hundred thousand aliases, as the application under
 * row-level security, in an agency that has 30 % of them. Each call is rolled back. Prints the median duration.
 */
export async function measureIdentity(client: pg.ClientBase): Promise<void> {
  await client.query("set session_replication_role = 'replica'");
  const nobody = '00000000-0000-4000-8000-000000000000';
  const credentials = await encryptCredentials({ organisationId: nobody, connectionId: nobody, provider });
  await loadAgencies(client, { agencies: 20_000, mappings: 1_000_000 }, credentials);
  await loadMappings(client);
  await client.query("set session_replication_role = 'origin'");
  const switching = await createAgency(client);
  await client.query('grant select, update on contacts to crm_app');
  await settle(client);

  const { organisationId, contacts } = await someContacts(client);
  const landlords = contacts.slice(0, 100);
  const record = (entityType: string, externalId = '') => ({ entityType, externalId });
  const externalIds = contacts.map(({ externalId }) => externalId);
  const links = landlords.map(({ contactId, externalId }) => ({
    ...record('contact', externalId),
    provider,
    contactId,
  })) as Parameters<typeof contactExternalIdUnlinkMany>[1]['links'][number][];
  const merges = landlords.map(({ externalId }) => ({
    from: record('contact', externalId),
    into: record('landlord', externalId),
  }));
  const [from, into] = landlords.map(({ contactId }) => contactId) as [string, string];
  const check = (entityType: string) =>
    externalRecordCheckMany(client, {
      organisationId,
      provider,
      records: externalIds.map((externalId) => ({ ...record(entityType, externalId), version: '"1"' })),
    });
  const work: Record<string, () => Promise<unknown>> = {
    'look up 500 ids': () =>
      contactExternalIdMatchMany(client, { organisationId, provider, entityType: 'contact', externalIds }),
    'check 500 records that are known': () => check('contact'),
    'check 500 records that are unknown': () => check('vendor'),
    'merge two contacts': () =>
      contactMerge(client, { organisationId, fromContactId: from, intoContactId: into }),
    'record 100 merges at the CRM': () =>
      externalRecordMergeMany(client, { organisationId, provider, merges }),
    'unlink an id, promote an alias': () =>
      contactExternalIdUnlinkMany(client, { organisationId, links: links.slice(0, 1) }),
    'unlink 100 ids, promote 100 aliases': () =>
      contactExternalIdUnlinkMany(client, { organisationId, links }),
  };
  for (const [name, call] of Object.entries(work)) {
    const costs: Cost[] = [];
    for (let count = 0; count < calls; count += 1) {
      costs.push(await asApplication(client, organisationId, call, 'rollback'));
    }
    print(name, costs);
  }

  let connectionId = await connect(client, switching, 'AAA');
  await linkAll(client, switching);
  for (const [name, account] of [
    [`connect another account: archive ${switchedIds} ids`, 'BBB'],
    [`connect the first again: restore ${switchedIds} ids`, 'AAA'],
  ] as const) {
    await connectionDisconnect(client, { organisationId: switching, connectionId });
    const reconnect = async () => {
      connectionId = await connect(client, switching, account);
    };
    print(name, [await asApplication(client, switching, reconnect, 'commit')]);
  }
}

/** What a call took, in milliseconds. */
interface Cost {
  duration: number;
  processor: number;
}

/** Runs one call in a transaction of the application. */
async function asApplication(
  client: pg.ClientBase,
  organisationId: string,
  call: () => Promise<unknown>,
  end: 'commit' | 'rollback',
): Promise<Cost> {
  await client.query('begin');
  await client.query("select set_config('crm_schema.organisation_id', $1, true)", [organisationId]);
  await client.query('set local role crm_app');
  const { rows } = await client.query('select pg_backend_pid() as pid');
  const processorBefore = await processorTime(rows[0].pid);
  const start = process.hrtime.bigint();
  await call();
  const duration = Number(process.hrtime.bigint() - start) / 1e6;
  const processor = (await processorTime(rows[0].pid)) - processorBefore;
  await client.query(end);
  return { duration, processor };
}

/** The processor time of a server process so far, in milliseconds; NaN if the system does not tell. */
async function processorTime(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/schedstat`, 'utf8').catch(() => '');
  return Number.parseInt(status, 10) / 1e6;
}

function print(name: string, costs: readonly Cost[]): void {
  const median = (part: keyof Cost) => {
    const values = costs.map((cost) => cost[part]).toSorted((one, other) => one - other);
    const milliseconds = values[Math.floor(values.length / 2)] as number;
    return `${milliseconds.toFixed(milliseconds < 100 ? 1 : 0).padStart(8)} ms`;
  };
  console.log(`${name.padEnd(50)} ${median('duration')}   processor ${median('processor')}`);
}

/** 500 contacts of the busy agency, each with a primary id and an alias. */
async function someContacts(client: pg.ClientBase) {
  const { rows } = await client.query<{ organisationId: string; contactId: string; externalId: string }>(
    `select
       organisation_id as "organisationId",
       contact_id as "contactId",
       external_id as "externalId"
     from contact_external_id_aliases
     where organisation_id = (select organisation_id from agency where number = $1)
     order by md5(external_id)
     limit 500`,
    [busyAgency],
  );
  return { organisationId: rows[0]?.organisationId ?? '', contacts: rows };
}

/** Creates an agency with contacts, and returns its id. */
async function createAgency(client: pg.ClientBase): Promise<string> {
  const organisationId = randomUUID();
  await client.query("insert into organisations (id, name) values ($1, 'Bench Agency')", [organisationId]);
  await client.query(
    `insert into contacts (id, organisation_id, name)
     select gen_random_uuid(), $1, 'Bench Person' from generate_series(1, $2::integer)`,
    [organisationId, switchedIds],
  );
  return organisationId;
}

async function connect(client: pg.ClientBase, organisationId: string, account: string): Promise<string> {
  const key = { organisationId, connectionId: randomUUID(), provider } as const;
  await connectionConnect(client, { ...key, account, credentials: await encryptCredentials(key) });
  return key.connectionId;
}

/** Links each contact of an agency to an id. */
async function linkAll(client: pg.ClientBase, organisationId: string): Promise<void> {
  await client.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select organisation_id, $2, 'contact', id, id from contacts where organisation_id = $1`,
    [organisationId, provider],
  );
}
