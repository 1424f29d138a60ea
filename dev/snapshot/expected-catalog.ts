import { readdir } from 'node:fs/promises';
import { findInstallation, readItems } from '../../src/verify/catalog.js';
import { itemFile } from '../../src/verify/expected.js';
import type { Item } from '../../src/verify/items.js';
import { projectPath } from '../database.js';
import type { SnapshotDatabase } from './database.js';

/** The text of schema.json: what crm-schema verify holds a database against, read as it reads one. */
export async function expectedCatalog({ client }: SnapshotDatabase): Promise<string> {
  const items = await client.transaction(async (transaction) => {
    const place = await findInstallation(transaction);
    if (place === null) throw new Error('The migrations made nothing.');
    return readItems(transaction, place);
  });
  const migrations = (await readdir(projectPath('migrations'))).map((file): Item => {
    const name = file.replace(/\.sql$/, '');
    return { object: `migration ${name}`, kind: 'migration', name, definition: 'applied' };
  });
  return itemFile([...migrations, ...items]);
}
