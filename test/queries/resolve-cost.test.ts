import { expect, test } from 'vitest';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { readQueries } from '../upgrades/releases.js';
import { queries } from './every-query.js';
import { type PlanNode, pagesTouched } from './explain.js';

const { pool } = useDatabase();

interface Statement {
  text: string;
  parameterNames: readonly string[];
}

/** contactExternalIdResolve as it was before aliases. */
const [earlier] = readQueries(`/* @name contactExternalIdResolve */
select
  mapping.external_id as "externalId",
  mapping.contact_id as "contactId"
from (select distinct external_id from unnest(:externalIds!::text[]) as given (external_id)) as wanted
cross join lateral (
  select
    external_id,
    contact_id
  from contact_external_ids
  where organisation_id = :organisationId!::uuid
    and provider = :provider!::text
    and entity_type = :entityType!::text
    and external_id = wanted.external_id
  limit 1
) as mapping;`);

test('contactExternalIdResolve of 500 known ids touches at most 1.1 times the pages that it did without aliases', async () => {
  const { organisationId, contactIds } = await createTenant(pool, 20_000);
  await pool.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select $1, 'reapit', 'contact', 'OXF' || position, id
     from unnest($2::uuid[]) with ordinality as contact (id, position)`,
    [organisationId, contactIds],
  );
  await pool.query(
    `insert into contact_external_id_aliases (organisation_id, provider, entity_type, external_id, contact_id)
     select $1, 'reapit', kind, 'OXF' || position, id
     from unnest($2::uuid[]) with ordinality as contact (id, position)
     cross join unnest(array['landlord', 'applicant']) as kind`,
    [organisationId, contactIds],
  );
  await pool.query('vacuum analyze contact_external_ids, contact_external_id_aliases');
  const params: Record<string, unknown> = {
    organisationId,
    provider: 'reapit',
    entityType: 'contact',
    externalIds: Array.from({ length: 500 }, (_, index) => `OXF${1 + index * 37}`),
  };

  const cost = async ({ text, parameterNames }: Statement) => {
    const values = parameterNames.map((name) => params[name]);
    return rolledBack(pool, async (client) => {
      await client.query('set local plan_cache_mode = force_generic_plan');
      const explained = { text: `explain (analyze, buffers, format json) ${text}`, values };
      // The first execution also reads the catalog.
      await client.query(explained);
      const { rows } = await client.query(explained);
      const plan = rows[0]['QUERY PLAN'][0].Plan as PlanNode;
      return { rows: plan['Actual Rows'], pages: pagesTouched(plan) };
    });
  };
  const before = await cost(earlier as Statement);
  const now = await cost(queries.contactExternalIdResolve);
  expect([before.rows, now.rows]).toEqual([500, 500]);
  expect(before.pages).toBeGreaterThan(500);
  expect(now.pages / before.pages).toBeLessThanOrEqual(1.1);
});
