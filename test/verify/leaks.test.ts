import { expect, test } from 'vitest';
import { rolledBack, useDatabase } from '../support/database.js';
import { differencesIn } from './support.js';

const { pool } = useDatabase();

/** What differs after these statements, as `kind name`, and the repair. */
async function leaksAfter(statements: string, knownObjects: string[] = []) {
  return rolledBack(pool, async (client) => {
    await client.query(statements);
    return differencesIn(client, { knownObjects });
  });
}

test.each([
  [
    'a view',
    'create view leak as select * from crm_connections; grant select on leak to crm_app',
    'view public.leak',
    'crm_app may read it, and it reads public.crm_connections with the rights of',
  ],
  [
    'a column of a view',
    'create view leak as select * from crm_connections; grant select (id) on leak to public',
    'view public.leak',
    'public may read it',
  ],
  [
    'a view of a view',
    `create schema reporting;
     create view inside as select internal_id from crm_sync_log;
     create view reporting.leak as select count(*) as events from inside;
     grant select on reporting.leak to crm_app, crm_worker`,
    'view reporting.leak',
    'crm_app, crm_worker may read it, and it reads public.crm_sync_log with',
  ],
  [
    'a materialized view',
    'create materialized view leak as select contact_id from contact_external_ids; grant select on leak to crm_app',
    'materialized view public.leak',
    'crm_app may read it, and it reads public.contact_external_ids with',
  ],
  [
    'a rule',
    `create table wanted (id uuid);
     grant insert on wanted to crm_app;
     create rule leak as on insert to wanted do instead select provider from crm_connections`,
    'rule leak on public.wanted',
    'crm_app may read it, and it reads public.crm_connections with',
  ],
  [
    'a function',
    `create function leak(wanted uuid) returns bigint language sql security definer
     as 'select count(*) from public.crm_sync_failures where connection_id = wanted'`,
    'function public.leak(uuid)',
    'public may run it, and it reads public.crm_sync_failures with',
  ],
  [
    'a function with a parsed body',
    `create function leak() returns bigint language sql security definer
     begin atomic select count(*) from public.crm_sync_cursors; end`,
    'function public.leak()',
    'public may run it, and it reads public.crm_sync_cursors with',
  ],
])(
  '%s that reads the tables with its owner’s rights for others is a leak, unless it is known',
  async (_, statements, name, found) => {
    expect(await leaksAfter(statements)).toEqual([
      expect.objectContaining({ kind: 'leak', name, expected: null, found: expect.stringContaining(found) }),
    ]);
    const known = name.replace(/^(materialized )?\w+ /, '');
    expect(await leaksAfter(statements, [known])).toEqual([]);
  },
);

test.each([
  [
    'a view that asks with the rights of its reader',
    'create view safe with (security_invoker) as select * from crm_connections; grant select on safe to crm_app',
  ],
  ['a view for its owner alone', 'create view safe as select * from crm_connections'],
  [
    'a view of other tables',
    'create view safe as select id from organisations; grant select on safe to public',
  ],
  [
    'a function that asks with the rights of its caller',
    "create function safe() returns bigint language sql as 'select count(*) from public.crm_sync_log'",
  ],
  [
    'a function that nobody else may run',
    `create function safe() returns bigint language sql security definer
     as 'select count(*) from public.crm_sync_log';
     revoke execute on function safe() from public`,
  ],
  [
    'a trigger function',
    `create function safe() returns trigger language plpgsql security definer
     as 'begin insert into public.crm_record_requests default values; return new; end'`,
  ],
])('%s is no leak', async (_, statements) => {
  expect(await leaksAfter(statements)).toEqual([]);
});

test.each([
  ['create view leak as select * from crm_connections; grant select on leak to crm_app'],
  [
    'create materialized view leak as select id from crm_connections; grant select on leak to crm_app, public',
  ],
  [
    `create function leak("of" text) returns bigint language sql security definer
     as 'select count(*) from public.crm_sync_log'`,
  ],
])('the repair that verify prints closes the leak: %s', async (statements) => {
  await rolledBack(pool, async (client) => {
    await client.query(statements);
    const [leak] = await differencesIn(client);
    for (const statement of leak?.statements ?? []) await client.query(statement);
    expect(leak?.statements).not.toEqual([]);
    expect(await differencesIn(client)).toEqual([]);
  });
});
