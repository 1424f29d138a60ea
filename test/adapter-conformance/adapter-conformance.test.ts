import { describe, expect, test } from 'vitest';
import { checkAdapter, themes } from '../../examples/adapter-conformance/check-adapter.js';
import type { Finding } from '../../examples/adapter-conformance/rule.js';
import { type Provider, providers } from '../../src/index.js';
import { brokenAdapters } from './broken-adapters.js';
import { subjectOf } from './subjects.js';

const rules = themes.flatMap((theme) => theme.rules.map(({ name }) => name));

const checked = new Map<Provider, Promise<Finding[]>>();
function findingsOf(provider: Provider): Promise<Finding[]> {
  const findings = checked.get(provider) ?? checkAdapter(subjectOf(provider));
  checked.set(provider, findings);
  return findings;
}

/** The names of the broken rules, with what was found. */
function brokenIn(findings: Finding[]): Record<string, string> {
  const broken = findings.filter(({ outcome }) => outcome === 'broken');
  return Object.fromEntries(broken.map(({ rule, found }) => [rule.name, found]));
}

describe.concurrent('adapters that are right', () => {
  test.for(providers)('%s: the adapter keeps every rule', async (provider) => {
    const findings = await findingsOf(provider);
    expect(brokenIn(findings)).toEqual({});
    expect(findings.map(({ rule }) => rule.name)).toEqual(rules);
  });

  test('each rule applies to an adapter of the project', async () => {
    const all = await Promise.all(providers.map(findingsOf));
    const tried = all.flat().filter(({ outcome }) => outcome !== 'not applicable');
    expect(new Set(tried.map(({ rule }) => rule.name))).toEqual(new Set(rules));
  });
});

describe.concurrent('adapters that are broken in one way', () => {
  const named = brokenAdapters.map(({ what, rule, subject }) => {
    return [`one that ${what} breaks “${rule}”`, rule, subject] as const;
  });
  test.for(named)('%s, and no other', async ([, rule, subject]) => {
    const broken = brokenIn(await checkAdapter(subject));
    expect(Object.keys(broken), JSON.stringify(broken)).toEqual([rule]);
  });

  test('there is one for each rule', () => {
    expect(new Set(brokenAdapters.map(({ rule }) => rule))).toEqual(new Set(rules));
  });
});
