import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { projectPath } from '../../dev/database.js';
import { comesFromFolder, postgresVersions } from '../../dev/embedded-postgres.js';
import { workflowProblems } from '../deploy/workflow.js';

const run = promisify(execFile);
const read = (path: string) => readFile(projectPath(path), 'utf8');
const packageJson = JSON.parse(await read('package.json'));

test('the CI workflow is valid for GitHub, and the test finds a workflow that is not', async () => {
  const workflow = await read('.github/workflows/ci.yml');
  expect(await workflowProblems(workflow)).toEqual([]);
  expect(await workflowProblems(workflow.replace('runs-on:', 'run-on:'))).not.toEqual([]);
});

test('the CI workflow calls .ci/run, and the suite on each PostgreSQL version', async () => {
  const { jobs } = parse(await read('.github/workflows/ci.yml'));
  const commands = (job: string) =>
    jobs[job].steps.flatMap(({ run }: { run?: string }) => (run === undefined ? [] : [run]));
  expect(commands('check')).toContain('.ci/run');
  expect(commands('postgres').at(-1)).toMatch(
    /^npm run test:postgres-versions -- \$\{\{ matrix\.version }}$/,
  );
  expect(jobs.postgres.strategy.matrix.version.map(String)).toEqual(postgresVersions);
});

test('the CI workflow makes the folder of each PostgreSQL version that npm does not have', async () => {
  const { jobs } = parse(await read('.github/workflows/ci.yml'));
  const step = jobs.postgres.steps.find(({ run }: { run?: string }) => run?.includes('debian-postgres'));
  const [withoutPackage] = postgresVersions.filter(comesFromFolder);
  expect(step.if).toBe(`matrix.version == ${withoutPackage}`);
  expect(step.run).toContain(`dev/debian-postgres/build.sh "$RUNNER_TEMP/postgres" ${withoutPackage}`);
  expect(step.run).toContain('TEST_POSTGRES_FOLDER=$RUNNER_TEMP/postgres');
});

test('the CI workflow runs the package tests on each Node that CONVENTIONS.md names, beginning with the oldest', async () => {
  const { jobs } = parse(await read('.github/workflows/ci.yml'));
  const versions: string[] = jobs.node.strategy.matrix.version.map(String);
  const [, named = ''] = /Node (\d[\d., and]+\d)/.exec(await read('CONVENTIONS.md')) ?? [];
  expect(versions).toEqual(named.split(/, | and /));
  expect(packageJson.engines.node).toBe(`>=${versions[0]}`);
  expect(jobs.node.steps.at(-1).run).toBe('npx vitest run test/package');
});

test('the CI workflow tests the package on the other runtimes, in the versions of the script', async () => {
  const { jobs } = parse(await read('.github/workflows/ci.yml'));
  const steps: { run?: string }[] = jobs.runtimes.steps;
  const installs = steps.findIndex(({ run }) => run?.includes('other-runtimes/install.sh'));
  expect(steps[installs]?.run).toContain('dev/other-runtimes/install.sh "$RUNNER_TEMP/runtimes"');
  expect(steps[installs]?.run).toContain('TEST_OTHER_RUNTIMES=$RUNNER_TEMP/runtimes');
  expect(steps[installs + 1]?.run).toBe('npx vitest run test/package/other-runtimes.test.ts');
  const [, packages = ''] =
    /^npm install (?:--\S+ )+(.*)$/m.exec(await read('dev/other-runtimes/install.sh')) ?? [];
  expect(packages.split(' ')).toHaveLength(3);
  for (const each of packages.split(' ')) expect(each).toMatch(/.@\d+\.\d+\.\d+$/);
});

test('the CI workflow tests traces and the dashboard, in the versions that the documents name', async () => {
  const { jobs } = parse(await read('.github/workflows/ci.yml'));
  const steps: { run?: string }[] = jobs.observability.steps;
  const installs = steps.findIndex(({ run }) => run?.includes('observability/install.sh'));
  expect(steps[installs]?.run).toContain('dev/observability/install.sh "$RUNNER_TEMP/observability"');
  expect(steps[installs]?.run).toContain('TEST_OBSERVABILITY=$RUNNER_TEMP/observability');
  expect(steps[installs + 1]?.run).toBe('npx vitest run test/monitoring/observability.test.ts');
  const script = await read('dev/observability/install.sh');
  const [, instrumentation] = /@opentelemetry\/instrumentation-pg@(\S+)/.exec(script) ?? [];
  expect(await read('docs/clients.md')).toContain(`\`@opentelemetry/instrumentation-pg\` ${instrumentation}`);
  const [, sdk] = /@grafana\/grafana-foundation-sdk@(\S+)/.exec(script) ?? [];
  expect(await read('docs/operations/alerts.md')).toContain(`foundation SDK ${sdk}`);
});

test('.nvmrc names a Node that engines allows', async () => {
  const [, oldest = ''] = /^>=(\d+)/.exec(packageJson.engines.node) ?? [];
  expect(Number(await read('.nvmrc'))).toBeGreaterThanOrEqual(Number(oldest));
});

test('dependabot updates npm packages and GitHub actions', async () => {
  const { version, updates } = parse(await read('.github/dependabot.yml'));
  expect(version).toBe(2);
  expect(updates.map((update: Record<string, string>) => update['package-ecosystem'])).toEqual([
    'npm',
    'github-actions',
  ]);
});

test('.gitattributes marks generated files, and keeps LF in all others', async () => {
  const attribute = async (name: string, path: string) => {
    const { stdout } = await run('git', ['check-attr', name, '--', path], { cwd: projectPath('.') });
    return stdout.trim().split(': ').at(-1);
  };
  for (const path of [
    'src/generated/organisations.ts',
    'docs/api/index.md',
    'schema.sql',
    'package-lock.json',
  ]) {
    expect(await attribute('linguist-generated', path), path).toBe('set');
  }
  expect(await attribute('linguist-generated', 'src/index.ts')).toBe('unspecified');
  expect(await attribute('eol', 'migrations/0001_prepare_host_tables.sql')).toBe('lf');
});
