// What tables consist of: columns and constraints. See read.ts.

import { columnNames, commentOn, qualifiedName } from './expressions.js';

export interface ColumnFacts {
  relation: string;
  name: string;
  /** From 1, without gaps for dropped columns. */
  position: number;
  type: string;
  /** Null for the database's default, and for a type without collations. */
  collation: string | null;
  isNotNull: boolean;
  /** False if NOT NULL was added `not valid` and existing rows were not checked (since PostgreSQL 18). */
  isNotNullValidated: boolean;
  identity: 'always' | 'by default' | null;
  generated: 'stored' | 'virtual' | null;
  /** The default, or what a generated column is generated from. */
  expression: string | null;
  storage: string;
  compression: string | null;
  /** Null for the server's default. */
  statisticsTarget: number | null;
  isLocal: boolean;
  parentCount: number;
  settings: string[] | null;
  comment: string | null;
}

export interface ConstraintFacts {
  relation: string;
  name: string;
  /** p: primary key, u: unique, f: foreign key, x: exclusion, c: check, n: not null, t: trigger. */
  type: 'p' | 'u' | 'f' | 'x' | 'c' | 'n' | 't';
  /** Without `NOT VALID`. */
  definition: string;
  /** False if it was added `not valid` and existing rows were not checked. */
  isValidated: boolean;
  /** Null for a partition's, if not read. */
  columns: string[] | null;
  /** Of a foreign key, if its columns are read, in the same order. */
  references: { relation: string; columns: string[]; onDelete: 'a' | 'r' | 'c' | 'n' | 'd' } | null;
  /** The name of the constraint of the partitioned table that it implements in a partition. */
  parent: string | null;
  isLocal: boolean;
  parentCount: number;
  /** The index that enforces it, qualified, if that is invalid. */
  invalidIndex: string | null;
  /** Of the tables whose internal triggers enforce it, those where any of these is not enabled. */
  disabledTriggersOf: string[] | null;
  comment: string | null;
}

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
      -- From 15.20 on, the server keeps a version of each column here, which its own pg_dump leaves out.
      'settings', (
        select array_agg(setting)
        from unnest(attoptions) as setting
        where setting !~ '^pg_attver='
      ),
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
    ${withInherited ? '' : 'and not is_partition_of_another'}`;

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
        select array_agg(distinct tgrelid::regclass::text)
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

/** Selects to unite. */
export const tableSelects = (withInherited: boolean) => [columns(withInherited), constraints(withInherited)];
