import type { Timestamp } from '@nurturehub/crm-schema';
import type { ContactFields } from '../contact-fields.js';
import type { CrmRecord } from '../crm.js';
import { type Habits, storedName } from './habits.js';
import type { Random } from './random.js';

/** A person as the agency enters them. */
export interface SimulatedPerson extends ContactFields {
  /** What the CRM has besides the fields that sync; its dialect says what. */
  own?: Readonly<Record<string, unknown>>;
}

/** A record at the simulated CRM. */
export interface SimulatedRecord extends CrmRecord, SimulatedPerson {
  /** Our contact's id if we created or updated the record; null if it was only changed at the CRM. */
  reference: string | null;
  /** The ETag, with its quotes; null if the CRM has none. */
  version: string | null;
  /** By the CRM's own clock. */
  modifiedAt: Timestamp;
  mergedInto: string | null;
}

/** A write through the API that took effect, whether or not its answer arrived. */
export interface SimulatedWrite {
  kind: 'create' | 'update';
  reference: string | null;
  externalId: string;
  name: string;
  /** By our clock. */
  at: Date;
}

/** One state of a record, and when lists begin to show it. */
interface Snapshot extends SimulatedRecord {
  /** The number of the change, across all records. */
  sequence: number;
  /** Milliseconds since 1970, by our clock. */
  visibleAt: number;
}

/** The records of a simulated CRM: their current state, and the state that its lists show. */
export class Store {
  readonly writes: SimulatedWrite[] = [];
  readonly #history = new Map<string, Snapshot[]>();
  readonly #newId: (entityType: string, count: number) => string;
  readonly #hasEtag: boolean;
  readonly #random: Random;
  readonly #habits: () => Habits;
  #changes = 0;
  #isHoldingBack = false;
  #lastModified = 0;

  constructor(options: {
    newId: (entityType: string, count: number) => string;
    hasEtag: boolean;
    random: Random;
    habits: () => Habits;
  }) {
    this.#newId = options.newId;
    this.#hasEtag = options.hasEtag;
    this.#random = options.random;
    this.#habits = options.habits;
  }

  /** Milliseconds since 1970, by the CRM's clock. */
  now(): number {
    return Date.now() + this.#habits().skewMilliseconds;
  }

  /** The current state of each record. */
  records(): SimulatedRecord[] {
    return [...this.#history.values()].map((history) => plain(history.at(-1) as Snapshot));
  }

  get(externalId: string): SimulatedRecord | undefined {
    const snapshot = this.#history.get(externalId)?.at(-1);
    return snapshot && plain(snapshot);
  }

  /** The record with this reference that a creation would double. Never late, unlike lists. */
  findByReference(reference: string): SimulatedRecord | undefined {
    const isKept = ({ state }: SimulatedRecord) => ['active', 'archived', 'hidden'].includes(state);
    return this.records().find((record) => record.reference === reference && isKept(record));
  }

  /** The records of a type that lists show now, in the order in which their changes appeared. */
  shown(entityType: string): Snapshot[] {
    const now = Date.now();
    return [...this.#history.values()]
      .map((history) => history.filter(({ visibleAt }) => visibleAt <= now).at(-1))
      .filter((snapshot) => snapshot?.entityType === entityType && snapshot.state !== 'hidden')
      .map((snapshot) => snapshot as Snapshot)
      .sort((a, b) => a.visibleAt - b.visibleAt || a.sequence - b.sequence);
  }

  create(entityType: string, fields: SimulatedPerson, reference: string | null): SimulatedRecord {
    const externalId = this.#newId(entityType, this.#history.size + 1);
    return this.#keep({ entityType, externalId, ...fields, reference, state: 'active', mergedInto: null });
  }

  /** @throws Error if there is no such record or it is no longer active, which is a bug in the test */
  change(externalId: string, change: Partial<SimulatedRecord>): SimulatedRecord {
    const record = this.get(externalId);
    if (record?.state !== 'active') throw new Error(`No active record: ${externalId}`);
    return this.#keep({ ...record, ...change });
  }

  unarchive(externalId: string): SimulatedRecord {
    const record = this.get(externalId);
    if (record?.state !== 'archived') throw new Error(`No archived record: ${externalId}`);
    return this.#keep({ ...record, state: 'active' });
  }

  /** Makes a record that is not active so again, as another person if `name` is given. */
  restore(externalId: string, name?: string): SimulatedRecord {
    const record = this.get(externalId);
    if (record === undefined || record.state === 'active')
      throw new Error(`Nothing to restore: ${externalId}`);
    const person = name === undefined ? {} : { name, email: null, phone: null, own: {}, reference: null };
    return this.#keep({ ...record, ...person, state: 'active', mergedInto: null });
  }

  /** Makes changes that lists show only once the function that this returns is called. */
  holdBack(change: () => void): () => void {
    this.#isHoldingBack = true;
    change();
    this.#isHoldingBack = false;
    return () => {
      const held = [...this.#history.values()].flat().filter(({ visibleAt }) => visibleAt === Infinity);
      for (const snapshot of held) snapshot.visibleAt = Date.now();
    };
  }

  /** Records a write through the API. */
  journal(kind: SimulatedWrite['kind'], { externalId, name, reference }: SimulatedRecord): void {
    this.writes.push({ kind, reference, externalId, name, at: new Date() });
  }

  #keep(record: Omit<SimulatedRecord, 'version' | 'modifiedAt'>): SimulatedRecord {
    const { lateCommit, lateCommitMilliseconds, clockStepMilliseconds, naming } = this.#habits();
    const [isLate, lateness] = [this.#random() < lateCommit, this.#random() * lateCommitMilliseconds];
    const sequence = ++this.#changes;
    // In microseconds.
    this.#lastModified =
      clockStepMilliseconds > 0
        ? Math.max(this.#lastModified, (this.now() - (this.now() % clockStepMilliseconds)) * 1000)
        : Math.max(this.#lastModified + 1, this.now() * 1000);
    const history = this.#history.get(record.externalId) ?? [];
    const snapshot = {
      ...record,
      name: storedName(naming, record.name),
      version: this.#hasEtag ? `"${sequence.toString(16).padStart(8, '0')}"` : null,
      modifiedAt: timestamp(this.#lastModified),
      sequence,
      // A later change of a record never appears before an earlier one.
      visibleAt: this.#isHoldingBack
        ? Infinity
        : Math.max(history.at(-1)?.visibleAt ?? 0, Date.now() + (isLate ? lateness : 0)),
    };
    this.#history.set(record.externalId, [...history, snapshot]);
    return plain(snapshot);
  }
}

function plain({ sequence: _, visibleAt: __, ...record }: Snapshot): SimulatedRecord {
  return record;
}

/** Microseconds since 1970 as text with six digits. */
function timestamp(microseconds: number): Timestamp {
  const milliseconds = Math.floor(microseconds / 1000);
  const rest = String(microseconds % 1000).padStart(3, '0');
  return new Date(milliseconds).toISOString().replace('Z', `${rest}Z`);
}
