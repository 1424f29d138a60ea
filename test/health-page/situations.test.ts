import { beforeAll, describe, expect, test } from 'vitest';
import { connectionStates, type SyncErrorKind, syncErrorKinds } from '../../src/index.js';
import { insert, useDatabase } from '../support/database.js';
import {
  type ConnectedAgency,
  connectedAgency,
  errorOf,
  insertRun,
  set,
  textOf,
  usePage,
} from './support.js';

const database = useDatabase();
const { pool } = database;
const page = usePage(database);

/** The lines of the first card: the CRM, the label, what is the case, what to do, and figures. */
async function card(agency: ConnectedAgency): Promise<string[]> {
  const text = await (await page.get('/', agency.organisationId)).text();
  const [, html = ''] = /<li class="card [^>]*>([\s\S]*?)<\/li>/.exec(text) ?? [];
  return textOf(html).split('\n');
}

/** Fails the last sync. */
async function fail(agency: ConnectedAgency, kind: SyncErrorKind): Promise<void> {
  await insertRun(pool, agency, { outcome: 'failed', error: errorOf(kind) });
  await set(pool, agency, "failure_count = 1, first_failed_at = '2026-11-16 09:28Z'");
}

async function putInError(agency: ConnectedAgency, kind: SyncErrorKind): Promise<void> {
  await fail(agency, kind);
  await set(
    pool,
    agency,
    "status = 'error', status_reason = 'Ask Reapit.', status_changed_at = '2026-11-16 09:28Z'",
  );
}

/** A state, how a connection gets into it, and the label and the two sentences that its card has. */
type State = [string, (agency: ConnectedAgency) => Promise<unknown>, string, string, string];

const nothing = 'What to do: Nothing.';
const forHours = 'What to do: Nothing. With many contacts this takes some hours, and you can go on working.';

