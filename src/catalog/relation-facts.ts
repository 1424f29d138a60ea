// Tables and other relations, with their sequences, rules and policies: see read.ts.

import { commentOn, qualifiedName } from './expressions.js';

export interface RelationFacts {
  schema: string;
  name: string;
  /** With its schema: what other facts call `relation`. */
  qualified: string;
  /** As in `alter … `, where a partitioned table is also a table. */
  kind: 'table' | 'view' | 'materialized view' | 'foreign table' | 'sequence' | 'index' | 'composite type';
  owner: string;
  persistence: 'permanent' | 'unlogged' | 'temporary';
  /** Of a partitioned table: `RANGE (occurred_at)`. */
  partitionKey: string | null;
  isPartition: boolean;
  /** Of a view: its query. */
  query: string | null;
  /** Of a partition, if read: `FOR VALUES FROM …`. */
  bound: string | null;
  /** Qualified names of the tables, or the index, it inherits from or is a partition of. */
  parents: string[];
  hasRowSecurity: boolean;
  /** Whether its policies apply to its owner, too. */
  isRowSecurityForced: boolean;
  /** Storage parameters, such as `fillfactor=70`; with `toast.` those of the TOAST table. */
  settings: string[] | null;
  tablespace: string | null;
  /** d: the primary key, n: nothing, f: all columns, i: an index. */
  replicaIdentity: 'd' | 'n' | 'f' | 'i';
  comment: string | null;
}

/** Numbers are texts, because some exceed what a JavaScript number holds exactly. */
export interface SequenceFacts {
  relation: string;
  type: string;
  start: string;
  increment: string;
  minimum: string;
  maximum: string;
  cache: string;
  isCycling: boolean;
}

export interface RuleFacts {
  relation: string;
  name: string;
  definition: string;
}

export interface PolicyFacts {
  relation: string;
  name: string;
  isPermissive: boolean;
  command: 'select' | 'insert' | 'update' | 'delete' | 'all';
  roles: string[];
  using: string | null;
  check: string | null;
  comment: string | null;
}

/** The relations to read, as the table `relation`, through which all other facts of tables are found. */
export const relationTable = (relations: string) => `
  oid_read as materialized (
    select oid
    from pg_class
    where oid in (${relations})
  ),
  relation as (
    select
      pg_class.*,
      -- What it inherits is known from its parent, if that is read, too.
      relispartition and exists (
        select
        from pg_inherits
        where inhrelid = pg_class.oid
          and inhparent in (select oid from oid_read)
      ) as is_partition_of_another,
      quote_ident(nspname) as schema,
      format('%I.%I', nspname, relname) as qualified,
      case relkind
        when 'v' then 'view'
        when 'm' then 'materialized view'
        when 'f' then 'foreign table'
        when 'S' then 'sequence'
        when 'i' then 'index'
        when 'I' then 'index'
        when 'c' then 'composite type'
        else 'table'
      end as kind
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid in (select oid from oid_read)
  )`;

const relations = (withInherited: boolean) => `
  select
    'relations',
    oid,
    0,
    ''::text,
    json_build_object(
      'schema', schema,
      'name', quote_ident(relname),
      'qualified', qualified,
      'kind', kind,
      'owner', relowner::regrole,
      'persistence', case relpersistence when 'u' then 'unlogged' when 't' then 'temporary' else 'permanent' end,
      'partitionKey', case relkind when 'p' then pg_get_partkeydef(oid) end,
      'query', case relkind when 'v' then pg_get_viewdef(oid, true) end,
      'isPartition', relispartition,
      'bound', case when ${withInherited} then pg_get_expr(relpartbound, oid) end,
      'parents', array(
        select ${qualifiedName('inhparent')} as parent
        from pg_inherits
        where inhrelid = relation.oid
        order by parent
      ),
      'hasRowSecurity', relrowsecurity,
      'isRowSecurityForced', relforcerowsecurity,
      'settings', nullif(
        coalesce(reloptions, '{}') || array(
          select 'toast.' || setting
          from pg_class as toast
          cross join unnest(toast.reloptions) as setting
          where toast.oid = relation.reltoastrelid
        ),
        '{}'
      ),
      'tablespace', (select spcname from pg_tablespace where pg_tablespace.oid = reltablespace),
      'replicaIdentity', relreplident::text,
      'comment', ${commentOn('pg_class', 'relation.oid')}
    )
  from relation`;

const sequences = `
  select
    'sequences',
    oid,
    0,
    ''::text,
    json_build_object(
      'relation', qualified,
      'type', seqtypid::regtype,
      'start', seqstart::text,
      'increment', seqincrement::text,
      'minimum', seqmin::text,
      'maximum', seqmax::text,
      'cache', seqcache::text,
      'isCycling', seqcycle
    )
  from relation
  inner join pg_sequence
    on seqrelid = relation.oid`;

const rules = `
  select
    'rules',
    relation.oid,
    0,
    rulename::text,
    json_build_object(
      'relation', qualified,
      'name', quote_ident(rulename),
      'definition', pg_get_ruledef(pg_rewrite.oid, true)
    )
  from relation
  inner join pg_rewrite
    on ev_class = relation.oid
  where not (relkind in ('v', 'm') and rulename = '_RETURN')`;

const policies = `
  select
    'policies',
    relation.oid,
    0,
    polname::text,
    json_build_object(
      'relation', qualified,
      'name', quote_ident(polname),
      'isPermissive', polpermissive,
      'command', case polcmd
        when 'r' then 'select'
        when 'a' then 'insert'
        when 'w' then 'update'
        when 'd' then 'delete'
        else 'all'
      end,
      'roles', array(
        select case grantee when 0 then 'public' else grantee::regrole::text end as role
        from unnest(polroles) as grantee
        order by role
      ),
      'using', pg_get_expr(polqual, polrelid, true),
      'check', pg_get_expr(polwithcheck, polrelid, true),
      'comment', ${commentOn('pg_policy', 'pg_policy.oid')}
    )
  from relation
  inner join pg_policy
    on polrelid = relation.oid`;

/** Selects to unite. */
export const relationSelects = (withInherited: boolean) => [
  relations(withInherited),
  sequences,
  rules,
  policies,
];
