// The items of settings that would break the schema's guarantees: see server-items.ts.

import { mayActAs } from './role-items.js';

/**
 * Settings of the server, the database or a role that works in it: this schema's own, which are for a
 * transaction or a test; the one that disables triggers and with them foreign keys; and the one with which statements fail
 * instead of being limited to an organisation.
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
    null::jsonb
  from pg_db_role_setting
  cross join unnest(setconfig) as setting
  where setdatabase in (0, (select oid from pg_database where datname = current_database()))
    and (setrole in (0, $2::oid) or setrole in (select oid from restricted))
    and (
      lower(setting) ^@ 'crm_schema.'
      or (setting ^@ 'session_replication_role=' and setting <> 'session_replication_role=origin')
      or (setting ^@ 'row_security=' and not substring(setting from '=(.*)$')::boolean)
    )
  union all
  select
    'the server',
    'setting',
    name,
    to_jsonb(setting),
    null::jsonb
  from pg_settings
  where (name, setting) in (
      ('session_replication_role', 'replica'),
      ('session_replication_role', 'local'),
      ('row_security', 'off')
    )
    and source in ('configuration file', 'command line', 'environment variable')`;

/** Who may change the setting that disables triggers. */
const parameters = `
  select
    'parameter ' || parname,
    'parameter',
    case grantee when 0 then 'public' else grantee::regrole::text end,
    to_jsonb(string_agg(distinct lower(privilege_type), ', ')),
    jsonb_build_object(
      'grantor', case when grantor <> 10 then grantor::regrole end,
      'isGrantable', case when bool_or(is_grantable) then true end
    )
  from pg_parameter_acl
  cross join aclexplode(paracl)
  where parname = 'session_replication_role'
    and (grantee = 0 or exists (select from restricted where ${mayActAs('restricted.oid', 'grantee')}))
  group by parname, grantee, grantor`;

/** Selects to unite: object, kind, name, definition and state. */
export const settingItems = [settings, parameters];
