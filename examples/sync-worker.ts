/**
 * A small two-way sync worker to build a real engine from. Run any number of them on any number of machines:
 * if one dies, another resumes where it stopped, and nothing is lost or done twice. run-worker.ts starts it
 * with a CRM in memory. Its database user is a member of crm_worker. The owner of contacts must also grant:
 *   grant select, insert, update, delete on contacts to crm_worker;
 *
 * It keeps the name in `contacts (id, organisation_id, name)` the same here and at the CRMs. Code that differs
 * between CRMs is in the adapters (`crm.ts`), code that differs between products in `#apply`, `#merge` and
 * `#pushOne`; the rest shows how to use the schema.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  askFrom,
  type BatchEvent,
  type ClaimedRun,
  type ContactExternalRecord,
  CrmSchemaError,
  type CursorMove,
  canonicalTimestamp,
  connectionSetAccount,
  contactExternalIdLinkMany,
  contactExternalIdLock,
  contactExternalIdMatchMany,
  contactMerge,
  contentHash,
  externalRecordCheckMany,
  externalRecordListByContacts,
  externalRecordMergeMany,
  outboundChangeClaim,
  outboundChangeListWaiting,
  outboundChangeRecord,
  providers,
  type RecordDecision,
  type RunEnd,
  type SyncCursor,
  syncBatchRecord,
  syncCursorList,
  syncFailureClaim,
  syncRunClaim,
  syncRunFinish,
  syncRunHeartbeat,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import {
  type Crm,
  type CrmContact,
  CrmError,
  type CrmPosition,
  type CrmRecord,
  type CrmRecordKey,
  type LinkedRecord,
} from './crm.js';

/** The worker's configuration. */
export interface Worker {
  /** Its name, for people: a host and a process. */
  name: string;
  pool: pg.Pool;
  /** Signs in to a connection's CRM. See refresh-token.ts for refresh tokens that work only once. */
  openCrm(run: ClaimedRun): Promise<Crm>;
  /** How long others wait before they take over from a worker that has died; defaults to 300. */
  leaseSeconds?: number | undefined;
  /** How far before the cursor to read again: longer than the CRM takes to show what it has stored. */
  overlapSeconds?: number | undefined;
}

/** Syncs due connections until the signal. */
export async function runWorker(worker: Worker, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const found = await syncNext(worker).catch((error) => {
      report(error);
      return false;
    });
    if (!found) await sleep(1000, undefined, { signal }).catch(() => {});
  }
}

/** Syncs the connection that has been due for longest. Returns false if none is due. */
export async function syncNext(worker: Worker): Promise<boolean> {
  const [run] = await syncRunClaim(worker.pool, {
    worker: worker.name,
    limit: 1,
    leaseSeconds: leaseOf(worker),
  });
  if (run === undefined) return false;
  let end: RunEnd;
  try {
    const hasMore = await new Sync(worker, run).all();
    end = { outcome: 'success', hasMore };
  } catch (error) {
    if (isCode(error, 'lease_lost')) return true;
    end = endFor(error, run);
  }
  await syncRunFinish(worker.pool, { ...run, ...end }).catch((error) => {
    if (!isCode(error, 'lease_lost')) throw error;
  });
  return true;
}

/** The outcome of a run that an error stopped. */
function endFor(error: unknown, { credentialsVersion }: ClaimedRun): RunEnd {
  // The cursor was reset meanwhile: start again.
  if (isCode(error, 'cursor_conflict')) return { outcome: 'cancelled' };
  if (isCode(error, 'account_changed')) {
    const message = 'The CRM signed in to another account than the one that the connection is to.';
    const changed = { kind: 'auth', retryable: false, message } as const;
    return { outcome: 'failed', error: changed, credentialsVersion };
  }
  if (error instanceof CrmError) {
    const { retryAfterSeconds } = error;
    return { outcome: 'failed', error: error.toSyncError(), retryAfterSeconds, credentialsVersion };
  }
  report(error);
  const message = 'The sync could not continue. See the log of the worker.';
  return { outcome: 'failed', error: { kind: 'internal', retryable: true, message } };
}

