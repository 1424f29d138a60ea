import type { Provider } from '@nurturehub/crm-schema';
import type { Credentials } from '@nurturehub/crm-schema/credentials';
import type { Call, Dialect, Reply } from './dialects/dialect.js';
import type { Habits } from './habits.js';
import type { SimulatedPerson, SimulatedRecord, SimulatedWrite } from './store.js';

/** A request that a simulated CRM has received. */
export interface ReceivedRequest {
  method: string;
  /** Without the query. */
  path: string;
  /** Of the answer; null until there is one. */
  readonly status: number | null;
  /** Why it was refused; null if it was not. */
  reason: string | null;
}

/** A CRM that runs in this process and serves HTTP, with methods for a test to control it. */
export interface SimulatedCrm<P extends Provider = Provider> {
  readonly provider: P;
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  /** The first credentials. */
  readonly credentials: Credentials<P>;
  /** Makes new credentials, as if a user had signed in again; Reapit has two grants. */
  signIn(grant?: 'client_credentials'): Credentials<P>;
  /** Creates a record as if at the agency; a contact by default. */
  create(person: string | SimulatedPerson, reference?: string | null, entityType?: string): SimulatedRecord;
  /** Edits an active record as if at the agency: its name, or some of its fields. */
  edit(externalId: string, change: string | Partial<SimulatedPerson>): SimulatedRecord;
  /** Archives an active record as if at the agency. */
  archive(externalId: string): SimulatedRecord;
  /** Takes a record out of the archive as if at the agency. */
  unarchive(externalId: string): SimulatedRecord;
  /** Deletes an active record as if at the agency. */
  delete(externalId: string): SimulatedRecord;
  /** Hides an active record from the API, as if its office were not shared. */
  hide(externalId: string): SimulatedRecord;
  /** Shows a hidden or deleted record again; as another person if `name` is given, under the same id. */
  restore(externalId: string, name?: string): SimulatedRecord;
  /** A name as this CRM stores it. */
  stored(name: string): string;
  /** The name of the account: ids belong to it. */
  readonly account: string;
  /** Merges a record into another as if at the agency; the other takes its reference if it has none. */
  merge(from: string, into: string): SimulatedRecord;
  /** The current state of each record, including deleted and merged ones. */
  records(): SimulatedRecord[];
  /** The writes through the API that took effect, in order. */
  readonly writes: readonly SimulatedWrite[];
  /** The number of requests, including refused ones. */
  readonly requests: number;
  /** The request that was received last; null if there was none. */
  readonly lastRequest: ReceivedRequest | null;
  /** Its API, and what it can do. */
  readonly dialect: Dialect;
  /** The time by the CRM's own clock, in milliseconds since 1970. */
  now(): number;
  /** Makes changes that lists show only once the function that this returns is called. */
  holdBack(change: () => void): () => void;
  /**
   * Answers requests other than sign-ins in place of the CRM, unless the function returns undefined. Replaces the one
   * that was given before; null: the CRM answers all.
   */
  intercept(answer: ((call: Call) => Reply | undefined) | null): void;
  /** The number of access tokens that it has given out. */
  readonly signIns: number;
  /** Ends all misbehaviour. Changes that are already delayed still appear late. */
  calm(): void;
  /** Changes some habits from the next request. */
  setHabits(habits: Partial<Habits>): void;
  /** Ends the life of all access tokens, as time does. */
  expireAccessTokens(): void;
  /** Revokes all keys and tokens; `signIn` makes new ones. */
  revokeTokens(): void;
  /** Closes all connections and frees the port. */
  stop(): Promise<void>;
}
