import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';
import { projectPath } from './dev/database.js';

const testFiles = readdirSync(projectPath('test'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.test.ts'))
  .map((path) => `test/${path.replaceAll('\\', '/')}`);

/** The test files that change the process they run in: they replace a module, a function, a variable or the clock. */
const changingTheirProcess = testFiles.filter((file) =>
  /\bvi\.(?!waitFor\b|waitUntil\b)|\bprocess\.(chdir|umask|env\.\w+ =)/.test(
    readFileSync(projectPath(file), 'utf8'),
  ),
);

function project(
  name: string,
  isolate: boolean,
  include: string[],
  exclude: string[] = [],
): TestProjectInlineConfiguration {
  return {
    resolve: {
      // The examples import the package by its name, which would be whatever was built last, or nothing.
      alias: {
        '@nurturehub/crm-schema/clients': projectPath('src/clients.ts'),
        '@nurturehub/crm-schema/credentials': projectPath('src/credentials.ts'),
        '@nurturehub/crm-schema/migrations': projectPath('src/migrations.ts'),
        '@nurturehub/crm-schema/queries': projectPath('src/queries.ts'),
        '@nurturehub/crm-schema': projectPath('src/index.ts'),
      },
    },
    test: {
      name,
      isolate,
      include,
      exclude,
      // For what hangs. On two busy cores a test that takes seconds may take a minute.
      testTimeout: 300_000,
      hookTimeout: 300_000,
      expect: { poll: { timeout: 120_000 } },
    },
  };
}

export default defineConfig({
  test: {
    globalSetup: ['test/support/built-package.ts', 'test/support/server.ts'],
    // One more than there are cores: some tests wait for a server, a lock or a pause.
    maxWorkers: availableParallelism() + 1,
    projects: [
      // Several files one after the other in a process, which loads this project's modules once.
      project('together', false, ['test/**/*.test.ts'], changingTheirProcess),
      project('apart', true, changingTheirProcess),
    ],
  },
});