/** How many records a run claims, and how many it records at a time. */
const claimLimit = 100;
const pushBatch = 10;

/** The longest run before other connections get their turn, and the longest request to a CRM, in seconds. */
const longestRun = 600;
const longestRequest = 60;

/** A contact to push, from an outbound change or a failure. */
interface Push {
  contactId: string;
  changeVersion?: string;
  /** The failure's entity type: an event of the same type closes it. */
  entityType?: string;
}

/** One run: the sync of one connection. */
class Sync {
  readonly #worker: Worker;
  readonly #run: ClaimedRun;
  readonly #leaseSeconds: number;
  #batchNumber = 0;
  readonly #began = new Date();
  /** By a monotonic clock. */
  #leaseEndsAt: number;

  constructor(worker: Worker, run: ClaimedRun) {
    this.#worker = worker;
    this.#run = run;
    this.#leaseSeconds = leaseOf(worker);
    this.#leaseEndsAt = performance.now() + this.#leaseSeconds * 1000;
  }

  /** Pushes, retries failures, and pulls. Returns whether more is waiting. */
  async all(): Promise<boolean> {
    const crm = await withTimeout(this.#worker.openCrm(this.#run));
    const { pool } = this.#worker;
    // Before anything is read or written: the ids of another account mean other people.
    if (crm.account !== undefined) await connectionSetAccount(pool, { ...this.#run, account: crm.account });
    const changes = await outboundChangeClaim(pool, { ...this.#run, limit: claimLimit });
    const failures = await syncFailureClaim(pool, { ...this.#run, limit: claimLimit });
    await this.#push(crm, [
      ...changes.map(({ contactId, version }) => ({ contactId, changeVersion: version })),
      ...failures
        .filter(({ direction }) => direction === 'outbound')
        .map(({ recordId, entityType }) => ({ contactId: recordId, entityType })),
    ]);
    for (const { direction, entityType, recordId } of failures) {
      if (direction === 'inbound') await this.#pullOne(crm, { entityType, externalId: recordId });
    }
    const cursors = await syncCursorList(pool, this.#run);
    let isAllRead = true;
    for (const entityType of new Set(crm.entityTypes)) {
      const cursor = cursors.find((each) => each.direction === 'inbound' && each.entityType === entityType);
      if (!(await this.#pull(crm, entityType, cursor))) isAllRead = false;
    }
    return !isAllRead || changes.length === claimLimit || failures.length === claimLimit;
  }

  /** Reads a stream and records each page with the cursor. Returns whether it reached the end. */
  async #pull(crm: Crm, entityType: string, cursor: SyncCursor | undefined): Promise<boolean> {
    let version = cursor?.version ?? 0;
    let reached = cursor?.position?.syncedTo ?? null;
    let from: CrmPosition | null = cursor?.position ?? null;
    if (from?.kind === 'timestamp') {
      from = { kind: 'timestamp', syncedTo: askFrom(reached, this.#worker) as string };
    }
    for (;;) {
      const start = from;
      const page = await this.#ask(() => crm.readPage(entityType, start));
      if (!page.isLast && JSON.stringify(page.next) === JSON.stringify(start)) {
        throw new CrmError('provider', 'The CRM returned the same page twice.', { retryable: true });
      }
      // A repeated page may end before the cursor, which then stays where it is. A wrong time in the future
      // would let the cursor pass every change until then.
      const syncedTo = latest(reached, earliest(page.next.syncedTo, this.#began));
      const position = { ...page.next, syncedTo } as CursorMove['position'];
      await this.#record((client) => this.#takePage(client, entityType, page.records), {
        direction: 'inbound',
        entityType,
        version,
        position,
      });
      version += 1;
      reached = syncedTo;
      from = page.next;
      if (page.isLast) return true;
      if (Date.now() > this.#began.getTime() + longestRun * 1000) return false;
    }
  }

  /** Retries a record that failed. That the CRM does not show it does not mean that it is deleted. */
  async #pullOne(crm: Crm, key: CrmRecordKey): Promise<void> {
    const record = await this.#ask(() => crm.read(key.entityType, key.externalId)).catch(unlessFatal);
    await this.#record(async (client) => {
      if (record instanceof CrmError) return [{ direction: 'inbound', ...key, ...failure(record) }];
      return this.#takePage(client, key.entityType, [record ?? { ...key, name: '', state: 'hidden' }]);
    });
  }

  /** Applies a page of records, and returns their events. */
  async #takePage(client: pg.ClientBase, entityType: string, records: CrmRecord[]): Promise<BatchEvent[]> {
    const { organisationId, provider } = this.#run;
    const [broken, storable] = partition(records, ({ externalId }) => !isStorable(externalId));
    const [merged, others] = partition(
      storable,
      ({ state, mergedInto }) => state === 'merged' && mergedInto != null,
    );
    // The ids first, then the contacts: everybody locks in this order. What is found now stays true until the
    // end of the transaction. Merging two contacts moves their ids at all CRMs.
    await contactExternalIdLock(client, {
      organisationId,
      providers: merged.length > 0 ? providers : [provider],
    });
    const page: Page = {
      names: await this.#lockContacts(client, entityType, storable),
      links: new Map(),
      applied: new Set(),
    };
    const events: BatchEvent[] = broken.map(() => {
      const message = 'The CRM sent a record id that cannot be stored.';
      const error = { kind: 'validation', retryable: false, message } as const;
      return { direction: 'inbound', entityType, status: 'error', error };
    });
    for (const record of merged) {
      events.push(await storing(client, record, () => this.#merge(client, record, page)));
    }
    const decisions = await externalRecordCheckMany(client, {
      organisationId,
      provider,
      records: others.map((record) => ({
        entityType: record.entityType,
        externalId: record.externalId,
        version: versionOf(record),
        modifiedAt: modifiedAtOf(record),
        state: record.state,
        contentHash: contentHash({ name: record.name }),
      })),
    });
    for (const [index, record] of others.entries()) {
      const decision = decisions[index] as RecordDecision;
      events.push(await storing(client, record, () => this.#apply(client, record, decision, page)));
    }
    return events;
  }

  /** Locks the contacts that a page is about, in the order of their ids. Returns their names. */
  async #lockContacts(
    client: pg.ClientBase,
    entityType: string,
    records: CrmRecord[],
  ): Promise<Page['names']> {
    const externalIds = records.flatMap(({ externalId, mergedInto }) => [
      externalId,
      ...(isStorable(mergedInto) ? [mergedInto] : []),
    ]);
    const matches = await contactExternalIdMatchMany(client, { ...this.#run, entityType, externalIds });
    const contactIds = [
      ...matches.map(({ contactId }) => contactId),
      ...records.map(({ reference }) => uuidIn(reference)),
    ];
    const { rows } = await client.query(
      'select id, name from contacts where organisation_id = $1 and id = any($2) order by id for no key update',
      [this.#run.organisationId, contactIds.filter((id) => id !== null)],
    );
    return new Map(rows.map(({ id, name }) => [id, name]));
  }

  /** Records that the CRM has merged a record into another. If they are two contacts here, merges those. */
  async #merge(client: pg.ClientBase, record: CrmRecord, page: Page): Promise<BatchEvent> {
    const { organisationId, provider } = this.#run;
    const { entityType, externalId, mergedInto } = record;
    const change = {
      organisationId,
      changedBy: this.#worker.name,
      reason: 'The CRM merged the records.',
    };
    const merges = [
      { from: { entityType, externalId }, into: { entityType, externalId: mergedInto as string } },
    ];
    let [result] = await externalRecordMergeMany(client, { ...change, provider, merges });
    if (result?.outcome === 'contacts_differ') {
      const { contactId: intoContactId, otherContactId: fromContactId } = result;
      await contactMerge(client, { ...change, fromContactId, intoContactId });
      // A product moves what else it keeps of the contact first, such as notes and viewings.
      await client.query('delete from contacts where organisation_id = $1 and id = $2', [
        organisationId,
        fromContactId,
      ]);
      await outboundChangeRecord(client, { organisationId, contactIds: [intoContactId] });
      page.names.delete(fromContactId);
      [result] = await externalRecordMergeMany(client, { ...change, provider, merges });
    }
    const event = { direction: 'inbound', entityType, externalId } as const;
    if (result?.outcome !== 'merged') return { ...event, status: 'skipped', reason: 'merged' };
    return { ...event, internalId: result.contactId, status: 'success' };
  }

  /** Updates a contact from the CRM's record, and returns the event. */
  async #apply(
    client: pg.ClientBase,
    record: CrmRecord,
    { contactId: linkedTo, decision }: RecordDecision,
    page: Page,
  ): Promise<BatchEvent> {
    const { organisationId, connectionId, provider } = this.#run;
    const { entityType, externalId, name, state } = record;
    const known = linkedTo ?? page.links.get(externalId) ?? null;
    const event = {
      direction: 'inbound',
      entityType,
      externalId,
      internalId: known,
      ...newsOf(record),
    } as const;
    if (decision === 'echo' || decision === 'unchanged' || decision === 'older')
      return { ...event, status: 'skipped', reason: decision };
    if (decision === 'revived') {
      // CRMs use ids again: a person decides whether it is the same contact, and then replays the failure.
      const message = 'The record was deleted or merged at the CRM and is back: link it again, or unlink it.';
      return { ...event, status: 'error', error: { kind: 'conflict', retryable: false, message } };
    }
    // The link of a record that is gone stays, so that nothing creates the record again.
    if (state !== 'active' && state !== 'archived')
      return { ...event, status: known === null ? 'skipped' : 'success' };

    // If we created the record but the response was lost, it names its contact. Other records may name anything.
    const named = uuidIn(record.reference);
    const contactId = known ?? (named !== null && page.names.has(named) ? named : randomUUID());
    const isNew = !page.names.has(contactId);
    const linked = { ...event, internalId: contactId, linksContact: true };
    const siblings = isNew ? [] : await this.#recordsOf(client, contactId, record);
    if (known === null && siblings.length > 0) {
      // Of the same type, the record is a copy: the link will be refused, and the contact must not change.
      if (siblings.some((each) => each.entityType === entityType)) return { ...linked, status: 'success' };
      // Of another type, it is another role of the person, such as landlord.
      const link = { provider, entityType, externalId, contactId };
      await contactExternalIdLinkMany(client, { organisationId, links: [link], ifContactTaken: 'alias' });
    }
    if (isNew) {
      await client.query('insert into contacts (organisation_id, id, name) values ($1, $2, $3)', [
        organisationId,
        contactId,
        name,
      ]);
    } else if (isSame(page.names.get(contactId), name)) {
      page.links.set(externalId, contactId);
      return known === null
        ? { ...linked, status: 'success' }
        : { ...linked, status: 'skipped', reason: 'unchanged' };
    } else {
      // With the contact locked: our value is newer than the CRM's, and waits to be pushed. Unless it came from
      // this page.
      const waiting = await outboundChangeListWaiting(client, { ...this.#run, contactIds: [contactId] });
      if (waiting.length > 0 && !page.applied.has(contactId)) {
        page.links.set(externalId, contactId);
        return { ...linked, status: 'skipped', reason: 'pending_push' };
      }
      await client.query('update contacts set name = $3 where organisation_id = $1 and id = $2', [
        organisationId,
        contactId,
        name,
      ]);
    }
    // The agency's other CRMs get the change as well, and so do the contact's other records at this one.
    await outboundChangeRecord(client, {
      organisationId,
      contactIds: [contactId],
      fromConnectionId: siblings.some(isAlive) ? null : connectionId,
    });
    page.links.set(externalId, contactId);
    page.names.set(contactId, name);
    page.applied.add(contactId);
    return { ...linked, status: 'success' };
  }

  /** The records of a contact at this CRM, without the given one. */
  async #recordsOf(
    client: pg.Pool | pg.ClientBase,
    contactId: string,
    except?: CrmRecordKey,
  ): Promise<ContactExternalRecord[]> {
    const { organisationId, provider } = this.#run;
    const records = await externalRecordListByContacts(client, { organisationId, contactIds: [contactId] });
    return records.filter(
      (each) =>
        each.provider === provider &&
        (each.externalId !== except?.externalId || each.entityType !== except.entityType),
    );
  }

  /** Writes the current contacts to the CRM, and records a few at a time. */
  async #push(crm: Crm, pushes: Push[]): Promise<void> {
    for (let start = 0; start < pushes.length; start += pushBatch) {
      const events: BatchEvent[] = [];
      try {
        for (const push of pushes.slice(start, start + pushBatch)) await this.#pushOne(crm, push, events);
      } finally {
        // Even if the CRM fails halfway, the contacts already written are recorded.
        await this.#record(async () => events);
      }
    }
  }

  /** Writes a contact to each of its records, or creates one, and adds the events. */
  async #pushOne(
    crm: Crm,
    { contactId, changeVersion, entityType }: Push,
    events: BatchEvent[],
  ): Promise<void> {
    const { organisationId } = this.#run;
    const { pool } = this.#worker;
    const known = await this.#recordsOf(pool, contactId);
    const { rows } = await pool.query('select name from contacts where organisation_id = $1 and id = $2', [
      organisationId,
      contactId,
    ]);
    const alive = known.filter(isAlive);
    const event = {
      direction: 'outbound',
      entityType: entityType ?? known[0]?.entityType ?? 'contact',
      internalId: contactId,
      changeVersion,
    } as const;
    // What was deleted at the CRM is not created again.
    if (rows.length === 0 || (known.length > 0 && alive.length === 0)) {
      events.push({ ...event, status: 'skipped' });
      return;
    }
    const contact = { contactId, name: rows[0].name };
    // The last event of a contact decides whether it is pushed again, so those that failed come last.
    const failed: BatchEvent[] = [];
    try {
      for (const record of alive.length > 0 ? alive : [null]) {
        const pushed = await this.#write(crm, contact, record);
        (pushed.status === 'error' ? failed : events).push({ ...event, ...pushed });
      }
    } catch (error) {
      // Some records are written, the others not: the contact is pushed again.
      if (error instanceof CrmError && events.at(-1)?.internalId === contactId)
        failed.push({ ...event, status: 'error', error: { ...error.toSyncError(), retryable: true } });
      throw error;
    } finally {
      events.push(...failed);
    }
  }

  /** Writes a contact to a record, or creates one. Returns what the event of the push says. */
  async #write(crm: Crm, contact: CrmContact, record: ContactExternalRecord | null): Promise<Pushed> {
    const linked: LinkedRecord | null = record && { ...record, version: record.remoteVersion };
    const written = await this.#ask(() => crm.write(contact, linked)).catch(unlessFatal);
    const key = record && { entityType: record.entityType, externalId: record.externalId };
    if (written instanceof CrmError) return { ...key, ...failure(written) };
    if (written === null) return { ...key, status: 'skipped', ...(key && { remoteState: 'hidden' }) };
    return {
      entityType: written.entityType,
      externalId: written.externalId,
      status: 'success',
      linksContact: true,
      ...newsOf(written),
      basedOnVersion: linked?.version,
      contentHash: contentHash({ name: written.name }),
    };
  }

  /** Sends a request to the CRM while the lease is live, and repeats it after a short rate limit. */
  async #ask<Answer>(request: () => Promise<Answer>): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      // A delayed worker must not overwrite what another has written meanwhile.
      if (performance.now() > this.#leaseEndsAt - this.#leaseSeconds * 500) await this.#heartbeat();
      try {
        return await withTimeout(request());
      } catch (error) {
        const wait =
          error instanceof CrmError && error.kind === 'rate_limited' ? error.retryAfterSeconds : undefined;
        if (wait === undefined || wait > this.#leaseSeconds / 2 || attempt === 5) throw error;
        await sleep(wait * 1000);
      }
    }
  }

  async #heartbeat(): Promise<void> {
    await syncRunHeartbeat(this.#worker.pool, { ...this.#run, leaseSeconds: this.#leaseSeconds });
    this.#leaseEndsAt = performance.now() + this.#leaseSeconds * 1000;
  }

  /**
   * Records a batch in one transaction with the changes to our own tables. If the response is lost, it
   * repeats the batch; the number of a batch that was recorded makes the repetition a no-op.
   */
  async #record(apply: (client: pg.ClientBase) => Promise<BatchEvent[]>, cursor?: CursorMove): Promise<void> {
    this.#batchNumber += 1;
    const batch = { ...this.#run, batchNumber: this.#batchNumber, leaseSeconds: this.#leaseSeconds };
    for (let attempt = 1; ; attempt += 1) {
      try {
        const began = performance.now();
        await transaction(this.#worker.pool, async (client) => {
          // First, so that the connection is locked before any contact, and a lost lease is found early.
          await syncRunHeartbeat(client, batch);
          const events = await apply(client);
          const cursors = cursor === undefined ? [] : [cursor];
          const { outcome } = await syncBatchRecord(client, { ...batch, events, cursors });
          return outcome === 'recorded';
        });
        this.#leaseEndsAt = began + this.#leaseSeconds * 1000;
        return;
      } catch (error) {
        // If a contact was deleted meanwhile, the next attempt finds that it no longer exists.
        const isLasting = error instanceof CrmSchemaError && error.code !== 'wrong_tenant';
        if (isLasting || attempt === 5) throw error;
        await sleep(attempt * 200);
      }
    }
  }
}

/** The state of a page that is not recorded yet. */
interface Page {
  /** The names of contacts, by contact id. */
  names: Map<string, string>;
  /** The contacts that the page links, by external id. */
  links: Map<string, string>;
  /** The contacts that the page has created or changed. */
  applied: Set<string>;
}

/** What is known of a push once the CRM has answered. */
type Pushed = Partial<BatchEvent> & Pick<BatchEvent, 'status'>;

/** Stores a record, or returns an error event: a broken record does not stop the others. */
async function storing(
  client: pg.ClientBase,
  { entityType, externalId }: CrmRecord,
  store: () => Promise<BatchEvent>,
): Promise<BatchEvent> {
  await client.query('savepoint record');
  try {
    const event = await store();
    await client.query('release savepoint record');
    return event;
  } catch (error) {
    if (!isDataError(error)) throw error;
    report(error);
    await client.query('rollback to savepoint record; release savepoint record');
    const message = 'The record could not be stored. See the log of the worker.';
    const failed = { kind: 'internal', retryable: true, message } as const;
    return { direction: 'inbound', entityType, externalId, status: 'error', error: failed };
  }
}

/** Whether the CRM still has the record. A hidden one may be shown again. */
function isAlive({ remoteState }: ContactExternalRecord): boolean {
  return remoteState !== 'deleted' && remoteState !== 'merged';
}

/** Whether two names differ at most in what CRMs do to a name: letter case and white space. */
function isSame(one: string | undefined, other: string): boolean {
  return contentHash({ name: one }) === contentHash({ name: other });
}

/** What an event says of the record at the CRM. A merge is recorded apart. */
function newsOf(record: CrmRecord) {
  const { state } = record;
  return {
    remoteVersion: versionOf(record),
    remoteModifiedAt: modifiedAtOf(record),
    remoteState: state === 'merged' ? 'deleted' : state,
  } as const;
}

/** The version, if it can be stored. */
function versionOf({ version }: CrmRecord): string | null {
  return isStorable(version) ? version : null;
}

/** The modified time, if it is one. */
function modifiedAtOf({ modifiedAt }: CrmRecord): string | null {
  try {
    return modifiedAt == null ? null : canonicalTimestamp(modifiedAt);
  } catch {
    return null;
  }
}

/** Whether an id or a version of the CRM can be stored. */
function isStorable(text: string | null | undefined): text is string {
  return text != null && /^[^\0]*\S[^\0]*$/u.test(text) && Buffer.byteLength(text) <= 512;
}

/** Those that match, and the others. */
function partition<Item>(items: readonly Item[], matches: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(matches), items.filter((item) => !matches(item))];
}

/** Limits a request's time, so that one without a response does not block the worker. */
async function withTimeout<Answer>(answer: Promise<Answer>): Promise<Answer> {
  const ending = new AbortController();
  const late = sleep(longestRequest * 1000, undefined, { signal: ending.signal }).then(() => {
    throw new CrmError('timeout', `No response within ${longestRequest} seconds.`, { retryable: true });
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    ending.abort();
    late.catch(ignore);
  }
}

/** Logs an error's name, code and stack, without its message: that may contain values. */
function report(error: unknown): void {
  const { name, code, stack } = error as { name?: string; code?: string; stack?: string };
  const places = stack?.split('\n').filter((line) => /^ +at /.test(line)) ?? [];
  console.error([`${name ?? 'Error'} ${code ?? ''}`, ...places].join('\n'));
}

/** Runs `work` in a transaction, and rolls back if it returns false or throws. */
async function transaction(pool: pg.Pool, work: (client: pg.ClientBase) => Promise<boolean>): Promise<void> {
  const client = await pool.connect();
  // The failing statement reports a lost connection; without a listener, the loss would end the process.
  client.on('error', ignore);
  let failure: unknown;
  try {
    await client.query('begin');
    const isWanted = await work(client);
    await client.query(isWanted ? 'commit' : 'rollback');
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    client.off('error', ignore);
    // A client whose transaction failed is closed, which rolls it back.
    client.release(failure !== undefined);
  }
}

function ignore(): void {}

/** Returns an error of this record, to be recorded. Rethrows one of the account or network, to end the run. */
function unlessFatal(error: unknown): CrmError {
  const isOfRecord =
    error instanceof CrmError && !['auth', 'permission', 'rate_limited', 'network'].includes(error.kind);
  if (isOfRecord) return error;
  throw error;
}

function failure(error: CrmError) {
  const { retryAfterSeconds } = error;
  return { status: 'error', error: error.toSyncError(), retryAfterSeconds } as const;
}

/** Extracts our UUID from a CRM's reference; null if it is not one of ours. */
function uuidIn(reference: string | null | undefined): string | null {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.exec(reference ?? '')?.[0] ?? null;
}

/** Whether the record caused the error. A deadlock or a missing privilege did not come from the record. */
function isDataError(error: unknown): boolean {
  if (isCode(error, 'not_permitted')) return false;
  return error instanceof CrmSchemaError || /^(22|23|54)/.test((error as { code?: string }).code ?? '');
}

function isCode(error: unknown, code: CrmSchemaError['code']): boolean {
  return error instanceof CrmSchemaError && error.code === code;
}

function leaseOf({ leaseSeconds = 300 }: Worker): number {
  return leaseSeconds;
}

/** Limits a time from the CRM to our own time. */
function earliest(point: string | null | undefined, now: Date): string | null {
  if (point == null) return null;
  const [first] = [canonicalTimestamp(point), canonicalTimestamp(now.toISOString())].sort();
  return first as string;
}

/** The later of two times, either of which may be unknown. */
function latest(one: string | null, other: string | null | undefined): string | null {
  if (other == null) return one;
  const point = canonicalTimestamp(other);
  return one === null || point > one ? point : one;
}
