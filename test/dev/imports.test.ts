import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { projectPath } from '../../dev/database.js';

const run = promisify(execFile);

/** What `npm run check:imports` says of a project of these files. */
async function checkImports(files: Record<string, string>): Promise<{ code: number; output: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-imports-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  for (const path of ['.dependency-cruiser.mjs', 'tsconfig.json', 'package.json']) {
    await cp(projectPath(path), join(folder, path));
  }
  const command = projectPath('node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
  return run(process.execPath, [command, 'src', '--output-type', 'err-long'], { cwd: folder }).then(
    ({ stdout }) => ({ code: 0, output: stdout }),
    (error) => ({ code: error.code, output: error.stdout + error.stderr }),
  );
}

test('imports in the allowed direction pass', async () => {
  const { code, output } = await checkImports({
    'src/types.ts': 'export type Name = string;',
    'src/statements/query.ts': "import type { Name } from '../types.js';\nexport const name: Name = '';",
    'src/sync/runs.ts': "import { name } from '../statements/query.js';\nexport const run = name;",
  });
  expect(output).toContain('no dependency violations found');
  expect(code).toBe(0);
});

test.each([
  [
    'a circular import of types between two files',
    {
      'src/sync/runs.ts': "import type { Cursor } from './cursors.js';\nexport type Run = Cursor;",
      'src/sync/cursors.ts': "import type { Run } from './runs.js';\nexport type Cursor = Run | null;",
    },
    /no-circle: src\/sync\/(runs|cursors)\.ts/,
  ],
  [
    'a room that imports one above it',
    {
      'src/partitions/drop.ts': "import { explain } from '../cli/failures.js';\nexport const drop = explain;",
      'src/cli/failures.ts': "export const explain = '';",
    },
    /direction-of-partitions: src\/partitions\/drop\.ts → src\/cli\/failures\.ts\s+src\/partitions may import statements/,
  ],
  [
    'a shared file that imports a room',
    {
      'src/keys.ts': "import { name } from './statements/query.js';\nexport const key = name;",
      'src/statements/query.ts': "export const name = '';",
    },
    /shared-files-import-no-room: src\/keys\.ts/,
  ],
  [
    'a room that is not listed',
    {
      'src/attic/boxes.ts': "import { name } from '../statements/query.js';\nexport const box = name;",
      'src/statements/query.ts': "export const name = '';",
    },
    /room-is-listed: src\/attic\/boxes\.ts/,
  ],
  [
    'an import that leads nowhere',
    { 'src/sync/runs.ts': "import { gone } from './gone.js';\nexport const run = gone;" },
    /nothing-unresolved: src\/sync\/runs\.ts/,
  ],
])('%s fails, and the message names it', async (_, files, message) => {
  const { code, output } = await checkImports(files);
  expect(output).toMatch(message);
  expect(code).toBeGreaterThan(0);
});
