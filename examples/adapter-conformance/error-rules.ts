import { CrmError } from '../crm.js';
import {
  answer,
  contact,
  cutLine,
  type Failure,
  halfBody,
  htmlPage,
  kindRule,
  otherShape,
  silence,
  startAttempts,
  status,
  thrownDuring,
} from './failures.js';
import { expect, type Rule, type Theme } from './rule.js';
import { describe, refusal } from './trial.js';

const failures: Record<string, Failure> = {
  'the CRM answers 401': status(401),
  'the CRM answers 403': status(403),
  'the CRM answers 422': status(422),
  'the CRM answers 429': status(429),
  'the CRM answers 500': status(500),
  'the CRM answers 503': status(503),
  'a gateway answers 502 with a page of HTML': htmlPage(502),
  'a gateway answers 200 with a page of HTML': htmlPage(200),
  'a body ends early': halfBody,
  'the CRM answers 200 with JSON of another shape': otherShape,
  'the line is cut': cutLine,
};

const throwsErrors: Rule = {
  name: 'turns every failure into a CrmError',
  reason:
    'A failure that is taken for an empty page ends the pass, and what it would have read is never read. Any other error says nothing of what to do next.',
  advice: 'Throw a CrmError unless the answer is the one that you expect: status, JSON, and shape.',
  async check(trial) {
    const attempts = await startAttempts(trial);
    for (const [what, failure] of Object.entries(failures)) {
      for (const [method, error] of await thrownDuring(attempts, failure)) {
        expect(error !== undefined, `When ${what}, ${method} returns as if nothing had happened.`);
        expect(error instanceof CrmError, `When ${what}, ${method} throws ${describe(error)}.`);
      }
    }
  },
};

const keepsSecrets: Rule = {
  name: 'keeps secrets and personal data out of errors',
  reason: 'Messages and codes of errors are stored in the log, and shown to people.',
  advice:
    "Write your own message, and leave out the CRM's, the address and the request. Let rateLimitScope be an id or the account, never the key.",
  async check(trial) {
    const attempts = await startAttempts(trial);
    const seen = new Set<string>();
    attempts.crm.intercept(({ headers }) => {
      for (const name of ['authorization', 'api_key', 'x-api-key']) seen.add(String(headers[name] ?? ''));
      return undefined;
    });
    await attempts.calls.readPage();
    const secrets = [...seen].map((header) => header.replace(/^\w+ /, '')).filter((text) => text.length > 7);
    const scope = attempts.adapter.rateLimitScope ?? '';
    expect(
      !secrets.some((secret) => scope.includes(secret)),
      'rateLimitScope has the key that requests are made with.',
    );
    const text = [`${contact.name} <${contact.email}> ${contact.phone} is not valid`, ...secrets].join(' ');
    for (const code of [401, 422, 500]) {
      const says = answer((crm) => ({ ...refusal(crm, code), ...crm.dialect.error(code, text) }));
      for (const [method, error] of await thrownDuring(attempts, says)) {
        const { message, code: given, cause } = (error ?? {}) as CrmError;
        const told = [message, given, cause instanceof Error ? cause.message : JSON.stringify(cause)].join(
          ' ',
        );
        const isSafe = ![contact.name, contact.email, contact.phone, ...secrets].some((word) =>
          told.includes(word),
        );
        expect(
          isSafe,
          `When the CRM answers ${code}, the error of ${method} repeats what only the CRM should know.`,
        );
      }
    }
  },
};

const readsRetryAfter: Rule = {
  name: 'says how long the CRM asks to wait',
  reason:
    'The worker waits for as long; too short a wait may block the agency, and too long a one delays all.',
  advice:
    'Read Retry-After, in seconds or as a date, into retryAfterSeconds. Without it, leave that undefined.',
  async check(trial) {
    const attempts = await startAttempts(trial);
    const date = () => new Date(attempts.crm.now() + 90_000).toUTCString();
    const cases: [string, Record<string, string>, number | undefined][] = [
      ['has a Retry-After of 7', { 'retry-after': '7' }, 7],
      ["has a Retry-After of a date in 90 seconds, by the CRM's clock", { 'retry-after': date() }, 90],
      ['has no Retry-After', {}, undefined],
    ];
    for (const [what, headers, wanted] of cases) {
      for (const [method, error] of await thrownDuring(attempts, status(429, headers))) {
        if (!(error instanceof CrmError) || error.kind !== 'rate_limited') continue;
        const seconds = error.retryAfterSeconds;
        const isRight = wanted === undefined ? seconds === undefined : Math.abs((seconds ?? 0) - wanted) <= 5;
        expect(isRight, `When a 429 ${what}, the error of ${method} says ${seconds ?? 'nothing'}.`);
      }
    }
  },
};

