import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { syncErrorKinds } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { type QueryName, queries, queryNames } from './every-query.js';

const { pool } = useDatabase();

interface Expectation {
  /** The indexes that the plan may go through. */
  indexes: string[];
  /** At most so many buffers are touched: a bound that a plan through the wrong index breaks. */
  buffers: number;
  /** What may be read from its beginning, where the query wants all of it or any rows of it. */
  scanned?: string[];
}

const liveConnection = {
  // An organisation has at most six live connections, so either key will do.
  indexes: ['crm_connections_pkey', 'crm_connections_organisation_id_provider_live_key'],
  buffers: 60,
};
/** A run that is open is found by either key. */
const runs = ['crm_sync_runs_pkey', 'crm_sync_runs_connection_id_open_key'];
/** The open run of a connection, found and locked by whoever holds it. */
const heldRun = [...liveConnection.indexes, ...runs];
const failures = [
  'crm_sync_failures_pkey',
  'crm_sync_failures_kind_idx',
  'crm_sync_failures_next_attempt_at_idx',
  'crm_sync_failures_gave_up_at_idx',
];
const changes = ['crm_outbound_changes_pkey', 'crm_outbound_changes_next_attempt_at_idx'];
const mappings = [
  'contact_external_ids_pkey',
  'contact_external_ids_contact_id_provider_key',
  'contacts_organisation_id_id_key',
  'contacts_pkey',
];

/** What each query's comment says of its index, held against the planner. */
const expectations: Record<QueryName, Expectation> = {
  connectionAdvanceLastSyncedAt: { indexes: ['crm_connections_pkey'], buffers: 60 },
  connectionConnect: { indexes: [], buffers: 100 },
  connectionDisconnect: { indexes: heldRun, buffers: 60 },
  // 20,000 failures and as many changes, all deleted.
  connectionDropWork: { indexes: ['crm_connections_pkey', ...failures, ...changes], buffers: 250_000 },
  connectionGet: { indexes: ['crm_connections_pkey'], buffers: 10 },
  connectionGetCredentials: liveConnection,
  connectionGetLive: { indexes: ['crm_connections_organisation_id_provider_live_key'], buffers: 10 },
  connectionListTotals: { indexes: [], buffers: 800, scanned: ['crm_connections'] },
  connectionListWithHealth: {
    indexes: [
      'crm_connections_pkey',
      'crm_sync_log_pkey',
      'crm_sync_log_status_connection_id_idx',
      ...runs,
      ...failures,
      ...changes,
    ],
    // A thousand failures, given-up records and changes each are counted.
    buffers: 2000,
  },
  connectionRequestSync: { indexes: heldRun, buffers: 60 },
  connectionResetLastSyncedAt: { indexes: [...liveConnection.indexes, 'crm_sync_cursors_pkey'], buffers: 60 },
  connectionSetStatus: liveConnection,
  connectionSetSyncInterval: liveConnection,
  connectionTotalWork: {
    indexes: ['crm_sync_runs_expires_at_idx', ...failures, ...changes],
    buffers: 3000,
    scanned: ['crm_sync_failures', 'crm_outbound_changes'],
  },
  credentialsCountByKey: { indexes: ['crm_connections_credentials_key_id_idx'], buffers: 60 },
  credentialsListByKey: {
    indexes: ['crm_connections_pkey', 'crm_connections_credentials_key_id_idx'],
    buffers: 60,
  },
  credentialsReplace: liveConnection,
  credentialsRewrap: liveConnection,
  contactExternalIdLink: { indexes: mappings, buffers: 100 },
  contactExternalIdListByContacts: {
    indexes: ['contact_external_ids_contact_id_provider_key'],
    buffers: 10,
  },
  contactExternalIdRepoint: { indexes: mappings, buffers: 100 },
  contactExternalIdResolve: { indexes: ['contact_external_ids_pkey'], buffers: 10 },
  contactExternalIdUnlink: { indexes: mappings, buffers: 60 },
  organisationSet: { indexes: [], buffers: 20 },
  outboundChangeAnnounce: {
    indexes: [
      'crm_outbound_changes_connection_id_new_idx',
      'crm_sync_runs_expires_at_idx',
      ...changes,
      ...heldRun,
    ],
    // A hundred changes of the busy agency are announced, each by itself.
    buffers: 5000,
  },
  outboundChangeClaim: { indexes: [...changes, ...heldRun], buffers: 1500 },
  outboundChangeListWaiting: { indexes: [...changes, ...failures], buffers: 20 },
  outboundChangeRecord: { indexes: liveConnection.indexes, buffers: 100 },
  syncBatchRecord: {
    indexes: [...heldRun, ...mappings, ...failures, ...changes, 'crm_sync_cursors_pkey'],
    buffers: 200,
  },
  syncCursorForget: { indexes: [...liveConnection.indexes, 'crm_sync_cursors_pkey'], buffers: 20 },
  syncCursorList: { indexes: ['crm_sync_cursors_pkey'], buffers: 20 },
  syncCursorReset: { indexes: [...liveConnection.indexes, 'crm_sync_cursors_pkey'], buffers: 60 },
  syncFailureClaim: { indexes: [...failures, ...heldRun], buffers: 1500 },
  // Ten kinds, up to 1,000 of each.
  syncFailureCountByKind: { indexes: ['crm_sync_failures_kind_idx'], buffers: 5000 },
  syncFailureList: { indexes: ['crm_sync_failures_kind_idx'], buffers: 700 },
  syncFailureReplay: { indexes: [...failures, ...heldRun], buffers: 1500 },
  syncLogCountErrorsByKind: { indexes: ['crm_sync_log_status_connection_id_idx'], buffers: 500 },
  syncLogListByConnection: { indexes: ['crm_sync_log_pkey'], buffers: 80 },
  syncLogListByContact: { indexes: ['crm_sync_log_internal_id_idx', 'crm_connections_pkey'], buffers: 200 },
  syncLogListFailures: { indexes: ['crm_sync_log_status_connection_id_idx'], buffers: 80 },
  syncLogRecord: { indexes: [], buffers: 100 },
  syncRunClaim: {
    // The few open runs are found by any index that holds no others.
    indexes: [
      'crm_connections_next_sync_at_idx',
      'crm_sync_runs_expires_at_idx',
      'crm_connections_pkey',
      ...runs,
    ],
    buffers: 1000,
  },
  syncRunFinish: { indexes: [...heldRun, 'crm_sync_cursors_pkey'], buffers: 200 },
  syncRunHeartbeat: { indexes: heldRun, buffers: 60 },
  // A page of 50 runs, which are on as many pages of the table.
  syncRunListByConnection: { indexes: ['crm_sync_runs_pkey'], buffers: 80 },
  syncRunPurge: { indexes: ['crm_sync_runs_ended_at_idx', 'crm_sync_runs_pkey'], buffers: 700 },
  syncRunSweep: {
    indexes: ['crm_sync_runs_expires_at_idx', 'crm_connections_pkey', ...runs],
    buffers: 1000,
  },
};

