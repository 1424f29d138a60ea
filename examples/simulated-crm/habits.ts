import type { Random } from './random.js';

/**
 * How a simulated CRM behaves. Each kind of misbehaviour has a probability from 0 to 1, drawn for each
 * request.
 */
export interface Habits {
  /** The CRM closes the connection before it does anything. */
  cut: number;
  /** The CRM writes, then closes the connection without an answer. */
  lostAnswer: number;
  /** The CRM uses up a refresh token, then closes the connection without an answer: its successor is lost. */
  lostToken: number;
  /** The CRM handles the request, but does not answer until the client times out. */
  silence: number;
  /** The CRM answers 429 and does nothing. */
  rateLimited: number;
  /** The CRM answers 500 or 503 and does nothing; or answers 502, as a gateway may after the work is done. */
  serverError: number;
  /** The answer is delayed by up to `slowMilliseconds`, so it may be out of date. */
  slow: number;
  slowMilliseconds: number;
  /** A change appears in lists up to `lateCommitMilliseconds` after its modified time. */
  lateCommit: number;
  lateCommitMilliseconds: number;
  /** How far the CRM's clock is ahead of ours; negative if it is behind. */
  skewMilliseconds: number;
  /** The steps of the CRM's clock: changes within one step have the same modified time. 0: no two changes share one. */
  clockStepMilliseconds: number;
  /** More requests than this within `requestWindowMilliseconds` get a 429. */
  requestLimit: number;
  requestWindowMilliseconds: number;
  /** The Retry-After of a 429, in whole seconds; null: it has none. */
  retryAfterSeconds: number | null;
  /** The lifetime of access tokens (Reapit, Alto). */
  accessTokenMilliseconds: number;
  /** The maximum number of records on a page. */
  pageSize: number;
  /** What the CRM does to the names that it stores. */
  naming: Naming;
}

/** What a CRM does to names. */
export type Naming = 'as sent' | 'Title Case' | 'UPPER CASE' | 'cut at 12';

/** A name as a CRM stores it. */
export function storedName(naming: Naming, name: string): string {
  switch (naming) {
    case 'as sent':
      return name;
    case 'Title Case':
      return name.toLowerCase().replace(/(?<![\p{L}\p{N}])\p{L}/gu, (letter) => letter.toUpperCase());
    case 'UPPER CASE':
      return name.toUpperCase();
    case 'cut at 12':
      return [...name].slice(0, 12).join('').trim();
  }
}

/** Without misbehaviour. */
export const calmHabits: Habits = {
  cut: 0,
  lostAnswer: 0,
  lostToken: 0,
  silence: 0,
  rateLimited: 0,
  serverError: 0,
  slow: 0,
  slowMilliseconds: 5,
  lateCommit: 0,
  lateCommitMilliseconds: 200,
  skewMilliseconds: 0,
  clockStepMilliseconds: 0,
  requestLimit: Number.POSITIVE_INFINITY,
  requestWindowMilliseconds: 60_000,
  retryAfterSeconds: 1,
  accessTokenMilliseconds: 3_600_000,
  pageSize: 20,
  naming: 'as sent',
};

/** A bad day: every kind of misbehaviour that a sync recovers from on its own. */
export const chaoticHabits: Habits = {
  ...calmHabits,
  cut: 0.05,
  lostAnswer: 0.1,
  silence: 0.01,
  rateLimited: 0.03,
  serverError: 0.06,
  slow: 0.3,
  lateCommit: 0.3,
  skewMilliseconds: -7_000,
  clockStepMilliseconds: 100,
  pageSize: 7,
};

/** The same CRM without misbehaviour; keeps its clock, token lifetime, page size and names. */
export function calmed(habits: Habits): Habits {
  const { skewMilliseconds, clockStepMilliseconds, accessTokenMilliseconds, pageSize, naming } = habits;
  const clock = { skewMilliseconds, clockStepMilliseconds };
  return { ...calmHabits, ...clock, accessTokenMilliseconds, pageSize, naming };
}

/** The misbehaviour for one request. */
export interface Fate {
  isCut: boolean;
  losesAnswer: boolean;
  losesToken: boolean;
  isSilent: boolean;
  isRateLimited: boolean;
  serverError: 500 | 502 | 503 | null;
  delayMilliseconds: number;
}

/**
 * Draws the fate of the next request. Always draws the same number of random numbers, so with the same seed
 * the n-th request always has the same fate, whatever it is.
 */
export function drawFate(random: Random, habits: Habits): Fate {
  const happens = (probability: number) => random() < probability;
  const [isCut, losesAnswer, losesToken] = [
    happens(habits.cut),
    happens(habits.lostAnswer),
    happens(habits.lostToken),
  ];
  const [isSilent, isRateLimited, fails, isSlow] = [
    happens(habits.silence),
    happens(habits.rateLimited),
    happens(habits.serverError),
    happens(habits.slow),
  ];
  const serverError = ([500, 502, 503] as const)[Math.floor(random() * 3)] ?? 500;
  const delay = random() * habits.slowMilliseconds;
  return {
    isCut,
    losesAnswer,
    losesToken,
    isSilent,
    isRateLimited,
    serverError: fails ? serverError : null,
    delayMilliseconds: isSlow ? delay : 0,
  };
}
