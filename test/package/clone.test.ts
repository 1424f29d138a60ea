import { execFile, spawnSync } from 'node:child_process';
import { appendFile, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { useDatabase } from '../support/database.js';
import { type Consumer, installedPackage, pack, replaceWith } from './consumer.js';

const run = promisify(execFile);

/** A copy of the sources, such as an archive of them, cannot be cloned. */
const isClone = spawnSync('git', ['rev-parse', '--verify', 'HEAD'], { cwd: projectPath('.') }).status === 0;

/**
 * A project with the package installed from a clone of this repository's HEAD, made as on Windows. It shares this
 * project's node_modules.
 *
 * @param attributes lines that take precedence over .gitattributes
 */
function useWindowsClone(attributes = '') {
  let folder: string;
  let consumer: Consumer;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'crm-schema-clone-'));
    const clone = join(folder, 'clone');
    await run('git', ['-c', 'core.autocrlf=true', 'clone', '--no-checkout', projectPath('.'), clone]);
    await appendFile(join(clone, '.git/info/attributes'), attributes);
    await run('git', ['-c', 'core.autocrlf=true', 'checkout', 'HEAD', '--', '.'], { cwd: clone });
    await symlink(projectPath('node_modules'), join(clone, 'node_modules'));
    consumer = await installedPackage();
    await replaceWith(await pack(clone, folder), consumer);
  });
  afterAll(async () => {
    for (const each of [folder, consumer?.folder]) {
      if (each !== undefined) await rm(each, { recursive: true, force: true });
    }
  });
  return {
    /** Runs `crm-schema`; never throws. */
    command: (url: string, ...args: string[]) =>
      consumer.command(args, { DATABASE_URL: url }).then(
        ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
        ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
      ),
    installed: (path: string) => join(consumer.installed, path),
  };
}

const migration = 'migrations/0003_create_crm_sync_log.sql';

describe.runIf(isClone)('packed from a clone with core.autocrlf, the package', () => {
  const clone = useWindowsClone();
  const { url } = useDatabase('host');

  test('has LF, and migrates and verifies', async () => {
    for (const path of [migration, 'migrations.sha256', 'dist/cli/main.js']) {
      expect(await readFile(clone.installed(path), 'utf8'), path).not.toContain('\r');
    }
    expect(await clone.command(url, 'migrate', 'up')).toMatchObject({ code: 0 });
    expect(await clone.command(url, 'migrate', 'status', '--check')).toMatchObject({ code: 0, stderr: '' });
    expect(await clone.command(url, 'verify')).toMatchObject({ code: 0, stderr: '' });
  });
});

describe.runIf(isClone)('packed from a clone with CRLF in every file, the package', () => {
  const clone = useWindowsClone('* text=auto eol=crlf\n');
  const untouched = useDatabase('host');
  const migratedByStock = useDatabase('host');
  const current = useDatabase('host');
  let released: Consumer;
  beforeAll(async () => {
    released = await installedPackage();
  });
  afterAll(() => rm(released.folder, { recursive: true, force: true }));

  test('builds and starts, and migrates nothing', async () => {
    expect(await readFile(clone.installed(migration), 'utf8')).toContain('\r\n');
    const { code, stderr } = await clone.command(untouched.url, 'migrate', 'up');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^Migrations of this package differ from their release only in their line endings, CRLF /,
    );
    await withClient(untouched.url, async (client) => {
      const { rows } = await client.query("select to_regclass('crm_schema_migrations') as found");
      expect(rows).toEqual([{ found: null }]);
    });
  });

  test('verifies a database of the package with LF', async () => {
    await released.command(['migrate', 'up'], { DATABASE_URL: current.url });
    expect(await clone.command(current.url, 'verify')).toMatchObject({ code: 0, stderr: '' });
  });

  test('applied by stock node-pg-migrate, is up to date, and verify shows the line endings and repairs them', async () => {
    const env = { DATABASE_URL: migratedByStock.url };
    const stock = join(released.folder, 'node_modules/node-pg-migrate/bin/node-pg-migrate.js');
    await released.node(
      [
        stock,
        'up',
        '-m',
        clone.installed('migrations'),
        '-t',
        'crm_schema_migrations',
        '--no-single-transaction',
      ],
      env,
    );
    await released.command(['migrate', 'status', '--check'], env);
    const failed = await released.command(['verify'], env).catch((error) => error);
    expect(failed.code).toBe(3);
    expect(failed.stdout).toContain(
      '  expected  line endings LF\n  found     the same text, with line endings CRLF\n',
    );
    const { stdout } = await released.command(['verify', '--json'], env).catch((error) => error);
    const { differences } = JSON.parse(stdout);
    expect(differences.length).toBeGreaterThan(0);
    await withClient(migratedByStock.url, async (client) => {
      for (const { statements } of differences) for (const each of statements) await client.query(each);
    });
    expect((await released.command(['verify'], env)).stderr).toBe('');
  });
});
