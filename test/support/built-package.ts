import { rmSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { TestProject } from 'vitest/node';
import { projectPath } from '../../dev/database.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** A copy of the package in a temporary folder, with the command in one file. Tests must not change it. */
    builtPackage: string;
    /** The command in it. */
    command: string;
    /** A folder for the packed package: the first test that needs it packs it (`test/package/consumer.ts`). */
    packFolder: string;
  }
}

/**
 * Runs once: builds the command, which tests start hundreds of times.
 *
 * In one file with its dependencies, it starts in a quarter of the time it takes from source.
 * `test/package` tests the files that are published.
 */
export default async function setup(project: TestProject): Promise<() => void> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-built-'));
  const command = join(folder, 'dist/cli/main.js');
  const packFolder = await mkdtemp(join(tmpdir(), 'crm-schema-packed-'));
  const remove = () => {
    for (const each of [folder, packFolder]) rmSync(each, { recursive: true, force: true });
  };
  // Ctrl-C ends Vitest without a teardown, and a library that handles signals may end it without `exit`.
  for (const event of ['exit', 'SIGINT', 'SIGTERM']) process.once(event, remove);
  try {
    for (const path of ['migrations', 'migrations.sha256', 'package.json', 'schema.json']) {
      await cp(projectPath(path), join(folder, path), { recursive: true });
    }
    await buildCommand(command);
  } catch (error) {
    remove();
    throw error;
  }
  project.onTestsRerun(async () => {
    await buildCommand(command);
    await rm(join(packFolder, 'packing'), { recursive: true, force: true });
  });
  project.provide('builtPackage', folder);
  project.provide('command', command);
  project.provide('packFolder', packFolder);
  return remove;
}

async function buildCommand(outfile: string): Promise<void> {
  await build({
    entryPoints: [projectPath('src/cli/main.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    // Some dependencies are CommonJS, and ask for Node's own modules with `require`.
    banner: {
      js: "import { createRequire as requireFor } from 'node:module'; const require = requireFor(import.meta.url);",
    },
    external: ['pg-native'],
    logLevel: 'error',
  });
}
