import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';

/** The released files and their checksums, in the format of `sha256sum --check migrations.sha256`. */
async function frozen(): Promise<Map<string, string>> {
  const lines = (await readFile(projectPath('migrations.sha256'), 'utf8')).trimEnd().split('\n');
  return new Map(lines.map((line) => line.split('  ').reverse() as [string, string]));
}

test('released migrations are unchanged', async () => {
  for (const [file, checksum] of await frozen()) {
    const content = await readFile(projectPath(file)).catch(() =>
      expect.unreachable(`${file} was released and is missing`),
    );
    const found = createHash('sha256').update(content).digest('hex');
    expect(found, `${file} was released: write a new migration instead`).toBe(checksum);
  }
});

test('released migrations come first, beginning with those of 1.0.4', async () => {
  const files = (await readdir(projectPath('migrations'))).toSorted().map((name) => `migrations/${name}`);
  const released = [...(await frozen()).keys()];
  expect(released.slice(0, 4)).toEqual([
    'migrations/0001_prepare_host_tables.sql',
    'migrations/0002_create_crm_connections.sql',
    'migrations/0003_create_crm_sync_log.sql',
    'migrations/0004_create_contact_external_ids.sql',
  ]);
  expect(files.slice(0, released.length)).toEqual(released);
});
