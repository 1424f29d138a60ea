import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  connectionConnect,
  connectionDisconnect,
  connectionGetLive,
  contactExternalIdLinkMany,
  contactExternalIdRepoint,
  contactExternalIdResolve,
  contactExternalIdUnlink,
  contactMerge,
  contactMergeUndo,
  externalRecordMergeMany,
  syncBatchRecord,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

const provider = 'reapit';
const accounts = ['AAA', 'BBB'] as const;
const contactCount = 4;
const byHand = ['1', '2', '3', '4'];
/** Nobody links, unlinks or re-points these, or says that another was merged into them: a tombstone stays. */
const byCrmAlone = ['5', '6'];

const contact = fc.nat(contactCount - 1);
const externalId = fc.constantFrom(...byHand);
const anyId = fc.constantFrom(...byHand, ...byCrmAlone);
const step = fc.oneof(
  fc.record({ kind: fc.constant('link' as const), externalId, contact }),
  fc.record({ kind: fc.constant('unlink' as const), externalId }),
  fc.record({ kind: fc.constant('repoint' as const), externalId, to: contact }),
  fc.record({ kind: fc.constant('merge' as const), contact, to: contact }),
  fc.record({ kind: fc.constant('undo' as const) }),
  fc.record({ kind: fc.constant('mergeRecords' as const), from: anyId, into: externalId }),
  fc.record({ kind: fc.constant('delete' as const), externalId: anyId }),
  fc.record({ kind: fc.constant('revive' as const), externalId: fc.constantFrom(...byCrmAlone) }),
  fc.record({ kind: fc.constant('switch' as const), account: fc.constantFrom(...accounts) }),
);
type Step = (typeof step extends fc.Arbitrary<infer Value> ? Value : never) & object;

/** What a call may refuse because another worker came first. */
const refusals = new Set([
  'mapping_changed',
  'contact_taken',
  'wrong_tenant',
  'lease_lost',
  'live_connection_exists',
  'connection_not_live',
  'invalid_input',
]);

/** An organisation whose ids several workers change at once. */
class Agency {
  readonly organisationId: string;
  readonly contactIds: readonly string[];
  readonly merges: string[] = [];
  /** How often each kind of step had an effect. */
  readonly effects = new Map<string, number>();

  constructor({ organisationId, contactIds }: { organisationId: string; contactIds: readonly string[] }) {
    this.organisationId = organisationId;
    this.contactIds = contactIds;
  }

  /** Makes a step; nothing but a refusal may stop it. */
  async take(each: Step): Promise<void> {
    try {
      if (await this.#run(each)) this.effects.set(each.kind, (this.effects.get(each.kind) ?? 0) + 1);
    } catch (error) {
      if (!refusals.has((error as { code: string }).code)) throw error;
    }
  }

  /** Returns whether the step changed anything. */
  async #run(each: Step): Promise<boolean> {
    const { organisationId } = this;
    const idOf = (index: number) => this.contactIds[index] as string;
    const record = (id: string) => ({ provider, entityType: 'contact', externalId: id }) as const;
    switch (each.kind) {
      case 'link': {
        const links = [{ ...record(each.externalId), contactId: idOf(each.contact) }];
        const [linked] = await contactExternalIdLinkMany(pool, {
          organisationId,
          links,
          ifContactTaken: 'alias',
        });
        return linked?.outcome.startsWith('linked') === true;
      }
      case 'unlink': {
        const contactId = await this.#holderOf(each.externalId);
        if (contactId === null) return false;
        return contactExternalIdUnlink(pool, { organisationId, ...record(each.externalId), contactId });
      }
      case 'repoint': {
        const fromContactId = await this.#holderOf(each.externalId);
        if (fromContactId === null) return false;
        await contactExternalIdRepoint(pool, {
          organisationId,
          ...record(each.externalId),
          fromContactId,
          toContactId: idOf(each.to),
        });
        return true;
      }
      case 'merge': {
        const { operationId, records } = await contactMerge(pool, {
          organisationId,
          fromContactId: idOf(each.contact),
          intoContactId: idOf(each.to),
        });
        this.merges.push(operationId);
        return records.length > 0;
      }
      case 'undo': {
        const operationId = this.merges.pop();
        if (operationId === undefined) return false;
        return (await contactMergeUndo(pool, { organisationId, operationId })).outcome === 'undone';
      }
      case 'mergeRecords': {
        if (each.from === each.into) return false;
        const from = { entityType: 'contact', externalId: each.from };
        const into = { entityType: 'contact', externalId: each.into };
        const [merged] = await externalRecordMergeMany(pool, {
          organisationId,
          provider,
          merges: [{ from, into }],
        });
        return merged?.outcome === 'merged';
      }
      case 'delete':
        return this.#report(each.externalId, 'deleted');
      case 'revive':
        return this.#report(each.externalId, 'active');
      case 'switch': {
        const live = await connectionGetLive(pool, { organisationId, provider });
        if (live !== null) await connectionDisconnect(pool, live);
        return this.connect(each.account);
      }
    }
  }

