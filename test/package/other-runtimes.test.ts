import { copyFile, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { useDatabase } from '../support/database.js';
import { expectedOutput } from './application.js';
import { packageJson, packedPackage } from './consumer.js';
import { type Application, applications, noOtherRuntimes, programPath, runToEnd } from './other-runtimes.js';

/** Every command, in an order in which each has something to do. */
const commands = [
  ['--version'],
  ['migrate', 'plan'],
  ['migrate', 'status', '--check'],
  ['migrate', 'up'],
  ['migrate', 'status', '--check'],
  ['verify'],
  ['verify', '--json'],
  ['partitions', 'ensure', '--months', '5'],
  ['partitions', 'list'],
  ['partitions', 'drop', '--dry-run'],
  ['partitions', 'drop'],
  ['credentials', 'generate-key', '--alg', 'ECDH-ES+A256KW', '--out', 'keys.json'],
  ['credentials', 'generate-key', '--add'],
  ['credentials', 'status'],
  ['credentials', 'rotate'],
  ['health'],
  ['health', '--json'],
  ['failures', 'list', '--organisation', '00000000-0000-4000-8000-000000000001', '--connection', 'nonsense'],
  ['migrate', 'down', '--to', '5'],
  ['migrate', 'down', '--to', '0'],
  ['migrate', 'sideways'],
];

/** Runs every command. Returns what each printed, without what differs between two runs. */
async function runAll({ command, folder }: Application, url: string) {
  const env = { DATABASE_URL: url, NODE_ENV: 'test', CRM_SCHEMA_KEYS: join(folder, 'keys.json') };
  const found = [];
  for (const args of commands) {
    const ended = await command(args, env);
    found.push([args.join(' '), ended.code, ...[ended.stdout, ended.stderr].map(withoutTimes)]);
  }
  return found;
}

function withoutTimes(text: string): string {
  return text
    .replace(/\b(in) \d+[:.]\d\d( s)?/g, '$1 …')
    .replace(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d\.\d+Z)?/g, '…')
    .replace(/key-\d{4}-\d\d-\d\d-[0-9a-f]+/g, 'key-…');
}

let tarball: string;
beforeAll(async () => {
  if (!noOtherRuntimes) tarball = await packedPackage();
});

const others = Object.entries(applications).filter(([name]) => name !== 'Node');

describe.skipIf(noOtherRuntimes)('on another runtime', () => {
  const nodeDatabase = useDatabase('host');
  let onNode: Awaited<ReturnType<typeof runAll>>;
  beforeAll(async () => {
    const application = await applications.Node(tarball);
    onNode = await runAll(application, nodeDatabase.url);
    await rm(application.folder, { recursive: true });
  });

  describe.each(others)('%s, the package', (name, installOn) => {
    const forProgram = useDatabase('host');
    const forCommands = useDatabase('host');
    let application: Application;
    beforeAll(async () => {
      application = await installOn(tarball);
      const program = 'application.mjs';
      await copyFile(projectPath(`test/package/${program}`), join(application.folder, program));
    });
    afterAll(() => rm(application.folder, { recursive: true, force: true }));

    test('works by all five entry points', async () => {
      const { code, stdout, stderr } = await application.program('application.mjs', {
        DATABASE_URL: forProgram.url,
      });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(JSON.parse(stdout)).toEqual(await expectedOutput());
    });

    test('has a command that ends and prints as on Node, with every subcommand', async () => {
      expect(onNode.map(([, code]) => code)).toContain(3);
      expect(await runAll(application, forCommands.url)).toEqual(onNode);
    });

    test('says in one line that pg is not installed', async () => {
      // The last test: Yarn has no folder to move away.
      if (name === 'Yarn PnP') {
        const env = {
          YARN_ENABLE_TELEMETRY: '0',
          YARN_GLOBAL_FOLDER: join(application.folder, '.yarn-global'),
        };
        await runToEnd(process.execPath, [programPath('yarn'), 'remove', 'pg'], application.folder, env);
      } else {
        await rename(
          join(application.folder, 'node_modules/pg'),
          join(application.folder, 'node_modules/elsewhere'),
        );
      }
      const { code, stderr } = await application.command(['health'], { DATABASE_URL: forProgram.url });
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: 'The package pg is not installed beside this one: npm install pg\n',
      });
    });
  });
});

describe.skipIf(noOtherRuntimes)('in an executable made by bun build --compile,', () => {
  const database = useDatabase('host');
  let application: Application;
  beforeAll(async () => {
    application = await applications.Bun(tarball);
    const program = 'application.mjs';
    await copyFile(projectPath(`test/package/${program}`), join(application.folder, program));
  });
  afterAll(() => rm(application.folder, { recursive: true, force: true }));

  async function compiled(options: string[]) {
    const bun = programPath('bun');
    const args = ['build', '--compile', ...options, 'application.mjs', '--outfile', 'application'];
    const built = await runToEnd(bun, args, application.folder, {});
    expect(built).toMatchObject({ code: 0 });
    return runToEnd(join(application.folder, 'application'), [], application.folder, {
      DATABASE_URL: database.url,
    });
  }

  test('the package as external works beside node_modules', async () => {
    const external = ['--compile-autoload-package-json', '--external', packageJson.name];
    const { code, stdout } = await compiled(external);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(await expectedOutput());
  });

  test('the package inside says that its files are missing', async () => {
    const { code, stderr } = await compiled([]);
    expect(code).toBe(1);
    expect(stderr).toContain('Files of this package are missing: reinstall it, and mark it as external');
  });
});

test.each(['bun', 'deno', '@yarnpkg/cli-dist'])(
  'README.md names the version of %s that dev/other-runtimes/install.sh installs',
  async (name) => {
    const script = await readFile(projectPath('dev/other-runtimes/install.sh'), 'utf8');
    const [, version = ''] = new RegExp(` ${name}@(\\d+\\.\\d+\\.\\d+)`).exec(script) ?? [];
    const title = { bun: 'Bun', deno: 'Deno', '@yarnpkg/cli-dist': 'Yarn' }[name];
    expect(await readFile(projectPath('README.md'), 'utf8')).toContain(`${title} ${version}`);
  },
);
