import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { connectionGetLive, organisationSet } from '../../src/index.js';
import type { Pooler } from '../poolers/pooler.js';
import { poolers } from '../poolers/poolers.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { type Tool, tools } from './tools.js';

// A file needs a test.
test.skipIf(poolers.length > 0).todo('behind PgBouncer and Odyssey, which are not installed here');

describe.each(poolers)('behind $name in transaction mode', ({ start }) => {
  const database = useDatabase();
  const app = useMember(database, 'crm_app');
  const appUrl = app.options.connectionString as string;
  let pooler: Pooler;
  beforeAll(async () => {
    pooler = await start({ connections: 1, users: [appUrl] });
  });
  afterAll(() => pooler?.stop());

  test.each(Object.entries(tools))(
    'two clients of %s share a connection, and each transaction sees its own organisation',
    async (_, open) => {
      const opened: Tool[] = [];
      onTestFinished(async () => {
        for (const tool of opened) await tool.end();
      });
      for (let count = 0; count < 2; count += 1) opened.push(await open(pooler.through(appUrl)));
      const keys = await Promise.all(
        opened.map(async () => connect(database.pool, (await createTenant(database.pool)).organisationId)),
      );
      const found = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          opened[index % 2]?.transaction(async (client) => {
            const { organisationId } = keys[index % 2] as { organisationId: string };
            await organisationSet(client, { organisationId });
            return connectionGetLive(client, { organisationId, provider: 'reapit' });
          }),
        ),
      );
      expect(found.map((connection) => connection?.connectionId)).toEqual(
        found.map((_, index) => keys[index % 2]?.connectionId),
      );
    },
  );
});
