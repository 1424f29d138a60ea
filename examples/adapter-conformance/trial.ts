import { type Crm, CrmError, type CrmRecord } from '../crm.js';
import type { Call, Reply } from '../simulated-crm/dialects/dialect.js';
import type { Habits } from '../simulated-crm/habits.js';
import { type SimulatedCrm, startSimulatedCrm } from '../simulated-crm/server.js';
import type { SimulatedRecord } from '../simulated-crm/store.js';
import { Broken, type Subject } from './rule.js';

const hour = 3_600_000;

/** However busy the machine is, an adapter that has not ended by now waits for something that never comes. */
const patienceMilliseconds = 60_000;

/** What a rule tries the adapter with: simulated CRMs, each with its own records. */
export class Trial {
  readonly #subject: Subject;
  readonly #started: SimulatedCrm[] = [];
  readonly #calls = new WeakMap<object, string>();

  constructor(subject: Subject) {
    this.#subject = subject;
  }

  /** Starts a CRM whose clock is an hour behind, so that what it has by now is an hour older than what is to come. */
  async start(habits: Partial<Habits> = {}): Promise<SimulatedCrm> {
    const { provider, dialect } = this.#subject;
    const crm = await startSimulatedCrm({
      provider,
      seed: 1,
      habits: { pageSize: 5, skewMilliseconds: -hour, ...habits },
      ...(dialect === undefined ? {} : { dialect }),
    });
    this.#started.push(crm);
    return crm;
  }

  /** Opens the adapter with credentials of its own. */
  async open(crm: SimulatedCrm, timeoutMilliseconds = 20_000): Promise<Crm> {
    const access = { url: crm.url, credentials: crm.signIn(), timeoutMilliseconds };
    const adapter = await this.#named('open', async () => this.#subject.open(access));
    return this.#patient(adapter);
  }

  async startAndOpen(habits: Partial<Habits> = {}): Promise<{ crm: SimulatedCrm; adapter: Crm }> {
    const crm = await this.start(habits);
    return { crm, adapter: await this.open(crm) };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#started.map((crm) => crm.stop()));
  }

  /** Which call has ended in this error, and what the CRM answered last. */
  ending(error: unknown): string {
    const call = this.#calls.get(Object(error)) ?? 'It';
    return `${call} ended in ${describe(error)}. ${this.lastAnswer()}`;
  }

  /** What the CRM answered last, and why. */
  lastAnswer(): string {
    const request = this.#started.at(-1)?.lastRequest;
    if (request == null) return 'No request has reached the CRM.';
    const { method, path, status, reason } = request;
    const answer = status === null ? 'did not answer' : `answered ${status}`;
    return `To the last request, ${method} ${path}, the CRM ${answer}${reason === null ? '.' : `: ${reason}`}`;
  }

  /** The same adapter, which gives up after a minute. */
  #patient(adapter: Crm): Crm {
    return new Proxy(adapter, {
      get: (target, property) => {
        const value = Reflect.get(target, property);
        if (typeof value !== 'function') return value;
        const name = String(property);
        return (...args: unknown[]) => this.#named(name, () => within(name, value.apply(target, args)));
      },
    });
  }

  /** Remembers which call has ended in an error. */
  async #named<Result>(call: string, attempt: () => Promise<Result>): Promise<Result> {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof Error) this.#calls.set(error, call);
      throw error;
    }
  }
}

/** Creates people as if at the agency: Test Person-1, Test Person-2 … */
export function createPeople(crm: SimulatedCrm, count: number, entityType?: string): SimulatedRecord[] {
  return Array.from({ length: count }, (_, n) => crm.create(`Test Person-${n + 1}`, null, entityType));
}

/** The CRM's clock, set to ours. */
export function endHourBehind(crm: SimulatedCrm): void {
  crm.setHabits({ skewMilliseconds: 0 });
}

/** Identifies a record to an adapter, with its current version. */
export function keyOf(crm: SimulatedCrm, { externalId }: { externalId: string }) {
  const { entityType, version } = current(crm, externalId);
  return { entityType, externalId, version };
}

/** A record as the CRM has it now. */
export function current(crm: SimulatedCrm, externalId: string): SimulatedRecord {
  const record = crm.records().find((other) => other.externalId === externalId);
  if (record === undefined) throw new Error(`The simulated CRM has no record ${externalId}.`);
  return record;
}

export function isActive({ state }: CrmRecord): boolean {
  return state === 'active';
}

/** An error in the CRM's own form. */
export function refusal(crm: SimulatedCrm, status: number, headers?: Record<string, string>): Reply {
  const reply = crm.dialect.error(status, 'Refused by the simulated CRM.');
  return { ...reply, headers: { ...reply.headers, ...headers } };
}

/** Answers all requests with this, until the promise of the function is settled. */
export async function whileAnswering<Result>(
  crm: SimulatedCrm,
  answer: Reply | ((call: Call) => Reply | undefined),
  attempt: () => Promise<Result>,
): Promise<Result> {
  crm.intercept(typeof answer === 'function' ? answer : () => answer);
  try {
    return await attempt();
  } finally {
    crm.intercept(null);
  }
}

/** What was thrown; undefined if nothing was. */
export async function thrownBy(attempt: Promise<unknown>): Promise<unknown> {
  return attempt.then(
    () => undefined,
    (error) => (error instanceof Broken ? Promise.reject(error) : (error ?? new Error('nothing'))),
  );
}

/** What was returned; an error breaks the rule. */
export async function reached<Result>(attempt: Promise<Result>, what: string): Promise<Result> {
  return attempt.catch((error) => {
    throw error instanceof Broken
      ? error
      : new Broken(`${what} ends in ${describe(error)}.`, { cause: error });
  });
}

/** What an error is, for a person. */
export function describe(error: unknown): string {
  if (error instanceof CrmError) {
    const { kind, retryable, code } = error;
    return `a CrmError of kind ${kind}, ${retryable ? '' : 'not '}retryable, code ${code ?? 'none'}`;
  }
  return error instanceof Error ? `a ${error.name}, not a CrmError: ${error.message}` : 'what is no Error';
}

/** What a call returns; an error once it has taken a minute. */
async function within<Result>(name: string, attempt: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Broken(`${name} has not ended after ${patienceMilliseconds / 1000} seconds.`);
    timer = setTimeout(reject, patienceMilliseconds, error);
  });
  return Promise.race([attempt, late]).finally(() => clearTimeout(timer));
}
