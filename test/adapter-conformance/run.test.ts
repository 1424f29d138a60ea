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

/** Runs the program on Reapit's adapter with other members, or opened with other credentials. */
async function runChanged(members: string, credentials = '') {
  const folder = await mkdtemp(projectPath('test/adapter-conformance/tmp-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'subject.ts');
  await writeFile(
    path,
    `import reapit from '../../../examples/adapter-conformance/reapit-subject.js';
     export default {
       provider: 'reapit',
       async open(access) {
         const credentials = { ...access.credentials, ${credentials} };
         const adapter = await reapit.open({ ...access, credentials });
         return { ...adapter, ${members} };
       },
     };`,
  );
  return run(path);
}

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
  const { code, stdout } = await runChanged("account: 'another', read: async () => null");
  expect(code, stdout).toBe(1);
  expect(stdout).toContain(`  broken  names the account
            The account is another, and that of the connection SBOX.
            Why: Ids belong to an account: those of another would be taken for
            the same people.
            To do: Give account the name that credentialAccount of the package
            reads from the credentials: the worker compares exactly.
`);
  expect(stdout).toContain('  broken  reads one record as it is now');
  expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
});

test('run.ts: an adapter whose requests are refused is told which and why, and no other rule is tried', async () => {
  const { code, stdout } = await runChanged('', "customer: 'OTHER'");
  expect(code, stdout).toBe(1);
  expect(stdout).toContain(`
A first page
  broken  opens, and reads a page
            readPage ended in a CrmError of kind permission, not retryable, code
            403. To the last request, GET /contacts, the CRM answered 403: `);
  expect(stdout).toMatch(new RegExp(`\n0 ok, 1 broken, 0 not applicable, ${rules.length - 1} not tried\n$`));
});

test('run.ts: of an adapter that reads the same page again, it says so once, and how to go on', async () => {
  const { code, stdout } = await runChanged(
    'readPage: (type) => adapter.readPage(type, { changedSince: null })',
  );
  expect(code, stdout).toBe(1);
  expect(stdout).toContain(`  broken  reads every record
            Page 2 repeats page 1, with the same next.
            Why: A first sync reads what the agency has had for years.
            To do: Put the CRM's own token, or the number of the next page, into
            next, and send it with the next request.
`);
  expect(stdout).toContain('            As above, in “reads every record”.\n');
  expect(stdout.split('Page 2 repeats page 1, with the same next.')).toHaveLength(2);
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
