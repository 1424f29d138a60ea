import type { SyncErrorKind } from '@nurturehub/crm-schema';
import { type Crm, type CrmContact, CrmError, type CrmRecord } from '../crm.js';
import type { Reply } from '../simulated-crm/dialects/dialect.js';
import type { SimulatedCrm } from '../simulated-crm/server.js';
import { everything } from './reading.js';
import { expect, type Rule } from './rule.js';
import { createPeople, describe, keyOf, refusal, type Trial, thrownBy } from './trial.js';

export const contact = {
  contactId: 'test-contact',
  name: 'Ines Example',
  email: 'ines@example.com',
  phone: '020 7946 0001',
} satisfies CrmContact;

/** An adapter, and a call of each of its methods. */
export interface Attempts {
  crm: SimulatedCrm;
  adapter: Crm;
  /** By the name of the method. */
  calls: Record<'readPage' | 'read' | 'write', () => Promise<unknown>>;
}

/** Opens an adapter that has read before, so that it has signed in. */
export async function startAttempts(trial: Trial, timeoutMilliseconds?: number): Promise<Attempts> {
  const crm = await trial.start();
  const [record] = createPeople(crm, 1) as [CrmRecord];
  const adapter = await trial.open(crm, timeoutMilliseconds);
  await adapter.readPage('contact', everything);
  const key = keyOf(crm, record);
  const calls = {
    readPage: () => adapter.readPage('contact', everything),
    read: () => adapter.read('contact', record.externalId),
    write: () => adapter.write(contact, key),
  };
  return { crm, adapter, calls };
}

/** Makes a CRM fail; returns how to end that. */
export type Failure = (crm: SimulatedCrm) => () => void;

/** The CRM refuses each request with this status. */
export function status(code: number, headers?: Record<string, string>): Failure {
  return answer((crm) => refusal(crm, code, headers));
}

/** The CRM answers each request with this. */
export function answer(reply: (crm: SimulatedCrm) => Reply): Failure {
  return (crm) => {
    crm.intercept(() => reply(crm));
    return () => crm.intercept(null);
  };
}

export const cutLine: Failure = (crm) => {
  crm.setHabits({ cut: 1 });
  return () => crm.calm();
};

export const silence: Failure = (crm) => {
  crm.setHabits({ silence: 1 });
  return () => crm.calm();
};

/** What a gateway sends in place of the CRM. */
export const htmlPage = (code: number): Failure =>
  answer(() => ({ status: code, headers: { 'content-type': 'text/html' }, text: '<h1>Maintenance</h1>' }));

/** The start of a body, as when a gateway has lost the rest. */
export const halfBody: Failure = answer(() => ({
  status: 200,
  headers: { 'content-type': 'application/json' },
  text: '{"data": [{"id": "12',
}));

/** JSON of another shape than the CRM's, with a status that says all is well. */
export const otherShape: Failure = answer(() => ({ status: 200, body: { message: 'Under maintenance' } }));

/** What each method throws while the CRM fails; undefined for one that throws nothing. */
export async function thrownDuring({ crm, calls }: Attempts, failure: Failure) {
  const end = failure(crm);
  const names = Object.keys(calls) as (keyof typeof calls)[];
  const thrown = await Promise.all(names.map((name) => thrownBy(calls[name]())));
  end();
  return new Map(names.map((name, index) => [name, thrown[index]]));
}

/** A rule that failures become errors of one kind. Whether they become errors at all is another rule. */
export function kindRule(
  text: Pick<Rule, 'name' | 'reason' | 'advice'>,
  wanted: { kind: SyncErrorKind; retryable?: boolean },
  failures: Record<string, Failure>,
  timeoutMilliseconds?: number,
): Rule {
  return {
    ...text,
    async check(trial) {
      const attempts = await startAttempts(trial, timeoutMilliseconds);
      for (const [what, failure] of Object.entries(failures)) {
        for (const [method, error] of await thrownDuring(attempts, failure)) {
          if (!(error instanceof CrmError)) continue;
          const isRight =
            error.kind === wanted.kind && error.retryable === (wanted.retryable ?? error.retryable);
          expect(isRight, `When ${what}, ${method} throws ${describe(error)}.`);
        }
      }
    },
  };
}
