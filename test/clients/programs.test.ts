import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { codeBlocks } from '../documents/blocks.js';
import { connect } from '../support/connection.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { startImport, testImports } from './import-programs.js';

const database = useDatabase();
const app = useMember(database, 'crm_app');
const folder = () => projectPath('examples');

testImports(database, folder, ['pg', 'drizzle', 'kysely', 'typeorm', 'knex', 'mikro-orm', 'postgres-js']);

test('the commands in docs/clients.md print what it shows', async () => {
  const organisationId = '00000000-0000-4000-8000-000000000001';
  const page = await readFile(projectPath('docs/clients.md'), 'utf8');
  const commands = [...page.matchAll(/^npx tsx clients\/(\w+)\.ts \$ORG (\S+) (\S+) '(.+)'$/gm)];
  const outputs = (await codeBlocks('docs/clients.md')).filter(({ language }) => language === 'text');
  const [grant] = (await codeBlocks('docs/clients.md')).filter(({ language }) => language === 'sql');
  await database.pool.query(grant?.text ?? '');
  await database.pool.query("insert into organisations (id, name) values ($1, 'Test Agency')", [
    organisationId,
  ]);
  await connect(database.pool, organisationId);
  const printed: string[] = [];
  for (const [, program = '', contactId = '', externalId = '', name = ''] of commands) {
    await database.pool.query(
      "insert into contacts (id, organisation_id, name) values ($1, $2, 'Test Person')",
      [contactId, organisationId],
    );
    const args = [organisationId, contactId, externalId, name];
    const { stdout, stderr } = await startImport(folder(), program, args, app).catch((error) => error);
    printed.push(stdout + stderr);
  }
  expect(printed).toHaveLength(2);
  expect(printed).toEqual(outputs.map(({ text }) => text));
});
