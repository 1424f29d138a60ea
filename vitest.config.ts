import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/server.ts',
    // The first statement on a loaded machine may wait for a database to be cloned.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
