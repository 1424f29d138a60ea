import { readdir, readFile } from 'node:fs/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { machines, pictures, readRooms, readTransitions } from '../../dev/pictures.js';
import { credentialsConnect } from '../../src/credentials.js';
import * as api from '../../src/index.js';
import {
  type BatchEvent,
  type ClaimedRun,
  type ConnectionKey,
  connectionDisconnect,
  connectionGet,
  connectionPause,
  connectionRequestSync,
  connectionSetStatus,
  connectionStatuses,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  externalRecordMergeMany,
  type Queryable,
  type RemoteState,
  remoteStates,
  type SyncErrorKind,
  syncBatchRecord,
  syncFailureClaim,
  syncFailureDismiss,
  syncFailureList,
  syncFailureReplay,
  syncFailureReplayByIds,
  syncRunClaim,
  syncRunFinish,
  syncRunHeartbeat,
  syncRunOutcomes,
  syncRunPurge,
  syncRunSweep,
} from '../../src/index.js';
import { atNine, type Clock } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const database = useDatabase();

test('the pictures in docs/architecture are fresh', async () => {
  const client = await database.pool.connect();
  onTestFinished(() => client.release());
  const fresh = await pictures(client);
  expect((await readdir(projectPath('docs/architecture'))).toSorted()).toEqual([...fresh.keys()].toSorted());
  for (const [name, svg] of fresh) {
    // Refresh with: npm run pictures
    expect(await readFile(projectPath(`docs/architecture/${name}`), 'utf8'), name).toBe(svg);
  }
});

test('the picture of an event names functions and tables that exist', async () => {
  const dot = await readFile(projectPath('dev/pictures/event.dot'), 'utf8');
  const schema = await readFile(projectPath('schema.sql'), 'utf8');
  const names = [...dot.replaceAll('\\n', ' ').matchAll(/\b(?:[a-z]+[A-Z]\w+|(?:crm|contact)_\w+)\b/g)].map(
    ([name]) => name,
  );
  expect(names.length).toBeGreaterThan(10);
  for (const name of names) {
    if (name.includes('_')) expect(schema).toContain(`CREATE TABLE public.${name} (`);
    else expect(api).toHaveProperty(name);
  }
});

test('the states in docs/architecture.md are those in src/types.ts and in the constraints', async () => {
  const statesOf = async (name: keyof typeof machines) => {
    const transitions = await readTransitions(machines[name]);
    return [...new Set(transitions.flatMap(({ from, to }) => [...from, to ?? []].flat()))].toSorted();
  };
  expect(await statesOf('connection')).toEqual(connectionStatuses.toSorted());
  expect(await statesOf('run')).toEqual(['open', 'expired', ...syncRunOutcomes].toSorted());
  expect(await statesOf('failure')).toEqual(['dismissed', 'given up', 'retrying']);
  expect(await statesOf('record')).toEqual(remoteStates.toSorted());
  expect(await readFile(projectPath('schema.sql'), 'utf8')).toContain(
    'crm_sync_failures_one_state_check CHECK ((num_nonnulls(next_attempt_at, gave_up_at, dismissed_at) = 1))',
  );
});

