import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { checkAdapter, themes } from '../../examples/adapter-conformance/check-adapter.js';
import { reapitApp } from '../../examples/simulated-crm/keys.js';
import { startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import type { Credentials } from '../../src/credentials.js';
import { type Provider, providers } from '../../src/index.js';

let page: string;
beforeAll(async () => {
  page = await readFile(projectPath('docs/adapters.md'), 'utf8');
});

test('docs/adapters.md lists each rule of the conformance suite, by theme and in its words', () => {
  const [, section = ''] =
    /^## What an adapter has to answer for$([\s\S]*?)^The suite cannot/m.exec(page) ?? [];
  const themesListed = [...section.matchAll(/^### (.*)$/gm)].map(([, title]) => title);
  expect(themesListed).toEqual(themes.map(({ title }) => title));
  const listed = [...section.matchAll(/^- \*\*(.*?)\*\*\. (.*)$/gm)].map(([, name, reason]) => ({
    name,
    reason,
  }));
  expect(listed).toEqual(themes.flatMap(({ rules }) => rules.map(({ name, reason }) => ({ name, reason }))));
});

test('the example adapter of docs/adapters.md compiles, and keeps every rule', async () => {
  const [, code = ''] = /^```ts\n(import type \{ Subject \}[\s\S]*?)^```$/m.exec(page) ?? [];
  const folder = await mkdtemp(projectPath('test/documents/tmp-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'my-crm.ts');
  await writeFile(path, code.replaceAll("from './", "from '../../../examples/"));
  const config = join(folder, 'tsconfig.json');
  await writeFile(config, JSON.stringify({ extends: projectPath('tsconfig.json'), include: [path] }));
  const compiler = projectPath('node_modules/typescript-7/bin/tsc');
  await promisify(execFile)(process.execPath, [compiler, '--noEmit', '--project', config]);
  const { default: subject } = await import(path);
  const findings = await checkAdapter(subject);
  expect(findings.filter(({ outcome }) => outcome === 'broken')).toEqual([]);
});

const lists: { [P in Provider]: (url: string, credentials: Credentials<P>) => Promise<Response> } = {
  agentos: (url, { apiKey, shortName }) =>
    fetch(`${url}/${shortName}/people`, { headers: { api_key: apiKey } }),
  async reapit(url, { customer = '' }) {
    const authorization = `Basic ${btoa(`${reapitApp.id}:${reapitApp.secret}`)}`;
    const form = { grant_type: 'client_credentials', client_id: reapitApp.id };
    const headers = { 'api-version': '2020-01-31', 'reapit-customer': customer };
    const token = await tokenOf(url, form, { authorization });
    return fetch(`${url}/contacts`, { headers: { ...headers, authorization: `Bearer ${token}` } });
  },
  async alto(url, { agencyRef, client }) {
    const form = { client_id: String(client?.id), client_secret: String(client?.secret) };
    const token = await tokenOf(url, { grant_type: 'client_credentials', ...form });
    return fetch(`${url}/contacts`, { headers: { AgencyRef: agencyRef, authorization: `Bearer ${token}` } });
  },
  street: (url, { token }) => {
    return fetch(`${url}/people?page[number]=1`, { headers: { authorization: `Bearer ${token}` } });
  },
  loop: (url, { apiKey }) => fetch(`${url}/contacts?page=1`, { headers: { 'x-api-key': apiKey } }),
  custom: (url, credentials) => {
    const token = credentials.scheme === 'bearer' ? credentials.token : '';
    return fetch(`${url}/changes`, { headers: { authorization: `Bearer ${token}` } });
  },
};

test.each(providers)(
  '%s: the simulated CRM answers in the shape that docs/adapters.md shows',
  async (provider) => {
    const [, shown = ''] =
      new RegExp(`<!-- ${provider} -->\n\`\`\`json\n([\\s\\S]*?)\`\`\``).exec(page) ?? [];
    const crm = await startSimulatedCrm({ provider, seed: 1 });
    onTestFinished(() => crm.stop());
    crm.create({ name: 'Ines Example', email: 'ines@example.com', phone: '020 7946 0001' });
    const list = lists[provider] as (url: string, credentials: unknown) => Promise<Response>;
    const answer = await list(crm.url, crm.credentials);
    expect(shapeOf(JSON.parse(shown))).toEqual(shapeOf(await answer.json()));
  },
);

async function tokenOf(url: string, form: Record<string, string>, headers: Record<string, string> = {}) {
  const answer = await fetch(`${url}/token`, { method: 'POST', headers, body: new URLSearchParams(form) });
  return ((await answer.json()) as { access_token: string }).access_token;
}

/** The same with the values of ids, times and versions left out, because they differ. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== 'object' || value === null) return value;
  const differing = /^(OID|ETag|_eTag|id|modified|updated_at|cursor)$/;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, differing.test(key) ? 'differs' : shapeOf(each)]),
  );
}
