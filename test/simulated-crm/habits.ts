import type { Random } from './random.js';

/** How a simulated CRM behaves. Misbehaviour has a probability, 0 to 1, each drawn for each request. */
export interface Habits {
  /** The connection is cut before anything is done. */
  cut: number;
  /** A write is done, and the connection is cut without an answer. */
  lostAnswer: number;
  /** A refresh token is used up, and the connection is cut without an answer: its successor is lost. */
  lostToken: number;
  /** What was asked is done, and no answer comes until the client gives up. */
  silence: number;
  /** 429, and nothing is done. */
  rateLimited: number;
  /** 500 or 503, and nothing is done; or 502, which a gateway may say after it was done. */
  serverError: number;
  /** The answer comes late, by up to `slowMilliseconds`: what it says may be old by then. */
  slow: number;
  slowMilliseconds: number;
  /** A change shows in lists late, by up to `lateCommitMilliseconds` after its modified time. */
  lateCommit: number;
  lateCommitMilliseconds: number;
  /** How far the CRM's clock is ahead of ours; negative if it is behind. */
  skewMilliseconds: number;
  /** More requests than this within `requestWindowMilliseconds` get a 429. */
  requestLimit: number;
  requestWindowMilliseconds: number;
  /** What a 429 asks for: whole seconds. */
  retryAfterSeconds: number;
  /** How long access tokens live (Reapit, Alto). */
  accessTokenMilliseconds: number;
  /** The most records on a page. */
  pageSize: number;
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
  requestLimit: Number.POSITIVE_INFINITY,
  requestWindowMilliseconds: 60_000,
  retryAfterSeconds: 1,
  accessTokenMilliseconds: 3_600_000,
  pageSize: 20,
};

/** A bad day: every kind of misbehaviour that a sync gets over without a person. */
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
  pageSize: 7,
};

/** The same CRM when it does nothing wrong any more: its clock and its sizes stay. */
export function calmed(habits: Habits): Habits {
  const { skewMilliseconds, accessTokenMilliseconds, pageSize } = habits;
  return { ...calmHabits, skewMilliseconds, accessTokenMilliseconds, pageSize };
}

/** What will go wrong with one request. */
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
 * Draws the fate of the next request. Always as many numbers, so that the fate of the n-th request is the
 * same for the same seed, whatever the request is.
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
