import { readdirSync, readFileSync } from 'node:fs';
import type pg from 'pg';
import { projectPath } from '../../dev/database.js';

/** A migration file and its two halves, split as node-pg-migrate splits them. */
export interface Migration {
  file: string;
  text: string;
  up: string;
  down: string;
}

/** All migrations, in order. */
export const migrations: Migration[] = readdirSync(projectPath('migrations'))
  .sort()
  .map((file) => {
    const text = readFileSync(projectPath(`migrations/${file}`), 'utf8');
    const split = text.indexOf('-- Down Migration');
    return { file, text, up: text.slice(0, split), down: text.slice(split) };
  });

/** Applies the up halves on a client with an open transaction. */
export async function applyUps(client: pg.ClientBase, files = migrations): Promise<void> {
  for (const { up } of files) await client.query(up);
}

/** The position of the migration with a name, such as `add_sync_log_reason`. */
export function positionOf(name: string): number {
  const position = migrations.findIndex(({ file }) => file.slice(5) === `${name}.sql`);
  if (position < 0) throw new Error(`No migration is called ${name}.`);
  return position;
}

/** The down of the migration with a name, and the downs that come before it. */
export function downsTo(name: string): { down: string; laterDowns: string[] } {
  const [down = '', ...laterDowns] = migrations.slice(positionOf(name)).map((migration) => migration.down);
  return { down, laterDowns: laterDowns.reverse() };
}

/** The name of the migrations table, if there is one. */
export async function findMigrationsTable(client: pg.ClientBase): Promise<string | undefined> {
  const { rows } = await client.query(
    "select coalesce(to_regclass('crm_schema_migrations'), to_regclass('pgmigrations'))::text as name",
  );
  return rows[0].name ?? undefined;
}
