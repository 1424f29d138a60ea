/**
 * Writes schema.sql, schema.json, docs/schema.md and docs/schema.svg from migrations/. Their diff shows what
 * a migration does, and schema.json is what crm-schema verify expects.
 *
 *   npm run snapshot          writes the files
 *   npm run check:snapshot    writes nothing, and fails if they are stale
 *
 * It needs only what npm installs, and its output does not depend on the machine or the date.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectPath } from './database.js';
import { type SnapshotDatabase, withSnapshotDatabase } from './snapshot/database.js';
import { diagram } from './snapshot/diagram.js';
import { dictionary } from './snapshot/dictionary.js';
import { readSchema } from './snapshot/read-schema.js';
import { schemaJson } from './snapshot/schema-json.js';
import { schemaSql } from './snapshot/schema-sql.js';

/** The texts of the snapshot files, by their paths in the project. */
export async function snapshot(database: SnapshotDatabase): Promise<Map<string, string>> {
  const schema = await readSchema(database);
  return new Map([
    ['schema.sql', await schemaSql(database)],
    ['schema.json', await schemaJson(database)],
    ['docs/schema.md', dictionary(schema)],
    ['docs/schema.svg', diagram(schema)],
  ]);
}

/** The paths of files that are missing from a folder or differ there. */
export async function staleFiles(fresh: Map<string, string>, folder: string): Promise<string[]> {
  const stale: string[] = [];
  for (const [path, text] of fresh) {
    const committed = await readFile(join(folder, path), 'utf8').catch(() => undefined);
    if (committed !== text) stale.push(path);
  }
  return stale;
}

async function main(checkOnly: boolean): Promise<void> {
  const fresh = await withSnapshotDatabase(snapshot);
  const stale = await staleFiles(fresh, projectPath('.'));
  if (checkOnly) {
    if (stale.length > 0) throw new Error(`Stale: ${stale.join(', ')}. Run: npm run snapshot`);
    console.log(`The snapshot is fresh: ${[...fresh.keys()].join(', ')}.`);
    return;
  }
  for (const path of stale) await writeFile(projectPath(path), fresh.get(path) as string);
  console.log(stale.length > 0 ? `Written: ${stale.join(', ')}.` : 'The snapshot was fresh.');
}

if (process.argv[1] === projectPath('dev/snapshot.ts')) {
  await main(process.argv.includes('--check')).catch((error) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}
