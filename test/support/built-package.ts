import { rmSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { projectPath } from '../../dev/database.js';
import { buildCommand } from './built-command.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** A copy of the package in a temporary folder, with the command in a form that starts quickly. Tests must not change it. */
    builtPackage: string;
    /** The path of the command in it. */
    command: string;
    /** A folder for the packed and the installed package: the first test that needs it makes it (`test/package/consumer.ts`). */
    packFolder: string;
  }
}

/**
 * Runs once: builds the command, which tests start hundreds of times.
 *
 * In this form, it starts in a fifth of the time it takes from source.
 * `test/package` tests the files that are published.
 */
export default async function setup(project: TestProject): Promise<() => void> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-built-'));
  const commandFolder = join(folder, 'dist/cli');
  let command: string;
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
    command = await buildCommand(commandFolder);
  } catch (error) {
    remove();
    throw error;
  }
  project.onTestsRerun(async () => {
    await buildCommand(commandFolder);
    await rm(packFolder, { recursive: true, force: true });
    await mkdir(packFolder);
  });
  project.provide('builtPackage', folder);
  project.provide('command', command);
  project.provide('packFolder', packFolder);
  return remove;
}