/** Midnight so many days after the start of this month, so that events fill three partitions. */
function dayOfThisMonth(daysLater: number): string {
  const now = new Date();
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1 + daysLater)).toISOString();
}

/** The values that stand for each parameter, filled in once the data is there. */
const values: Record<string, unknown> = {
  provider: 'reapit',
  entityType: 'contact',
  externalId: 'OXF7',
  status: 'error',
  reason: 'The API key was revoked.',
  lastSyncedAt: dayOfThisMonth(70),
  failuresSince: dayOfThisMonth(50),
  since: dayOfThisMonth(50),
  beforeOccurredAt: dayOfThisMonth(60),
  beforeId: '1000000',
  limit: 50,
  credentialsExpiresAt: null,
  credentialsVersion: 1,
  worker: 'test',
  leaseSeconds: 60,
  outcome: 'success',
  error: null,
  retryAfterSeconds: null,
  isUrgent: false,
  syncIntervalSeconds: 60,
  endedBefore: dayOfThisMonth(-80),
  credentialsVersions: [1],
  keyId: 'test-key-1',
  afterOrganisationId: '00000000-0000-0000-0000-000000000000',
  afterConnectionId: '00000000-0000-0000-0000-000000000000',
  externalIds: ['OXF7'],
  providers: ['reapit'],
  entityTypes: ['contact'],
  occurredAts: [dayOfThisMonth(60)],
  directions: ['inbound'],
  statuses: ['success'],
  errors: [null],
  hasMore: false,
  batchNumber: 1,
  retryAfters: [null],
  areLinks: [true],
  changeVersions: [null],
  cursorDirections: ['inbound'],
  cursorEntityTypes: ['contact'],
  cursorVersions: [1],
  cursorKinds: ['timestamp'],
  cursorSyncedTos: [dayOfThisMonth(70)],
  cursorTokens: [null],
  cursorPages: [null],
  direction: 'inbound',
  fromConnectionId: null,
  kinds: syncErrorKinds,
  // Two days of the failures, of which there is one every other minute.
  failedFrom: dayOfThisMonth(10),
  failedBefore: dayOfThisMonth(11),
  beforeLastFailedAt: dayOfThisMonth(20),
};

