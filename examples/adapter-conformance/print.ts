import type { Finding } from './rule.js';

const width = 80;

/**
 * A finding as lines of at most 80 columns, unless a word is longer.
 *
 * @param other the name of a rule of which the same was found, if there is one
 */
export function linesOf({ rule, outcome, found, advice = rule.advice }: Finding, other?: string): string[] {
  const first = `  ${outcome === 'not applicable' ? '-' : outcome}`.padEnd(10) + rule.name;
  if (outcome === 'ok') return [first];
  if (outcome === 'not applicable') return [first, ...wrapped(`Not tried: ${found}.`)];
  if (other !== undefined) return [first, ...wrapped(`As above, in “${other}”.`)];
  return [first, ...wrapped(found), ...wrapped(`Why: ${rule.reason}`), ...wrapped(`To do: ${advice}`)];
}

/**
 * How many rules are kept, and how many are broken.
 *
 * @param total the number of rules
 */
export function summaryOf(findings: readonly Finding[], total: number): string {
  const count = (outcome: Finding['outcome']) =>
    findings.filter((finding) => finding.outcome === outcome).length;
  const tried = `${count('ok')} ok, ${count('broken')} broken, ${count('not applicable')} not applicable`;
  return findings.length === total ? tried : `${tried}, ${total - findings.length} not tried`;
}

function wrapped(text: string): string[] {
  const indent = ' '.repeat(12);
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(/\s+/)) {
    const longer = line === indent ? indent + word : `${line} ${word}`;
    if (longer.length > width && line !== indent) {
      lines.push(line);
      line = indent + word;
    } else line = longer;
  }
  return [...lines, line];
}
