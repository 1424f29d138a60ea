import { readdir, readFile } from 'node:fs/promises';
import { validate as dockerfileProblems } from 'dockerfile-utils';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { projectPath } from '../../dev/database.js';
import { runCli } from '../support/cli.js';
import { useDatabase } from '../support/database.js';
import { migrations } from '../support/migrations.js';
import { manifestProblems } from './manifests.js';
import { workflowProblems } from './workflow.js';

const database = useDatabase('empty');
const other = useDatabase('host');
const folder = projectPath('examples/deploy');
const { engines, bin } = JSON.parse(await readFile(projectPath('package.json'), 'utf8'));

/** The release in progress, or the last one. */
const [, version] = /^## (\S+)$/m.exec(await readFile(projectPath('CHANGELOG.md'), 'utf8')) ?? [];

function read(name: string): Promise<string> {
  return readFile(`${folder}/${name}`, 'utf8');
}

/** The documents of a YAML file. */
function documents(text: string) {
  return parseAllDocuments(text, { merge: true, version: '1.1' }).map((document) => {
    expect([...document.errors, ...document.warnings]).toEqual([]);
    return document.toJS();
  });
}

/** The arguments of each `crm-schema …` in a job of the workflow. */
async function commandsOf(job: string): Promise<string[][]> {
  const [{ jobs }] = documents(await read('github-actions.yml'));
  const scripts = jobs[job].steps.flatMap(({ run = '' }: { run?: string }) => run.split('\n'));
  return scripts
    .filter((line: string) => line.startsWith('npx --no -- crm-schema '))
    .map((line: string) =>
      line
        .replace(/ [>|] .*/, '')
        .split(' ')
        .slice(4),
    );
}

test('the README lists all files', async () => {
  const listed = [...(await read('README.md')).matchAll(/^\| \[([^\]]+)\]/gm)].map(([, name]) => name);
  expect(['README.md', ...listed].sort()).toEqual((await readdir(folder)).sort());
});

test.each(['migrate-job.yaml', 'upkeep-cronjob.yaml'])('%s is a valid Kubernetes manifest', async (name) => {
  const manifests = documents(await read(name));
  expect(manifests).toHaveLength(1);
  for (const manifest of manifests) {
    expect(manifestProblems(manifest)).toEqual([]);
    const { template } = (manifest.spec.jobTemplate ?? manifest).spec;
    expect(template.spec.restartPolicy).toBe('Never');
    for (const container of [...(template.spec.initContainers ?? []), ...template.spec.containers]) {
      expect(container.image).toBe(`registry.example.com/crm-schema:${version}`);
      expect(container.securityContext).toMatchObject({ readOnlyRootFilesystem: true });
    }
  }
});

test('the check of manifests rejects an unknown field and a wrong type', async () => {
  const [job] = documents((await read('migrate-job.yaml')).replace('backoffLimit', 'backOffLimit'));
  expect(manifestProblems(job).join()).toContain('backOffLimit');
  const [other] = documents(
    (await read('migrate-job.yaml')).replace('activeDeadlineSeconds: 3600', 'activeDeadlineSeconds: 1h'),
  );
  expect(manifestProblems(other).join()).toContain("'string' is not assignable to type 'number'");
});

test('the workflow is valid', async () => {
  const workflow = await read('github-actions.yml');
  expect(documents(workflow)).toHaveLength(1);
  expect(await workflowProblems(workflow)).toEqual([]);
});

test.each([
  ['a key', 'timeout-minutes', 'timeout-minute', /timeout-minute/],
  ['an expression', '${{ secrets.', '${{ secret.', /secret/],
])('the check of workflows rejects %s that GitHub does not know', async (_, right, wrong, message) => {
  const workflow = await read('github-actions.yml');
  expect((await workflowProblems(workflow.replace(right, wrong))).join()).toMatch(message);
});

test('the Dockerfile is valid, and runs the command as a user other than root', async () => {
  const dockerfile = await read('Dockerfile');
  expect(dockerfileProblems(dockerfile)).toEqual([]);
  expect(dockerfileProblems(dockerfile.replace('COPY', 'COPPY'))).not.toEqual([]);
  expect(dockerfile).toContain(
    '\nUSER node\nENTRYPOINT ["node_modules/.bin/crm-schema"]\nCMD ["migrate", "up"]\n',
  );
  expect(Object.keys(bin)).toEqual(['crm-schema']);
});

test('the image and the workflow use the same version of Node, which the package supports', async () => {
  const [, image] = /^FROM node:(\d+)-slim$/m.exec(await read('Dockerfile')) ?? [];
  const workflow = await read('github-actions.yml');
  const installed = [...workflow.matchAll(/node-version: (\d+)$/gm)].map(([, node]) => node);
  expect(new Set([image, ...installed]).size).toBe(1);
  const [, oldest] = /^>=(\d+)\./.exec(engines.node) ?? [];
  expect(Number(image)).toBeGreaterThan(Number(oldest));
});

test('the commands of the workflow, then those of the daily CronJob, succeed in order', async () => {
  const [, tables = ''] = /<<'SQL'\n([\s\S]*?)^ *SQL$/m.exec(await read('github-actions.yml')) ?? [];
  await database.pool.query(tables);
  const [upkeep] = documents(await read('upkeep-cronjob.yaml'));
  const { initContainers, containers } = upkeep.spec.jobTemplate.spec.template.spec;
  const [job] = documents(await read('migrate-job.yaml'));

  const calls: string[][] = [
    ...(await commandsOf('try')),
    ...(await commandsOf('plan')),
    ...(await commandsOf('migrate')),
    ...[...job.spec.template.spec.containers, ...initContainers, ...containers].map(({ args }) => args),
  ];
  expect(calls.map((args) => args.slice(0, 2).join(' '))).toEqual([
    'migrate up',
    'migrate down',
    'migrate up',
    'migrate status',
    'verify',
    'migrate plan',
    'migrate up',
    'migrate status',
    'verify',
    'migrate up',
    'partitions ensure',
    'partitions drop',
    'verify',
  ]);
  for (const args of calls) {
    const { code, stdout, stderr } = await runCli(args, { DATABASE_URL: database.url, NODE_ENV: 'test' });
    expect(code, `${args.join(' ')}\n${stdout}${stderr}`).toBe(0);
  }
  // Thirteen commands, each started from source.
});

test('the commands exit with the codes in the README', async () => {
  const env = { DATABASE_URL: 'postgres://user@127.0.0.1:1/database' };
  expect((await runCli(['migrate', 'up'], env)).code).toBe(1);
  expect((await runCli(['migrate', 'upwards'], env)).code).toBe(2);
  await database.pool.query(
    'delete from crm_schema_migrations where id = (select max(id) from crm_schema_migrations)',
  );
  expect((await runCli(['migrate', 'status', '--check'], { DATABASE_URL: database.url })).code).toBe(3);
});

test('migrate.ts migrates and verifies, and exits with 3 where something differs', async () => {
  const run = () =>
    runCli([], { DATABASE_URL: other.url }, ['--import', 'tsx', 'examples/deploy/migrate.ts']);
  const first = await run();
  expect(first).toMatchObject({ code: 0, stderr: '' });
  expect(first.stdout).toMatch(/^0001_prepare_host_tables: \d+ ms\n/);
  expect(first.stdout).toMatch(
    new RegExp(`\\n${migrations.length} migrations in schema public, 0 differences\\n$`),
  );
  await other.pool.query('drop index crm_sync_runs_expires_at_idx');
  expect(await run()).toEqual({
    code: 3,
    stdout: '0 migrations in schema public, 1 differences\n',
    stderr: '',
  });
});