export const errors: Theme = {
  title: 'Errors',
  rules: [
    throwsErrors,
    keepsSecrets,
    kindRule(
      {
        name: '401 is auth',
        reason: 'The worker then tries newer credentials, and the agency is asked to sign in again.',
        advice: 'Throw a CrmError of kind auth if the CRM refuses the token, also one that was just renewed.',
      },
      { kind: 'auth' },
      { 'the CRM answers 401': status(401) },
    ),
    kindRule(
      {
        name: '403 is permission',
        reason: 'Somebody must grant something; a new token does not help.',
        advice: 'Throw a CrmError of kind permission, not retryable.',
      },
      { kind: 'permission', retryable: false },
      { 'the CRM answers 403': status(403) },
    ),
    kindRule(
      {
        name: '400 and 422 are validation, for good',
        reason: 'The same values are refused again. A person has to see it.',
        advice: 'Throw a CrmError of kind validation, not retryable.',
      },
      { kind: 'validation', retryable: false },
      { 'the CRM answers 400': status(400), 'the CRM answers 422': status(422) },
    ),
    kindRule(
      {
        name: '409 and 412 are conflict',
        reason: 'The worker reads the record, and decides who wins.',
        advice: 'Throw a CrmError of kind conflict, unless you know what a 409 of this CRM means.',
      },
      { kind: 'conflict' },
      { 'the CRM answers 409': status(409), 'the CRM answers 412': status(412) },
    ),
    kindRule(
      {
        name: '429 is rate_limited',
        reason: 'It ends nothing: the worker waits, and so do the others that share the limit.',
        advice: 'Throw a CrmError of kind rate_limited, retryable.',
      },
      { kind: 'rate_limited', retryable: true },
      { 'the CRM answers 429': status(429) },
    ),
    readsRetryAfter,
    kindRule(
      {
        name: '5xx is provider, and worth another try',
        reason: 'The CRM is at fault, and only for a while.',
        advice: 'Throw a CrmError of kind provider, retryable, whatever the body is.',
      },
      { kind: 'provider', retryable: true },
      {
        'the CRM answers 500': status(500),
        'the CRM answers 503': status(503),
        'a gateway answers 502 with a page of HTML': htmlPage(502),
      },
    ),
    kindRule(
      {
        name: 'an answer that is not the CRM’s is provider',
        reason: 'A gateway, or a CRM under maintenance, has answered. The next answer may be right.',
        advice: 'Throw a CrmError of kind provider, retryable, if a body is not JSON or has another shape.',
      },
      { kind: 'provider', retryable: true },
      {
        'a gateway answers 200 with a page of HTML': htmlPage(200),
        'a body ends early': halfBody,
        'the CRM answers 200 with JSON of another shape': otherShape,
      },
    ),
    kindRule(
      {
        name: 'a cut line is network',
        reason: 'Nobody knows whether a write was done, so it is tried again.',
        advice: 'Turn the error of fetch into a CrmError of kind network, retryable.',
      },
      { kind: 'network', retryable: true },
      { 'the line is cut': cutLine },
    ),
    {
      name: 'silence is timeout',
      reason: 'A worker that waits for ever holds its lease until it expires.',
      advice:
        'Give each request a time limit: the timeoutMilliseconds that open is given. Then throw a CrmError of kind timeout, retryable.',
      async check(trial) {
        const attempts = await startAttempts(trial, 2_000);
        let isLate = false;
        // A timer, not a clock: on a busy machine, it is as late as the adapter's.
        const timer = setTimeout(() => {
          isLate = true;
        }, 4_500);
        const thrown = await thrownDuring(attempts, silence);
        clearTimeout(timer);
        expect(!isLate, 'With a timeoutMilliseconds of 2,000, the adapter waits for more than 4 seconds.');
        for (const [method, error] of thrown) {
          const isRight = error instanceof CrmError && error.kind === 'timeout' && error.retryable;
          const what = error === undefined ? 'returns' : `throws ${describe(error)}`;
          expect(isRight, `When the CRM does not answer, ${method} ${what}.`);
        }
      },
    },
  ],
};