const states: State[] = [
  ['in step', async () => {}, 'Connected', 'Your contacts are in step with Reapit.', nothing],
  [
    'syncing',
    (agency) => insertRun(pool, agency, null),
    'Syncing now',
    'We are syncing your contacts with Reapit.',
    nothing,
  ],
  [
    'pending: connected, and not synced yet',
    (agency) => set(pool, agency, 'last_success_at = null'),
    'Starting',
    'You have connected Reapit, and its first sync is about to begin.',
    'What to do: Nothing. It begins within a few minutes.',
  ],
  [
    'never synced, in its first sync',
    async (agency) => {
      await set(pool, agency, 'last_success_at = null');
      await insertRun(pool, agency, null);
    },
    'First sync',
    'We are reading your contacts from Reapit for the first time.',
    forHours,
  ],
  [
    'in a first fill',
    (agency) => set(pool, agency, "fill_started_at = '2026-11-16 08:00Z', filled_contacts = 1240"),
    'First copy under way',
    'We are copying your contacts to Reapit for the first time: 1,240 so far.',
    forHours,
  ],
  [
    'after a first fill',
    (agency) =>
      set(
        pool,
        agency,
        "fill_started_at = '2026-11-16 08:00Z', filled_contacts = 1240, fill_finished_at = '2026-11-16 09:00Z'",
      ),
    'Connected',
    'Your contacts are in step with Reapit.',
    nothing,
  ],
  [
    'an hour late',
    (agency) => set(pool, agency, "next_sync_at = '2026-11-16 08:30Z'"),
    'Sync is late',
    'The next sync with Reapit was due at 08:30 today, and has not begun.',
    'What to do: Nothing yet, and nothing is lost. If it has not begun in an hour, tell our support.',
  ],
  [
    'late, but syncing',
    async (agency) => {
      await set(pool, agency, "next_sync_at = '2026-11-16 08:30Z'");
      await insertRun(pool, agency, null);
    },
    'Syncing now',
    'We are syncing your contacts with Reapit.',
    nothing,
  ],
  [
    'paused until a time',
    (agency) => set(pool, agency, "paused_at = '2026-11-15 09:00Z', pause_ends_at = '2026-11-18 12:00Z'"),
    'Paused',
    'Syncing with Reapit is paused until 18 November, 12:00.',
    'What to do: Nothing: it resumes by itself. Until then, we keep what changes.',
  ],
  [
    'paused until somebody resumes it',
    (agency) => set(pool, agency, "paused_at = '2026-11-15 09:00Z'"),
    'Paused',
    'Somebody has paused syncing with Reapit.',
    'What to do: Resume it in your CRM settings when you are ready. Until then, we keep what changes.',
  ],
  [
    'paused, while it fails',
    async (agency) => {
      await fail(agency, 'timeout');
      await set(pool, agency, "paused_at = '2026-11-15 09:00Z'");
    },
    'Paused',
    'Somebody has paused syncing with Reapit.',
    'What to do: Resume it in your CRM settings when you are ready. Until then, we keep what changes.',
  ],
  [
    'disconnected',
    (agency) => disconnect(agency),
    'Disconnected',
    'Your contacts have not been synced with Reapit since 14 November, 10:00.',
    'What to do: To sync again, connect Reapit in your CRM settings.',
  ],
  [
    'disconnected, by a clock that was ahead',
    async (agency) => {
      await disconnect(agency);
      await set(pool, agency, "disconnected_at = '2026-11-20 10:00Z'");
    },
    'Disconnected',
    'Your contacts are no longer synced with Reapit.',
    'What to do: To sync again, connect Reapit in your CRM settings.',
  ],
  [
    'disconnected, with a token to revoke',
    (agency) => disconnect(agency, "revocation = 'pending', revoke_before_at = '2026-11-17 10:00Z'", false),
    'Disconnected',
    'Your contacts have not been synced with Reapit since 14 November, 10:00. We are about to give up our access there.',
    'What to do: To sync again, connect Reapit in your CRM settings.',
  ],
  [
    'disconnected, with changes that wait for a reconnect',
    async (agency) => {
      await waitForPush(agency);
      await disconnect(agency, "kept_changes = 'waiting', changes_expire_at = '2027-02-12 10:00Z'");
    },
    'Disconnected',
    'Your contacts have not been synced with Reapit since 14 November, 10:00.',
    'What to do: If you connect Reapit again by 12 February 2027, we will send it 3 changed contacts.',
  ],
  [
    'with a record that was given up',
    (agency) => failRecords(agency, 1, { gave_up_at: '2026-11-16T09:00:00Z' }),
    'Records to check',
    'Syncing works, but 1 record could not be synced with Reapit.',
    'What to do: See the records that still fail, each with what to do.',
  ],
  [
    'with more given-up records than are counted',
    (agency) => failRecords(agency, 1001, { gave_up_at: '2026-11-16T09:00:00Z' }),
    'Records to check',
    'Syncing works, but 1,000 or more records could not be synced with Reapit.',
    'What to do: See the records that still fail, each with what to do.',
  ],
  [
    'with records that are tried again',
    (agency) => failRecords(agency, 2, { next_attempt_at: '2026-11-16T09:40:00Z' }),
    'Connected',
    'Syncing works. We are trying again to sync 2 records with Reapit.',
    'What to do: Nothing. If we have to stop trying, it will say so here.',
  ],
  [
    'with a record that was edited on both sides',
    ({ organisationId, connectionId, contactIds }) =>
      insert(pool, 'crm_sync_conflicts', {
        organisation_id: organisationId,
        connection_id: connectionId,
        entity_type: 'contact',
        external_id: 'OXF1',
        contact_id: contactIds[0],
        kept: 'crm',
        first_seen_at: '2026-11-16T09:00:00Z',
        last_seen_at: '2026-11-16T09:00:00Z',
      }),
    'Edited on both sides',
    'Syncing works, but 1 record was edited both here and in Reapit.',
    'What to do: Compare both sides, and correct the one that is wrong.',
  ],
  [
    'refused, with credentials that have expired',
    async (agency) => {
      await putInError(agency, 'auth');
      await set(pool, agency, "credentials_expires_at = '2026-11-15 23:30Z'");
    },
    'Sign-in expired',
    'Our sign-in to Reapit expired on 15 November.',
    'What to do: Connect Reapit again in your CRM settings. Syncing then goes on where it stopped.',
  ],
  [
    'in step, with a token that has expired and will be refreshed',
    (agency) => set(pool, agency, "credentials_expires_at = '2026-11-15 23:30Z'"),
    'Connected',
    'Your contacts are in step with Reapit.',
    nothing,
  ],
  [
    'rate-limited for long enough to be in error',
    (agency) => putInError(agency, 'rate_limited'),
    'Slowed down',
    'Reapit has asked us to slow down.',
    'What to do: Nothing. We wait for as long as Reapit asks, and then go on by ourselves.',
  ],
  [
    'failing because its worker died',
    async (agency) => {
      await insertRun(pool, agency, { outcome: 'abandoned' });
      await set(pool, agency, "failure_count = 1, first_failed_at = '2026-11-16 09:28Z'");
    },
    'Last sync failed',
    'Something has gone wrong on our side.',
    'What to do: Nothing yet: we keep trying. If it has not been put right by tomorrow, tell our support.',
  ],
  [
    'put in error by somebody, after a sync that succeeded',
    async (agency) => {
      await insertRun(pool, agency, { outcome: 'success' });
      await set(pool, agency, "status = 'error', status_reason = 'Ask Reapit.'");
    },
    'Needs attention',
    'Syncing with Reapit has stopped.',
    'What to do: The reason says why. If it does not help, ask our support.',
  ],
];

async function disconnect(agency: ConnectedAgency, columns?: string, isWiped = true): Promise<void> {
  await set(
    pool,
    agency,
    `status = 'disconnected', disconnected_at = '2026-11-14 10:00Z'${isWiped ? ', credentials = null' : ''}${columns === undefined ? '' : `, ${columns}`}`,
  );
}

async function waitForPush({ organisationId, connectionId, contactIds }: ConnectedAgency): Promise<void> {
  await pool.query(
    `insert into crm_outbound_changes (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at)
     select $1, id, $2, now(), now(), now() from unnest($3::uuid[]) as id`,
    [organisationId, connectionId, contactIds],
  );
}

