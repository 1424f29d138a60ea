import type { Provider } from '@nurturehub/crm-schema';
import type { Credentials } from '@nurturehub/crm-schema/credentials';
import type { Crm } from '../crm.js';
import type { Dialect } from '../simulated-crm/dialects/dialect.js';
import type { Trial } from './trial.js';

/** An adapter to check. */
export interface Subject<P extends Provider = Provider> {
  /** The CRM that it is for. `custom` for one of your own. */
  provider: P;
  /** The API of a CRM of your own, for the simulated CRM. */
  dialect?: Dialect;
  /** Opens the adapter, as `openCrm` of your worker does: signs in, if it has to. It is called many times. */
  open(access: Access<P>): Crm | Promise<Crm>;
}

/** Where a simulated CRM is, and how to sign in to it. */
export interface Access<P extends Provider = Provider> {
  /** In place of the CRM's own address. */
  url: string;
  credentials: Credentials<P>;
  /** How long the adapter should wait for an answer. */
  timeoutMilliseconds: number;
}

/** What an adapter has to answer for. */
export interface Rule {
  /** Completes "The adapter …". */
  name: string;
  /** Why it matters. */
  reason: string;
  /** What to do if it is broken. */
  advice: string;
  /**
   * Tries it.
   *
   * @throws Broken if the adapter breaks the rule
   * @throws NotApplicable if the CRM cannot show whether it does
   */
  check(trial: Trial): Promise<void>;
}

/** The rules on one subject. */
export interface Theme {
  title: string;
  rules: readonly Rule[];
}

/** What became of a rule. */
export interface Finding {
  theme: string;
  rule: Rule;
  outcome: 'ok' | 'broken' | 'not applicable';
  /** What was found, or why the rule does not apply; empty if it was kept. */
  found: string;
  /** What to do, if that is not the rule's own advice. */
  advice?: string | undefined;
}

/** The adapter breaks the rule. */
export class Broken extends Error {
  /** What to do, if that is not the rule's own advice. */
  readonly advice: string | undefined;

  /** @param details.cause the error that the adapter has thrown, if the CRM's last answer may explain it */
  constructor(found: string, { advice, cause }: { advice?: string; cause?: unknown } = {}) {
    super(found, { cause });
    this.advice = advice;
  }
}

/** The rule says nothing of an adapter for this CRM. */
export class NotApplicable extends Error {}

export function expect(isKept: boolean, found: string): asserts isKept {
  if (!isKept) throw new Broken(found);
}

export function applies(isSo: boolean, why: string): asserts isSo {
  if (!isSo) throw new NotApplicable(why);
}
