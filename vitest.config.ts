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
    // By default one core is left idle, which of two is half.
    maxWorkers: '100%',
    // The first statement on a loaded machine may wait for a database to be cloned.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