/** What some queries take in place of the values above. */
const special: Partial<Record<QueryName, Record<string, unknown>>> = {};

/**
 * Three months of a busy agency among 300 small ones: 60,000 events, of which one in twenty failed, and
 * 30,000 mappings; enough for the planner to prefer an index wherever one fits.
 */
beforeAll(async () => {
  const { organisationId, contactIds } = await createTenant(pool, 20_000);
  const { connectionId } = await connect(pool, organisationId, 'reapit');
  await pool.query(
    `with agency as (
       insert into organisations (id, name)
       select gen_random_uuid(), 'Small Agency' from generate_series(1, 300)
       returning id
     )
     insert into crm_connections (organisation_id, id, provider, credentials)
     select agency.id, connection.id, 'reapit', credentials || jsonb_build_object('aad', crm_credentials_aad(agency.id, connection.id, 'reapit'))
     from agency
     -- Mentions the agency, so that each gets an id of its own.
     cross join lateral (select gen_random_uuid() as id, agency.id as agency_id offset 0) as connection
     cross join (select credentials from crm_connections limit 1) as template`,
  );
  await pool.query(
    `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status, error)
     select
       connection.organisation_id,
       connection.id,
       $3::timestamptz + number * interval '2 minutes',
       'inbound',
       'contact',
       'OXF' || number % 20000,
       case when connection.organisation_id = $1 then ($2::uuid[])[1 + number % 20000] end,
       case when number % 20 = 0 then 'error' else 'success' end,
       case when number % 20 = 0 then '{"kind": "timeout", "retryable": true, "message": "No answer."}'::jsonb end
     from generate_series(1, 60000) as number
     inner join (
       select organisation_id, id, row_number() over (order by organisation_id <> $1) as position from crm_connections
     ) as connection
       on connection.position = case when number % 3 > 0 then 1 else 2 + number % 300 end`,
    [organisationId, contactIds, dayOfThisMonth(0)],
  );
  await pool.query(
    `with other as (
       insert into contacts (id, organisation_id, name)
       select gen_random_uuid(), organisation_id, 'Test Person' from crm_connections, generate_series(1, 33)
       where organisation_id <> $1
       returning id, organisation_id
     )
     insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select organisation_id, 'reapit', 'contact', 'OXF' || row_number() over (partition by organisation_id), id
     from (
       select organisation_id, id from other
       union all
       select $1::uuid, unnest($2::uuid[])
     ) as contact`,
    [organisationId, contactIds],
  );
  // Three thousand more that are quiet. A hundred runs of one connection in ten, of which five are open and
  // one has expired; ten connections are due.
  await pool.query(
    `with agency as (
       insert into organisations (id, name)
       select gen_random_uuid(), 'Quiet Agency' from generate_series(1, 3000)
       returning id
     )
     insert into crm_connections (organisation_id, id, provider, credentials)
     select agency.id, connection.id, 'reapit', credentials || jsonb_build_object('aad', crm_credentials_aad(agency.id, connection.id, 'reapit'))
     from agency
     cross join lateral (select gen_random_uuid() as id, agency.id as agency_id offset 0) as connection
     cross join (select credentials from crm_connections limit 1) as template`,
  );
  await pool.query(
    `insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at, ended_at, outcome)
     select
       organisation_id,
       id,
       'test',
       $1::timestamptz + number * interval '1 day',
       $1::timestamptz + number * interval '1 day',
       case when number = 0 then now() + case when position = 1 then interval '-1 hour' else interval '1 hour' end
         else $1::timestamptz + number * interval '1 day' + interval '5 minutes' end,
       case when number > 0 then $1::timestamptz + number * interval '1 day' + interval '1 minute' end,
       case when number > 0 then 'success' end
     from (
       select organisation_id, id, row_number() over (order by organisation_id <> $2, id) as position
       from crm_connections
     ) as connection
     cross join generate_series(0, 100) as number
     where position <= 300 and (number > 0 or position <= 5)`,
    [dayOfThisMonth(-100), organisationId],
  );
  await pool.query(
    `update crm_connections set next_sync_at = now() + interval '1 day'
     where id not in (select id from crm_connections order by id limit 10)`,
  );
  // Of the busy agency 20,000 records fail, of all kinds, one in ten is given up and one in a hundred is
  // due; as many contacts wait to be pushed, of which one in a hundred is not announced; of 300 others, 30.
  await pool.query(
    `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at, gave_up_at)
     select
       connection.organisation_id,
       connection.id,
       case when number % 2 = 0 then 'outbound' else 'inbound' end,
       'contact',
       case when number % 2 = 0 then gen_random_uuid()::text else 'OXF' || number end,
       1 + number % 10,
       jsonb_build_object('kind', ($2::text[])[1 + number % 10], 'retryable', true, 'message', 'No answer.'),
       $3::timestamptz,
       $3::timestamptz + number * interval '2 minutes',
       case when number % 11 <> 0 then now() + case when number % 100 = 1 then interval '-1 hour' else interval '1 hour' end end,
       case when number % 11 = 0 then now() end
     from (
       select organisation_id, id, row_number() over (order by organisation_id <> $1, id) as position
       from crm_connections
     ) as connection
     cross join lateral generate_series(1, case when position = 1 then 20000 else 30 end) as number
     where position <= 300`,
    [organisationId, syncErrorKinds, dayOfThisMonth(0)],
  );
  await pool.query(
    `insert into crm_outbound_changes (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at, is_announced)
     select
       contacts.organisation_id,
       contacts.id,
       connection.id,
       $1::timestamptz,
       $1::timestamptz + number * interval '1 minute',
       now() + case when number % 100 = 0 then interval '-1 hour' else interval '1 hour' end,
       number % 100 <> 0
     from (
       select organisation_id, id, row_number() over () as number from contacts
     ) as contacts
     inner join crm_connections as connection on connection.organisation_id = contacts.organisation_id`,
    [dayOfThisMonth(0)],
  );
  await pool.query(
    `insert into crm_sync_cursors (organisation_id, connection_id, direction, entity_type, kind, synced_to_at, moved_at)
     select organisation_id, id, direction, entity_type, 'timestamp', $1, now()
     from crm_connections
     cross join unnest(array['inbound', 'outbound']) as direction
     cross join unnest(array['contact', 'landlord', 'applicant']) as entity_type`,
    [dayOfThisMonth(0)],
  );
  // Only what is flushed counts as visible to all, which is what reading an index alone depends on.
  await pool.query('checkpoint');
  await pool.query(
    'vacuum crm_connections, crm_sync_runs, crm_sync_failures, crm_outbound_changes, crm_sync_cursors',
  );
  await pool.query('analyze');
  const { rows } = await pool.query(
    "select contact_id from contact_external_ids where organisation_id = $1 and external_id = 'OXF7'",
    [organisationId],
  );
  const openRun = await pool.query(
    'select id from crm_sync_runs where organisation_id = $1 and connection_id = $2 order by id desc limit 1',
    [organisationId, connectionId],
  );
  const newId = randomUUID();
  special.connectionConnect = {
    connectionId: newId,
    provider: 'loop',
    credentials: await encryptCredentials({ organisationId, connectionId: newId, provider: 'loop' }),
  };
  const credentials = await encryptCredentials({ organisationId, connectionId, provider: 'reapit' });
  special.credentialsReplace = { credentials };
  special.credentialsRewrap = {
    organisationIds: [organisationId],
    connectionIds: [connectionId],
    credentials: [credentials],
  };
  Object.assign(values, {
    organisationId,
    connectionId,
    connectionIds: [connectionId],
    runId: openRun.rows[0].id,
    contactId: contactIds[0],
    contactIds: [contactIds[0]],
    internalIds: [contactIds[0]],
    fromContactIds: [rows[0].contact_id],
    toContactIds: [rows[0].contact_id],
  });
});

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Shared Hit Blocks'?: number;
  'Shared Read Blocks'?: number;
  'Actual Loops'?: number;
  Plans?: PlanNode[];
}

