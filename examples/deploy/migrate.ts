// Migrates and verifies from a program. Unless your pipeline already has one, use the command. As the owner:
//   DATABASE_URL=postgres://… npx tsx migrate.ts
import { migrateUp, verify } from '@nurturehub/crm-schema/migrations';
import pg from 'pg';

const interruption = new AbortController();
process.once('SIGTERM', () => interruption.abort(new Error('Interrupted: run this again for the rest.')));

// A dedicated connection, not a pool and not through a pooler.
const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
try {
  const { migrations } = await migrateUp(client, {
    signal: interruption.signal,
    onProgress(progress) {
      if (progress.step === 'finished') console.log(`${progress.name}: ${progress.milliseconds} ms`);
      if (progress.step === 'retrying') console.log(`${progress.name}: next attempt in ${progress.pause} ms`);
    },
  });
  // Your own roles that you granted privileges on these tables.
  const { schema, differences } = await verify(client, { knownRoles: ['crm_replication'] });
  console.log(`${migrations.length} migrations in schema ${schema}, ${differences.length} differences`);
  process.exitCode = differences.length === 0 ? 0 : 3;
} finally {
  await client.end();
}
