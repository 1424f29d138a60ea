// What tables consist of: columns, constraints, indexes and triggers. See read.ts.

import { commentOn, qualifiedName } from './expressions.js';

/** The names of columns, in the order of the given numbers. */
const columnNames = (relation: string, numbers: string) => `
  (
    select json_agg(quote_ident(attname) order by position)
    from unnest(${numbers}) with ordinality as key (number, position)
    inner join pg_attribute
      on attrelid = ${relation}
      and attnum = key.number
  )`;

const columns = (withInherited: boolean) => `
  select
    'columns',
    relation.oid,
    attnum,
    ''::text,
    json_build_object(
      'relation', qualified,
      'name', quote_ident(attname),
      -- Dropped columns keep their numbers, which nobody sees.
      'position', row_number() over (partition by attrelid order by attnum),
      'type', format_type(atttypid, atttypmod),
      -- 100 is the database's default.
      'collation', nullif(nullif(attcollation, 100), 0)::regcollation,
      'isNotNull', attnotnull,
      'isNotNullValidated', not exists (
        select
        from pg_constraint
        where conrelid = attrelid
          and conkey = array[attnum]
          and contype = 'n'
          and not convalidated
      ),
      'identity', case attidentity when 'a' then 'always' when 'd' then 'by default' end,
      'generated', case attgenerated when 's' then 'stored' when 'v' then 'virtual' end,
      'expression', pg_get_expr(adbin, adrelid, true),
      'storage', attstorage::text,
      'compression', nullif(attcompression::text, ''),
      -- Before PostgreSQL 17, -1 was the default.
      'statisticsTarget', nullif(attstattarget, -1),
      'isLocal', attislocal,
      'parentCount', attinhcount,
      'settings', attoptions,
      'comment', ${commentOn('pg_class', 'attrelid', 'attnum')}
    )
  from relation
  inner join pg_attribute
    on attrelid = relation.oid
    and attnum > 0
    and not attisdropped
  left join pg_attrdef
    on adrelid = attrelid
    and adnum = attnum
  where relkind in ('r', 'p', 'v', 'm', 'f')
    ${withInherited ? '' : 'and not relispartition'}`;

/** Keys first, then foreign keys and CHECKs. */
const constraints = (withInherited: boolean) => `
  select
    'constraints',
    relation.oid,
    position(own.contype::text in 'pufxc'),
    own.conname::text,
    json_build_object(
      'relation', qualified,
      'name', quote_ident(own.conname),
      'type', own.contype::text,
      'definition', case
        when own.convalidated then pg_get_constraintdef(own.oid, true)
        else regexp_replace(pg_get_constraintdef(own.oid, true), ' NOT VALID$', '')
      end,
      'isValidated', own.convalidated,
      'columns', case when not relispartition or ${withInherited}
        then ${columnNames('own.conrelid', 'own.conkey')}
      end,
      'references', case when own.contype = 'f' and (not relispartition or ${withInherited}) then json_build_object(
        'relation', ${qualifiedName('own.confrelid')},
        'columns', ${columnNames('own.confrelid', 'own.confkey')},
        'onDelete', own.confdeltype::text
      ) end,
      'parent', quote_ident(parent.conname),
      'isLocal', own.conislocal,
      'parentCount', own.coninhcount,
      'invalidIndex', (
        select ${qualifiedName('indexrelid')}
        from pg_index
        where own.contype in ('p', 'u', 'x')
          and indexrelid = own.conindid
          and not (indisvalid and indisready)
      ),
      'disabledTriggersOf', (
        select min(tgrelid::regclass::text)
        from pg_trigger
        where tgconstraint = own.oid
          and tgenabled <> 'O'
      ),
      'comment', ${commentOn('pg_constraint', 'own.oid')}
    )
  from relation
  inner join pg_constraint as own
    on own.conrelid = relation.oid
  left join pg_constraint as parent
    on parent.oid = own.conparentid
  ${withInherited ? '' : "where not relispartition or own.contype = 'f' or own.coninhcount = 0 and own.conparentid = 0"}`;

const indexes = (withInherited: boolean) => `
  select
    'indexes',
    relation.oid,
    0,
    pg_class.relname::text,
    json_build_object(
      'relation', qualified,
      'name', quote_ident(pg_class.relname),
      'parent', ${qualifiedName('inhparent')},
      'isUnique', indisunique,
      'definition', case when inhparent is null or ${withInherited}
        then substring(pg_get_indexdef(indexrelid, 0, true) from ' USING (.*)$')
      end,
      'columns', case when inhparent is null or ${withInherited}
        then ${columnNames('indrelid', 'indkey[0:indnkeyatts - 1]')}
      end,
      'predicate', pg_get_expr(indpred, indrelid, true),
      'isValid', indisvalid and indisready,
      'isBeingRebuilt', not indisvalid
        and pg_class.relname ~ '_cc(new|old)[0-9]*$'
        and exists (
          select
          from pg_locks
          where database = (select pg_database.oid from pg_database where datname = current_database())
            and pg_locks.relation = indexrelid
            and mode = 'ShareUpdateExclusiveLock'
            and granted
        ),
      'isOfConstraint', indexrelid in (select conindid from pg_constraint where contype in ('p', 'u', 'x')),
      'isClustered', indisclustered,
      'isReplicaIdentity', indisreplident,
      'comment', ${commentOn('pg_class', 'indexrelid')}
    )
  from relation
  inner join pg_index
    on indrelid = relation.oid
  inner join pg_class
    on pg_class.oid = indexrelid
  left join pg_inherits
    on inhrelid = indexrelid`;

const triggers = `
  select
    'triggers',
    relation.oid,
    0,
    tgname::text,
    json_build_object(
      'relation', qualified,
      'name', quote_ident(tgname),
      'definition', substring(
        pg_get_triggerdef(pg_trigger.oid, true) from ' TRIGGER (?:"(?:[^"]|"")*"|[^" ]+) (.*)$'
      ),
      'fires', case tgenabled
        when 'O' then 'normally'
        when 'D' then 'never'
        when 'R' then 'on replicas only'
        when 'A' then 'always'
      end,
      'isInherited', tgparentid <> 0,
      'comment', ${commentOn('pg_trigger', 'pg_trigger.oid')}
    )
  from relation
  inner join pg_trigger
    on tgrelid = relation.oid
  where not tgisinternal`;

/** Selects to unite. */
export const tableSelects = (withInherited: boolean) => [
  columns(withInherited),
  constraints(withInherited),
  indexes(withInherited),
  triggers,
];