function allNodes(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(allNodes)];
}

/** How many buffers a node and those below it touched. */
function touched(node: PlanNode): number {
  return (node['Shared Hit Blocks'] ?? 0) + (node['Shared Read Blocks'] ?? 0);
}

/** Runs a query as the server does it for a prepared statement, undoes it, and returns how it went. */
async function explain(client: pg.ClientBase, name: QueryName, mode: string): Promise<PlanNode> {
  const { text, parameterNames } = queries[name];
  const given = { ...values, ...special[name] };
  const params = parameterNames.map((parameter) => given[parameter]);
  await client.query('begin');
  try {
    await client.query(`set local plan_cache_mode = '${mode}'`);
    const result = await client.query(`explain (analyze, buffers, format json) ${text}`, params);
    return result.rows[0]['QUERY PLAN'][0].Plan;
  } finally {
    await client.query('rollback');
  }
}

describe.each(['force_generic_plan', 'force_custom_plan'])('with %s', (mode) => {
  test.each(queryNames)('%s goes through its index and touches few pages', async (name) => {
    const client = await pool.connect();
    try {
      const plan = await explain(client, name, mode);
      const nodes = allNodes(plan).filter((node) => node['Actual Loops'] !== 0);
      // A partition with nothing in it has no page to go through.
      const scanned = nodes.filter(
        (node) => node['Node Type'] === 'Seq Scan' && node['Relation Name'] !== undefined,
      );
      const { rows: filled } = await client.query('select relname from pg_class where relpages > 0');
      const filledNames = filled.map(({ relname }) => relname);
      const allowed = expectations[name].scanned ?? [];
      expect(
        scanned
          .map((node) => node['Relation Name'] as string)
          .filter((relation) => filledNames.includes(relation) && !allowed.includes(relation)),
      ).toEqual([]);

      const { rows: used } = await client.query(
        `select distinct coalesce(parent.relname, index.relname) as name
         from pg_class as index
         left join pg_inherits on inhrelid = index.oid
         left join pg_class as parent on parent.oid = inhparent
         where index.relkind in ('i', 'I') and index.relname = any($1)
         order by 1`,
        [nodes.flatMap((node) => node['Index Name'] ?? [])],
      );
      const { indexes, buffers } = expectations[name];
      expect(indexes).toEqual(expect.arrayContaining(used.map((row) => row.name)));
      if (allowed.length === 0) expect(used.length > 0).toBe(indexes.length > 0);
      // What writes and is not read runs after the plan’s root, which does not count it.
      expect(Math.max(...nodes.map(touched))).toBeLessThan(buffers);
    } finally {
      client.release();
    }
  });
});

