import type { Provider } from '@nurturehub/crm-schema';
import { errors } from './error-rules.js';
import { passes } from './pass-rules.js';
import { positions } from './position-rules.js';
import { reads } from './read-rules.js';
import { records } from './record-rules.js';
import { Broken, type Finding, NotApplicable, type Rule, type Subject, type Theme } from './rule.js';
import { signIn } from './sign-in-rules.js';
import { readsAPage, start } from './start-rule.js';
import { Trial } from './trial.js';
import { writes } from './write-rules.js';

/** Every rule that an adapter has to keep. */
export const themes: readonly Theme[] = [start, passes, positions, records, reads, writes, errors, signIn];

/**
 * Tries an adapter on simulated CRMs that misbehave as real ones do, and says which rules it breaks. It needs no
 * database, and takes a few seconds. If not even a page can be read, it tries no other rule.
 *
 * @param onFinding called with each finding as soon as there is one
 */
export async function checkAdapter<P extends Provider>(
  subject: Subject<P>,
  onFinding: (finding: Finding) => void = () => {},
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { title, rules } of themes) {
    for (const rule of rules) {
      const finding = { theme: title, rule, ...(await outcomeOf(rule, subject as unknown as Subject)) };
      findings.push(finding);
      onFinding(finding);
      if (rule === readsAPage && finding.outcome === 'broken') return findings;
    }
  }
  return findings;
}

async function outcomeOf(
  rule: Rule,
  subject: Subject,
): Promise<Pick<Finding, 'outcome' | 'found' | 'advice'>> {
  const trial = new Trial(subject);
  try {
    await rule.check(trial);
    return { outcome: 'ok', found: '' };
  } catch (error) {
    if (error instanceof NotApplicable) return { outcome: 'not applicable', found: error.message };
    if (!(error instanceof Broken)) return { outcome: 'broken', found: trial.ending(error) };
    const { message, cause, advice } = error;
    const found = cause === undefined ? message : `${message} ${trial.lastAnswer()}`;
    return { outcome: 'broken', found, advice };
  } finally {
    await trial.stop();
  }
}
