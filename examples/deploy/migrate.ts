// Migrates and verifies from a program, where a pipeline has one already; else use the command. As the owner:
//   DATABASE_URL=postgres://… npx tsx migrate.ts
import { migrateUp, verify } from '@nurturehub/crm-schema/migrations';
import pg from 'pg';

const interruption = new AbortController();
process.once('SIGTERM', () => interruption.abort(new Error('Interrupted: run it again for the rest.')));

// A connection of its own, to the database itself: no pool, and no pooler.
const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
try {
  const { migrations } = await migrateUp(client, {
    signal: interruption.signal,
    onProgress(progress) {
      if (progress.step === 'finished') console.log(`${progress.name}: ${progress.milliseconds} ms`);
      if (progress.step === 'retrying') console.log(`${progress.name}: again in ${progress.pause} ms`);
    },
  });
  // Roles of yours that have privileges on these tables on purpose.
  const { schema, differences } = await verify(client, { knownRoles: ['crm_replication'] });
  console.log(`${migrations.length} migrations in schema ${schema}, ${differences.length} differences`);
  process.exitCode = differences.length === 0 ? 0 : 3;
} finally {
  await client.end();
}