test('the rooms in docs/architecture.md are the folders of src', async () => {
  const entries = await readdir(projectPath('src'), { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const rooms = (await readRooms()).map(({ name }) => name);
  expect([...rooms, 'generated'].toSorted()).toEqual(folders.toSorted());
});

test('the rooms in docs/architecture.md may import what .dependency-cruiser.mjs allows', async () => {
  const path = projectPath('.dependency-cruiser.mjs');
  const { default: config } = await import(path);
  const allowed = (room: string): string[] => {
    const rule = config.forbidden.find(({ name }: { name: string }) => name === `direction-of-${room}`);
    const [, names = ''] = /^\^src\/\((.*)\)\/$/.exec(rule?.to.pathNot[0]) ?? [];
    return names.split('|').filter((name) => name !== room && name !== 'generated');
  };
  for (const { name, mayImport } of await readRooms()) {
    expect(mayImport.toSorted(), name).toEqual(allowed(name).toSorted());
  }
});

const stageRecord = { entityType: 'contact', externalId: 'OXF18000001' } as const;

/** A connection on a clock, and its run once it has one. */
class Stage {
  readonly clock: Clock;
  key!: ConnectionKey;
  run!: ClaimedRun;
  contactId!: string;
  #batchNumber = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  get client() {
    return this.clock.client;
  }

  async newTenant(): Promise<string> {
    const { organisationId, contactIds } = await createTenant(this.client, 1);
    this.contactId = contactIds[0] as string;
    return organisationId;
  }

  async connect(): Promise<void> {
    this.key = await connect(this.client, await this.newTenant());
  }

  /** What links the one record that this stage has to its contact. */
  get link() {
    const { key, contactId } = this;
    return { organisationId: key.organisationId, ...stageRecord, provider: 'reapit', contactId } as const;
  }

  async claim(leaseSeconds = 300): Promise<void> {
    await connectionRequestSync(this.client, {
      organisationId: this.key.organisationId,
      connectionIds: [this.key.connectionId],
      isUrgent: true,
    });
    const runs = await syncRunClaim(this.client, { worker: 'test', limit: 1000, leaseSeconds });
    const run = runs.find(({ connectionId }) => connectionId === this.key.connectionId);
    this.run = run ?? expect.unreachable('not claimed');
    this.#batchNumber = 0;
  }

  /** Records an event of the one record that this stage has. */
  async record(
    event: 'success' | 'retryable' | 'final',
    news?: Pick<BatchEvent, 'internalId' | 'linksContact' | 'remoteState'>,
    kind: SyncErrorKind = 'internal',
  ): Promise<void> {
    const record = { direction: 'inbound', ...stageRecord } as const;
    const error = { kind, retryable: event === 'retryable', message: 'Test.' } as const;
    const events: BatchEvent[] = [
      event === 'success' ? { ...record, status: 'success', ...news } : { ...record, status: 'error', error },
    ];
    this.#batchNumber += 1;
    await syncBatchRecord(this.client, { ...this.run, batchNumber: this.#batchNumber, events });
  }

  async column(statement: string, values: readonly string[]): Promise<string | undefined> {
    return (await this.client.query({ text: statement, values: [...values] })).rows[0]?.state;
  }
}

type Step = (stage: Stage) => Promise<unknown>;

const disconnect: Step = ({ client, key }) => connectionDisconnect(client, key);
const error = { kind: 'auth', retryable: false, message: 'Test.' } as const;
const finish = {
  success: ({ client, run }: Stage) => syncRunFinish(client, { ...run, outcome: 'success' }),
  failed: ({ client, run }: Stage) => syncRunFinish(client, { ...run, outcome: 'failed', error }),
  cancelled: ({ client, run }: Stage) => syncRunFinish(client, { ...run, outcome: 'cancelled' }),
};
const connectAndClaim: Step = async (stage) => {
  await stage.connect();
  await stage.claim();
};
const letExpire: Step = ({ clock }) => clock.pass(301);

const link: Step = async (stage) => {
  if (stage.run === undefined) await connectAndClaim(stage);
  await contactExternalIdLink(stage.client, stage.link);
};
const report =
  (remoteState: Exclude<RemoteState, 'merged'>): Step =>
  (stage) =>
    stage.record('success', { remoteState });
const mergeRecords: Step = async (stage) => {
  const { organisationId, ...record } = stage.link;
  const survivor = { ...record, externalId: 'OXF18000002' };
  await contactExternalIdLinkMany(stage.client, {
    organisationId,
    links: [survivor],
    ifContactTaken: 'alias',
  });
  const merges = [{ from: record, into: survivor }];
  await externalRecordMergeMany(stage.client, { organisationId, provider: 'reapit', merges });
};

const failureIds = async (client: Queryable, key: ConnectionKey) =>
  (await syncFailureList(client, key)).map(({ id }) => id);
const dismiss: Step = async ({ client, key }) => {
  const decision = { ids: await failureIds(client, key), reason: 'Test.', dismissedBy: 'support' };
  expect(await syncFailureDismiss(client, { ...key, ...decision })).toEqual({ dismissed: 1 });
};

interface Machine {
  /** How a row gets into a state. */
  enter: Record<string, Step[]>;
  /** What calls a function, for transitions to a state where that matters. */
  call(name: string, to: string | undefined, from: string | undefined): Step[];
  state(stage: Stage): Promise<string | undefined>;
}

const drivers: Record<keyof typeof machines, Machine> = {
  connection: {
    enter: {
      active: [(stage) => stage.connect()],
      error: [
        (stage) => stage.connect(),
        ({ client, key }) => connectionSetStatus(client, { ...key, status: 'error', reason: 'Test.' }),
      ],
    },
    call: (name, to) =>
      (
        ({
          connectionConnect: [(stage) => stage.connect()],
          credentialsConnect: [
            async (stage) => {
              const organisationId = await stage.newTenant();
              const credentials = sampleCredentials.street;
              const params = { organisationId, provider: 'street', credentials } as const;
              const created = await credentialsConnect(stage.client, await testKeyRing(), params);
              stage.key = { organisationId, ...created };
            },
          ],
          connectionSetStatus: [
            ({ client, key }) =>
              connectionSetStatus(
                client,
                to === 'error' ? { ...key, status: 'error', reason: 'Test.' } : { ...key, status: 'active' },
              ),
          ],
          syncRunFinish: [(stage) => stage.claim(), to === 'error' ? finish.failed : finish.success],
          syncRunSweep: Array.from({ length: 5 }, () => async (stage) => {
            await stage.claim();
            await stage.clock.pass(1200);
            await syncRunSweep(stage.client);
          }),
          connectionDisconnect: [disconnect],
        }) as Record<string, Step[]>
      )[name] ?? [],
    state: async ({ client, key }) => (await connectionGet(client, key))?.status,
  },
  run: {
    enter: {
      open: [connectAndClaim],
      expired: [connectAndClaim, letExpire],
      success: [connectAndClaim, finish.success],
      failed: [connectAndClaim, finish.failed],
      cancelled: [connectAndClaim, finish.cancelled],
      abandoned: [connectAndClaim, letExpire, ({ client }) => syncRunSweep(client)],
    },
    call: (name, to) =>
      (
        ({
          '': [letExpire],
          syncRunClaim:
            to === 'open' ? [connectAndClaim] : [({ client }) => syncRunClaim(client, { worker: 'test' })],
          syncRunHeartbeat: [({ client, run }) => syncRunHeartbeat(client, run)],
          syncBatchRecord: [(stage) => stage.record('success')],
          syncRunFinish: [finish[to as keyof typeof finish]],
          syncRunSweep: [({ client }) => syncRunSweep(client)],
          connectionDisconnect: [disconnect],
          connectionPause: [({ client, key }) => connectionPause(client, key)],
          syncRunPurge: [({ client }) => syncRunPurge(client, { endedBefore: '2026-11-17T00:00:00Z' })],
        }) as Record<string, Step[]>
      )[name] ?? [],
    state: (stage) =>
      stage.column(
        `select coalesce(outcome, case when expires_at > crm_now() then 'open' else 'expired' end) as state
         from crm_sync_runs where organisation_id = $1 and connection_id = $2 and id = $3`,
        [stage.run.organisationId, stage.run.connectionId, stage.run.runId],
      ),
  },
  failure: {
    enter: {
      retrying: [connectAndClaim, (stage) => stage.record('retryable')],
      'given up': [connectAndClaim, (stage) => stage.record('final')],
      dismissed: [connectAndClaim, (stage) => stage.record('final'), dismiss],
    },
    call: (name, to, from) =>
      (
        ({
          syncBatchRecord: [
            async (stage) => {
              if (stage.run === undefined) await connectAndClaim(stage);
              const events = { retrying: 'retryable', 'given up': 'final' } as const;
              const event = to === 'dismissed' ? 'final' : (events[to as keyof typeof events] ?? 'success');
              // What ends a dismissal is another error.
              await stage.record(event, {}, from === 'dismissed' && to !== from ? 'validation' : 'internal');
            },
          ],
          syncFailureClaim: [
            ({ clock }) => clock.pass(250),
            async ({ client, run }) => expect(await syncFailureClaim(client, run)).toHaveLength(1),
          ],
          syncFailureReplay: [
            async ({ client, key }) => {
              const window = { failedFrom: '2026-11-16T00:00:00Z', failedBefore: '2026-11-17T00:00:00Z' };
              expect(await syncFailureReplay(client, { ...key, ...window })).toEqual({ replayed: 1 });
            },
          ],
          syncFailureReplayByIds: [
            async ({ client, key }) => {
              const ids = await failureIds(client, key);
              expect(await syncFailureReplayByIds(client, { ...key, ids })).toEqual({ replayed: 1 });
            },
          ],
          syncFailureDismiss: [dismiss],
          connectionDisconnect: [disconnect],
        }) as Record<string, Step[]>
      )[name] ?? [],
    state: (stage) =>
      stage.column(
        `select case
           when next_attempt_at is not null then 'retrying'
           when gave_up_at is not null then 'given up'
           else 'dismissed'
         end as state
         from crm_sync_failures where organisation_id = $1 and connection_id = $2`,
        [stage.key.organisationId, stage.key.connectionId],
      ),
  },
  record: {
    enter: {
      active: [link],
      archived: [link, report('archived')],
      hidden: [link, report('hidden')],
      deleted: [link, report('deleted')],
      merged: [link, mergeRecords],
    },
    call: (name, to) =>
      (
        ({
          contactExternalIdLink: [link],
          syncBatchRecord: [
            async (stage) => {
              if (stage.run !== undefined) return report(to as Exclude<RemoteState, 'merged'>)(stage);
              await connectAndClaim(stage);
              await stage.record('success', { internalId: stage.contactId, linksContact: true });
            },
          ],
          externalRecordMergeMany: [mergeRecords],
        }) as Record<string, Step[]>
      )[name] ?? [],
    state: (stage) =>
      stage.column(
        `select remote_state as state from contact_external_records
         where organisation_id = $1 and external_id = $2`,
        [stage.key.organisationId, stageRecord.externalId],
      ),
  },
};

describe.each(Object.keys(machines) as (keyof typeof machines)[])('the state of a %s', async (name) => {
  const { enter, call, state } = drivers[name];
  const rows = (await readTransitions(machines[name])).flatMap(({ from, to, functions }) =>
    (from.length > 0 ? from : [undefined]).flatMap((start) =>
      (functions.length > 0 ? functions : ['']).map((caller) => ({
        name: `goes from ${start ?? 'no row'} to ${to ?? 'no row'} by ${caller || 'time'}`,
        start,
        caller,
        to,
      })),
    ),
  );

  test.each(rows)('$name', async ({ start, caller, to }) => {
    await atNine(database.url, async (_, clock) => {
      const stage = new Stage(clock);
      for (const step of start === undefined ? [] : (enter[start] ?? [])) await step(stage);
      if (start !== undefined) expect(await state(stage)).toBe(start);
      const steps = call(caller, to, start);
      expect(steps.length).toBeGreaterThan(0);
      for (const step of steps) await step(stage);
      expect(await state(stage)).toBe(to);
    });
  });
});
