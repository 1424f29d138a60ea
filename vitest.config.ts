import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { projectPath } from './dev/database.js';

export default defineConfig({
  resolve: {
    // The examples import the package by its name, which would be whatever was built last, or nothing.
    alias: {
      '@nurturehub/crm-schema/credentials': projectPath('src/credentials.ts'),
      '@nurturehub/crm-schema/migrations': projectPath('src/migrations.ts'),
      '@nurturehub/crm-schema/queries': projectPath('src/queries.ts'),
      '@nurturehub/crm-schema': projectPath('src/index.ts'),
    },
  },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/built-package.ts', 'test/support/server.ts'],
    // One more than there are cores: some tests wait for a server, a lock or a pause.
    maxWorkers: availableParallelism() + 1,
    // For what hangs. On two busy cores a test that takes seconds may take a minute.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 120_000 } },
  },
});
