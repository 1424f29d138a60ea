// Checks an adapter, and prints which rules it breaks. The module's default export is the adapter's subject: which CRM
// it is for, and how to open it (rule.ts).
//   npx tsx adapter-conformance/run.ts my-crm.ts
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkAdapter, themes } from './check-adapter.js';
import { linesOf, summaryOf } from './print.js';
import type { Subject } from './rule.js';

const [path] = process.argv.slice(2);
if (path === undefined) {
  console.error('Usage: run.ts <module whose default export says how to open the adapter>');
  process.exit(2);
}
const { default: subject } = (await import(pathToFileURL(resolve(path)).href)) as { default?: Subject };
if (typeof subject?.open !== 'function' || typeof subject.provider !== 'string') {
  console.error(`${path} has no default export with provider and open. See adapter-conformance/rule.ts.`);
  process.exit(2);
}

let theme = '';
/** The first rule of which something was found. */
const ruleOf = new Map<string, string>();
const findings = await checkAdapter(subject, (finding) => {
  if (finding.theme !== theme) {
    theme = finding.theme;
    console.log(`\n${theme}`);
  }
  const { outcome, found, rule } = finding;
  for (const line of linesOf(finding, ruleOf.get(found))) console.log(line);
  if (outcome === 'broken' && !ruleOf.has(found)) ruleOf.set(found, rule.name);
});
console.log(`\n${summaryOf(findings, themes.flatMap(({ rules }) => rules).length)}`);
if (findings.some(({ outcome }) => outcome === 'broken')) process.exitCode = 1;
