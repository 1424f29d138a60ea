import { relationItems } from './relation-items.js';
import { roleItems, roleTables } from './role-items.js';
import { settingItems } from './setting-items.js';

/**
 * Tables and such that are this schema's, by their names; those that inherit from them, above all the months of
 * the log; and what is only called like them. Not the table in which migrations are counted, nor what a detach
 * has left half done, which is told with the months.
 */
const relation = `
  named as (
    select oid
    from pg_class
    where relnamespace = $1
      and (relname ^@ 'crm_' or relname = 'contact_external_ids')
      and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      -- What crm_sync_log_ensure_partitions leaves behind for its next call to drop.
      and not (relname = 'crm_sync_log_emptied' and relowner = $3)
      and oid <> all ($5::oid[])
      -- And its sequence.
      and not exists (
        select
        from pg_depend
        where classid = 'pg_class'::regclass
          and objid = pg_class.oid
          and refclassid = 'pg_class'::regclass
          and refobjid = any ($5::oid[])
      )
  ),
  relation as (
    select
      pg_class.*,
      log.inhrelid is not null as is_partition,
      name,
      kind,
      format('%s %s', kind, name) as object
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    cross join format('%I.%I', nspname, relname) as name
    cross join lateral (
      values (
        case relkind
          when 'v' then 'view'
          when 'm' then 'materialized view'
          when 'f' then 'foreign table'
          when 'S' then 'sequence'
          else 'table'
        end
      )
    ) as kinds (kind)
    left join pg_inherits as log
      on log.inhrelid = pg_class.oid
      and log.inhparent = $2
    where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and log.inhdetachpending is not true
      and (
        pg_class.oid in (select oid from named)
        or pg_class.oid in (select inhrelid from pg_inherits where inhparent in (select oid from named))
      )
  )`;

const functions = `
  select
    object,
    'function',
    name,
    case prokind
      when 'a' then to_jsonb('an aggregate'::text)
      else to_jsonb(string_to_array(rtrim(pg_get_functiondef(oid), E'\\n'), E'\\n'))
    end,
    'pg_proc'::regclass,
    oid,
    0
  from routine`;

const types = `
  select
    format('type %I.%I', nspname, typname),
    'type',
    format('%I.%I', nspname, typname),
    to_jsonb(case typtype when 'd' then 'a domain' when 'e' then 'an enum' else 'a type' end),
    null,
    null,
    null
  from pg_type
  inner join pg_namespace
    on pg_namespace.oid = typnamespace
  where typnamespace = $1
    and typname ^@ 'crm_'
    and (typrelid = 0 or exists (select from pg_class where pg_class.oid = typrelid and relkind = 'c'))
    -- Not the array of another.
    and not exists (select from pg_type as element where element.typarray = pg_type.oid)`;

/** What our foreign keys to contacts need, under whatever name; a valid one, if there is one. */
const hostIndex = `
  select
    'index of contacts',
    'host index',
    'contacts (organisation_id, id)',
    to_jsonb(min(concat(
      'unique',
      case when not (indisvalid and indisready) then format(' (invalid: %s)', indexrelid::regclass) end
    ))),
    null,
    null,
    null
  from pg_index
  where indrelid = $4
    and indisunique
    and indimmediate
    and indpred is null
    and indnkeyatts = 2
    and '{id,organisation_id}' = (
      select array_agg(attname::text order by attname)
      from unnest(indkey[0:1]) as key
      inner join pg_attribute
        on attrelid = indrelid
        and attnum = key
    )
  having count(*) > 0`;

/**
 * What the catalog holds of this schema, one row an item: the object it is or belongs to, its kind, its name,
 * and its definition, a text or a list, as SQL where SQL can say it, in JSON. With search_path pg_catalog, names are
 * qualified.
 *
 * $1: the schema's oid, $2: that of crm_sync_log, $3: of its owner, $4: of contacts, $5: of the tables in which
 * migrations are counted.
 *
 * Left out is what a DBA may tune, such as storage, statistics and autovacuum, and what PostgreSQL itself
 * keeps the same in a partition: columns and CHECKs.
 */
export const catalogQuery = `
with recursive ${relation},
  routine as (
    select
      pg_proc.*,
      name,
      format('function %s', name) as object
    from pg_proc
    inner join pg_namespace
      on pg_namespace.oid = pronamespace
    cross join format('%I.%I(%s)', nspname, proname, oidvectortypes(proargtypes)) as name
    where pronamespace = $1
      and proname ^@ 'crm_'
  ),
  ${roleTables},
  item (object, kind, name, definition, classoid, objoid, objsubid) as (
    ${[...relationItems, functions, types, hostIndex, ...roleItems, ...settingItems].join('\n    union all')}
  )
select object, kind, name, definition::text
from item
union all
select
  object,
  'comment',
  format('%s %s', kind, name),
  to_jsonb(description)::text
from item
inner join pg_description
  using (classoid, objoid, objsubid)`;
