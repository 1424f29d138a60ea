import { migrationNames } from '../../src/migrations/files.js';
import { schemaJsonText } from '../../src/verify/expected-items.js';
import { findInstallation } from '../../src/verify/installation.js';
import { migrationItem, readItems } from '../../src/verify/read-items.js';
import type { SnapshotDatabase } from './database.js';

/** The text of schema.json, which crm-schema verify compares a database with, read in the same way. */
export async function schemaJson({ client }: SnapshotDatabase): Promise<string> {
  const items = await client.transaction(async (transaction) => {
    const installation = await findInstallation(transaction);
    if (installation === null) throw new Error('The migrations created no schema.');
    return readItems(transaction, installation);
  });
  const migrations = (await migrationNames()).map(migrationItem);
  return schemaJsonText([...migrations, ...items]);
}
