import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { checkAdapter, themes } from '../../examples/adapter-conformance/check-adapter.js';
import type { Subject } from '../../examples/adapter-conformance/rule.js';
import { sender } from '../../examples/adapters/http.js';
import { custom } from '../../examples/simulated-crm/dialects/custom.js';
import type { Dialect } from '../../examples/simulated-crm/dialects/dialect.js';
import { customCrm } from '../simulated-crm/adapters/custom.js';

const rules = themes.flatMap((theme) => theme.rules);

/** Runs the program, as a person does. */
async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const program = ['--import', 'tsx', 'examples/adapter-conformance/run.ts', ...args];
  return promisify(execFile)(process.execPath, program, { cwd: projectPath('.') }).then(
    (output) => ({ code: 0, ...output }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  );
}

test('run.ts: an adapter that keeps every rule ends in exit code 0', async () => {
  const { code, stdout } = await run('examples/adapter-conformance/reapit-subject.ts');
  expect(code, stdout).toBe(0);
  for (const { name } of rules) expect(stdout).toMatch(new RegExp(`^  ok +${name}$`, 'm'));
  expect(stdout).toMatch(new RegExp(`^${rules.length} ok, 0 broken, 0 not applicable$`, 'm'));
});

test('run.ts: an adapter that breaks rules ends in exit code 1, and what to do, in 80 columns', async () => {
  const folder = await mkdtemp(projectPath('test/adapter-conformance/tmp-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'subject.ts');
  await writeFile(
    path,
    `import reapit from '../../../examples/adapter-conformance/reapit-subject.js';
     export default {
       provider: 'reapit',
       async open(access) {
         const adapter = await reapit.open(access);
         return { ...adapter, account: 'another', read: async () => null };
       },
     };`,
  );
  const { code, stdout } = await run(path);
  expect(code, stdout).toBe(1);
  expect(stdout).toContain(`  broken  names the account
            The account is another, and the CRM's SBOX.
            Why: Ids belong to an account: those of another would be taken for
            the same people.
            To do: Give account the name that the CRM has for the agency, not
            for the product.
`);
  expect(stdout).toContain('  broken  reads one record as it is now');
  expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
});

test('run.ts: without a subject, it says how to use it, with exit code 2', async () => {
  expect(await run()).toMatchObject({ code: 2, stderr: expect.stringContaining('Usage: run.ts') });
  expect(await run('examples/crm.ts')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('has no default export with provider and open'),
  });
});

test('an adapter for a CRM of one’s own is checked with its dialect', async () => {
  // Like the custom one, but without phones, and with other paths.
  const own: Dialect = {
    ...custom,
    lacks: ['phone'],
    answer(call, world) {
      if (call.segments[0] !== 'v2') return own.error(404, 'No such resource.');
      const reply = custom.answer({ ...call, segments: call.segments.slice(1) }, world);
      return { ...reply, body: withoutPhones(reply.body) };
    },
  };
  const subject: Subject<'custom'> = {
    provider: 'custom',
    dialect: own,
    open({ url, credentials, timeoutMilliseconds }) {
      const token = credentials.scheme === 'bearer' ? credentials.token : '';
      const headers = () => ({ authorization: `Bearer ${token}` });
      return customCrm(sender({ url: `${url}/v2`, timeoutMilliseconds, headers }));
    },
  };
  const findings = await checkAdapter(subject);
  expect(findings.filter(({ outcome }) => outcome === 'broken')).toEqual([]);
  const elsewhere = await checkAdapter({ ...subject, dialect: custom });
  expect(elsewhere.some(({ outcome }) => outcome === 'broken')).toBe(true);
});

function withoutPhones(body: unknown): unknown {
  return JSON.parse(JSON.stringify(body, (key, value) => (key === 'phone' ? undefined : value)));
}
