// The items of settings that would undo what the schema promises: see catalog-query.ts.

import { has } from './role-items.js';

/**
 * Of the server, the database, or a role that works in it: one of this schema's, which are for a transaction or a
 * test, or the one that stops triggers, and foreign keys with them.
 */
const settings = `
  select
    case
      when setrole = 0 and setdatabase = 0 then 'role all'
      when setrole = 0 then format('database %I', current_database())
      when setdatabase = 0 then format('role %s', setrole::regrole)
      else format('role %s in database %I', setrole::regrole, current_database())
    end,
    'setting',
    (
      select string_agg(quote_ident(part), '.' order by place)
      from unnest(string_to_array(split_part(setting, '=', 1), '.')) with ordinality as parts (part, place)
    ),
    to_jsonb(substring(setting from '=(.*)$')),
    null::oid,
    null::oid,
    null::integer
  from pg_db_role_setting
  cross join unnest(setconfig) as setting
  where setdatabase in (0, (select oid from pg_database where datname = current_database()))
    and (setrole in (0, $3) or setrole in (select oid from held))
    and (
      lower(setting) ^@ 'crm_schema.'
      or (setting ^@ 'session_replication_role=' and setting <> 'session_replication_role=origin')
    )
  union all
  select
    'the server',
    'setting',
    name,
    to_jsonb(setting),
    null,
    null,
    null
  from pg_settings
  where name = 'session_replication_role'
    and setting <> 'origin'
    and source in ('configuration file', 'command line', 'environment variable')`;

/** Who may set the one that stops triggers. */
const parameters = `
  select
    'parameter ' || parname,
    'parameter',
    case grantee when 0 then 'public' else grantee::regrole::text end,
    jsonb_agg(distinct lower(privilege_type)),
    null::oid,
    null::oid,
    null::integer
  from pg_parameter_acl
  cross join aclexplode(paracl)
  where parname = 'session_replication_role'
    and (grantee = 0 or exists (select from held where ${has('held.oid', 'grantee')}))
  group by parname, grantee`;

/** All of settings, as selects to unite. */
export const settingItems = [settings, parameters];