  /** The contact that an id means now; another worker may change that at once. */
  #holderOf(id: string): Promise<string | null> {
    const { organisationId } = this;
    return contactExternalIdResolve(pool, {
      organisationId,
      provider,
      entityType: 'contact',
      externalId: id,
    });
  }

  /** Connects an account. Returns whether ids went to the archive or came back. */
  async connect(account: string): Promise<boolean> {
    const key = { organisationId: this.organisationId, connectionId: randomUUID() };
    const credentials = await encryptCredentials({ ...key, provider });
    const { archivedIds, restoredIds } = await connectionConnect(pool, {
      ...key,
      provider,
      credentials,
      account,
    });
    return archivedIds + restoredIds > 0;
  }

  /** Says in a run what the CRM says of a record. Does nothing if another worker has the connection. */
  async #report(id: string, remoteState: 'active' | 'deleted'): Promise<boolean> {
    const { organisationId } = this;
    await pool.query(
      "update crm_connections set next_sync_at = '2000-01-01' where organisation_id = $1 and status <> 'disconnected'",
      [organisationId],
    );
    const claimed = await syncRunClaim(pool, { worker: 'test', limit: 10 });
    let isDone = false;
    for (const run of claimed) {
      if (run.organisationId === organisationId) {
        const event = { direction: 'inbound', status: 'success', entityType: 'contact' } as const;
        const events = [{ ...event, externalId: id, remoteState }];
        isDone = (await syncBatchRecord(pool, { ...run, batchNumber: 1, events })).outcome === 'recorded';
      }
      await syncRunFinish(pool, { ...run, outcome: 'success' });
    }
    return isDone;
  }
}

/** The records of an organisation at the CRM, and those of its other account. */
async function recordsOf(organisationId: string) {
  const { rows } = await pool.query(
    `select coalesce(account, '') as account, external_id as id, contact_id, is_primary, remote_state as state,
       contacts.organisation_id = $1 is true as is_own
     from (
       select '' as account, external_id, contact_id, is_primary, remote_state
       from contact_external_records
       where organisation_id = $1
       union all
       select account, external_id, contact_id, is_primary, remote_state
       from contact_external_id_archive
       inner join crm_connections using (organisation_id)
       where organisation_id = $1
         and crm_connections.id = connection_id
     ) as record
     left join contacts
       on contacts.id = contact_id`,
    [organisationId],
  );
  return rows as {
    account: string;
    id: string;
    contact_id: string;
    is_primary: boolean;
    state: string;
    is_own: boolean;
  }[];
}

test('any sequence of links, unlinks, moves, merges, undos and changes of account, by three workers at once, keeps each id with one contact of its organisation, and each tombstone', async () => {
  const effects = new Map<string, number>();
  const workers = fc.array(fc.array(step, { maxLength: 8 }), { minLength: 3, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(workers, fc.array(step, { maxLength: 4 }), async (scripts, before) => {
      const agency = new Agency(await createTenant(pool, contactCount));
      const { organisationId, contactIds } = agency;
      await agency.connect('AAA');
      for (const [index, id] of [...byHand.slice(2), ...byCrmAlone].entries()) {
        const contactId = contactIds[index % 3] as string;
        const links = [{ provider, entityType: 'contact', externalId: id, contactId } as const];
        await contactExternalIdLinkMany(pool, { organisationId, links, ifContactTaken: 'alias' });
      }
      await agency.take({ kind: 'delete', externalId: '6' });
      for (const each of before) await agency.take(each);
      const isGone = ({ id, state }: { id: string; state: string }) =>
        byCrmAlone.includes(id) && (state === 'deleted' || state === 'merged');
      const tombstones = (await recordsOf(organisationId)).filter(isGone).map(({ id }) => id);

      await Promise.all(
        scripts.map(async (script) => {
          for (const each of script) await agency.take(each);
        }),
      );

      const records = await recordsOf(organisationId);
      for (const record of records) expect(record.is_own).toBe(true);
      const present = records.filter(({ account }) => account === '');
      expect(new Set(present.map(({ id }) => id)).size).toBe(present.length);
      // Each contact that has a record to push to has one primary id.
      for (const { contact_id } of present.filter(({ state }) => state !== 'merged')) {
        const primaries = present.filter((other) => other.contact_id === contact_id && other.is_primary);
        expect(primaries).toHaveLength(1);
      }
      expect(records.filter(isGone).map(({ id }) => id)).toEqual(expect.arrayContaining(tombstones));
      for (const [kind, count] of agency.effects) effects.set(kind, (effects.get(kind) ?? 0) + count);
    }),
    { numRuns: 100 },
  );
  // Else the test would show nothing.
  for (const kind of [
    'link',
    'unlink',
    'repoint',
    'merge',
    'undo',
    'mergeRecords',
    'delete',
    'revive',
    'switch',
  ])
    expect([kind, effects.get(kind) ?? 0]).toEqual([kind, expect.toSatisfy((count) => count > 0)]);
});
