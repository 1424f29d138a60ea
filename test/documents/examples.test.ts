import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { connectionDisconnect } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool, url } = useDatabase();

test('the trigger notes what changes, once, for each live connection but the one it came from', async () => {
  await pool.query(await readFile(projectPath('examples/contacts-trigger.sql'), 'utf8'));
  const { organisationId } = await createTenant(pool);
  await connect(pool, (await createTenant(pool)).organisationId);
  const reapit = await connect(pool, organisationId, 'reapit');
  const alto = await connect(pool, organisationId, 'alto');
  await connectionDisconnect(pool, await connect(pool, organisationId, 'street'));
  const contactId = '00000000-0000-4000-8000-00000000000c';
  const noted = async () => {
    const { rows } = await pool.query(
      'select connection_id, version from crm_outbound_changes where contact_id = $1 order by connection_id',
      [contactId],
    );
    return new Map(rows.map(({ connection_id, version }) => [connection_id, version]));
  };
  const rename = (name: string) =>
    pool.query('update contacts set name = $2 where id = $1', [contactId, name]);

  await pool.query('insert into contacts (id, organisation_id, name) values ($1, $2, $3)', [
    contactId,
    organisationId,
    'Test Person',
  ]);
  const first = await noted();
  expect([...first.keys()].toSorted()).toEqual([reapit.connectionId, alto.connectionId].toSorted());

  await rename('Test Person');
  expect(await noted()).toEqual(first);

  await withClient(url, async (client) => {
    await client.query('begin');
    await client.query("select set_config('crm_schema.from_connection_id', $1, true)", [reapit.connectionId]);
    await client.query("update contacts set name = 'Test Person 2' where id = $1", [contactId]);
    await client.query('commit');
  });
  const second = await noted();
  expect(second.get(reapit.connectionId)).toBe(first.get(reapit.connectionId));
  expect(second.get(alto.connectionId)).not.toBe(first.get(alto.connectionId));

  await rename('Test Person 3');
  expect((await noted()).get(reapit.connectionId)).not.toBe(first.get(reapit.connectionId));
});
