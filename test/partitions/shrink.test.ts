import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { monthName } from '../support/log-partitions.js';

const { pool } = useDatabase();

test('the statement of partitions.md for a month that is over makes its primary key smaller', async () => {
  const page = await readFile(projectPath('docs/operations/partitions.md'), 'utf8');
  const [, statement = ''] = /psql -c '(reindex [^']*)'/.exec(page) ?? [];
  const { organisationId } = await createTenant(pool);
  const connections = await Promise.all(
    (['reapit', 'alto', 'street', 'loop'] as const).map((provider) =>
      connect(pool, organisationId, provider),
    ),
  );
  await pool.query(
    `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status)
     select $1, ($2::uuid[])[1 + number / 10 % 4], 'inbound', 'contact', 'success'
     from generate_series(1, 8000) as number`,
    [organisationId, connections.map(({ connectionId }) => connectionId)],
  );
  const size = async () =>
    (await pool.query('select pg_relation_size($1)::float8 as size', [`${monthName(0)}_pkey`])).rows[0].size;

  const before = await size();
  await pool.query(statement.replace('crm_sync_log_2026_10', monthName(0)));
  expect((await size()) / before).toBeLessThan(0.75);
});