describe('of a large connection without a failure', () => {
  test.each(['connectionListWithHealth', 'syncLogListFailures', 'syncLogCountErrorsByKind'] as const)(
    '%s does not read the log for what is not there',
    async (name) => {
      const { organisationId } = await createTenant(pool);
      const { connectionId } = await connect(pool, organisationId, 'alto');
      const client = await pool.connect();
      const before = { ...values };
      try {
        await client.query(
          `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, status)
           select $1, $2, $3::timestamptz + number * interval '1 minute', 'inbound', 'contact', 'success'
           from generate_series(1, 20000) as number`,
          [organisationId, connectionId, dayOfThisMonth(0)],
        );
        await client.query('analyze');
        Object.assign(values, { organisationId, connectionId });
        for (const mode of ['force_generic_plan', 'force_custom_plan']) {
          const plan = await explain(client, name, mode);
          expect(touched(plan)).toBeLessThan(100);
        }
      } finally {
        Object.assign(values, before);
        client.release();
      }
    },
  );
});

test('every index on our tables serves a query or a constraint', async () => {
  const { rows } = await pool.query(
    `select index.relname as name
     from pg_index
     inner join pg_class as index on index.oid = indexrelid
     inner join pg_class as heap on heap.oid = indrelid
     where (heap.relname ~ '^crm_' and not heap.relispartition or heap.relname = 'contact_external_ids')
       and not indisunique`,
  );
  const used = new Set(Object.values(expectations).flatMap(({ indexes }) => indexes));
  expect(rows.map(({ name }) => name).filter((name) => !used.has(name))).toEqual([]);
});