async function failRecords(
  { organisationId, connectionId }: ConnectedAgency,
  count: number,
  end: Record<string, string>,
): Promise<void> {
  const [[column, at]] = Object.entries(end) as [[string, string]];
  await pool.query(
    `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, ${column})
     select $1, $2, 'inbound', 'contact', 'R' || number, 1, $3, '2026-11-16 09:00Z', '2026-11-16 09:00Z', $4
     from generate_series(1, $5::integer) as number`,
    [organisationId, connectionId, errorOf('validation'), at, count],
  );
}

describe('the card of a connection that is', () => {
  test.each(states)('%s says so, and what to do', async (_, arrange, label, state, next) => {
    const agency = await connectedAgency(pool);
    await arrange(agency);
    expect((await card(agency)).slice(0, 4)).toEqual(['Reapit', label, state, next]);
  });
});

/** What a card says of each kind of error. */
const kinds: Record<SyncErrorKind, [state: string, next: string]> = {
  auth: [
    'Reapit no longer accepts our sign-in.',
    'Connect Reapit again in your CRM settings. Syncing then goes on where it stopped.',
  ],
  permission: [
    'Reapit no longer lets us read or change your contacts.',
    'Ask whoever manages Reapit at your agency to give NurtureHub access again. Syncing then resumes by itself.',
  ],
  rate_limited: [
    'Reapit has asked us to slow down.',
    'Nothing. We wait for as long as Reapit asks, and then go on by ourselves.',
  ],
  conflict: [
    'Records in Reapit contradict ours.',
    'Compare both sides of the records listed on this page, and correct the one that is wrong.',
  ],
  not_found: [
    'Reapit no longer has what we ask it for.',
    'Check that your account at Reapit still exists. If it does, tell our support.',
  ],
  validation: [
    'Reapit does not accept what we send.',
    'Correct the records listed on this page, and save them. We then send them again.',
  ],
  timeout: [
    'Reapit does not answer in time.',
    'Nothing yet: we keep trying. If this is still so tomorrow, ask the support of the CRM.',
  ],
  network: [
    'We cannot reach Reapit.',
    'Nothing yet: we keep trying. If this is still so tomorrow, ask the support of the CRM.',
  ],
  provider: [
    'Reapit reports a fault of its own.',
    'Nothing yet: we keep trying. If this is still so tomorrow, ask the support of the CRM.',
  ],
  internal: [
    'Something has gone wrong on our side.',
    'Nothing yet: we keep trying. If it has not been put right by tomorrow, tell our support.',
  ],
};

describe.each(syncErrorKinds)('after an error of kind %s,', (kind) => {
  const [state, next] = kinds[kind];

  test('the card of a failing connection says what is wrong, and what to do', async () => {
    const agency = await connectedAgency(pool);
    await fail(agency, kind);
    const label = kind === 'rate_limited' ? 'Slowed down' : 'Last sync failed';
    expect((await card(agency)).slice(1, 4)).toEqual([label, state, `What to do: ${next}`]);
  });

  test('the card of a connection in error also says since when, and the reason', async () => {
    const agency = await connectedAgency(pool);
    await putInError(agency, kind);
    const lines = await card(agency);
    const isSlow = kind === 'rate_limited';
    const since = isSlow ? '' : ' Syncs have failed since 09:28 today.';
    const label = isSlow ? 'Slowed down' : 'Needs attention';
    expect(lines.slice(1, 4)).toEqual([label, state + since, `What to do: ${next}`]);
    expect(lines.slice(4, 6)).toEqual(['Reason', 'Ask Reapit.']);
  });
});

test("the name of an agency's own CRM begins a sentence with a capital, and no other word", async () => {
  const agency = await connectedAgency(pool, { provider: 'custom' });
  await fail(agency, 'timeout');
  expect((await card(agency))[2]).toBe('Your own CRM does not answer in time.');
  const other = await connectedAgency(pool, { provider: 'custom' });
  await fail(other, 'network');
  expect((await card(other))[2]).toBe('We cannot reach your own CRM.');
});

describe('the first sentence', () => {
  let agency: ConnectedAgency;
  beforeAll(async () => {
    agency = await connectedAgency(pool);
    await connectedAgency(pool, { of: agency, provider: 'alto' });
  });
  const lead = async () => {
    const text = await (await page.get('/', agency.organisationId)).text();
    return textOf(/<p class="lead">.*?<\/p>/.exec(text)?.[0] ?? '');
  };

  test('says how many CRMs need attention, and lists those first', async () => {
    expect(await lead()).toBe('Everything is in step.');
    await fail(agency, 'timeout');
    expect(await lead()).toBe('Nothing needs your attention.');
    await set(pool, agency, "status = 'error', status_reason = 'Ask Reapit.'");
    expect(await lead()).toBe('1 of your 2 CRMs needs your attention.');
    expect((await card(agency))[0]).toBe('Reapit');
  });
});

test('every state of a connection has a card here', () => {
  // `active` is several cards; `failing` and `error` are each one for a kind of error.
  expect(connectionStates).toEqual(['active', 'failing', 'error', 'paused', 'disconnected']);
});
