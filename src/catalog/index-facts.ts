// Indexes and triggers of tables: see read.ts.

import { columnNames, commentOn, qualifiedName } from './expressions.js';

export interface IndexFacts {
  relation: string;
  name: string;
  /** The index of the partitioned table that it is attached to, qualified. */
  parent: string | null;
  isUnique: boolean;
  /** What follows `using`: `btree (expires_at) WHERE ended_at IS NULL`. Null for an attached one, if not read. */
  definition: string | null;
  /** Its key columns, without expressions; null where the definition is. */
  columns: string[] | null;
  /** Of a partial index: the condition. */
  predicate: string | null;
  isValid: boolean;
  /** Whether `reindex concurrently` is at work on it now. */
  isBeingRebuilt: boolean;
  /** Whether a primary key, a unique or an exclusion constraint owns it. */
  isOfConstraint: boolean;
  isClustered: boolean;
  isReplicaIdentity: boolean;
  comment: string | null;
}

export interface TriggerFacts {
  relation: string;
  name: string;
  /** What follows the name. */
  definition: string;
  fires: 'normally' | 'never' | 'on replicas only' | 'always';
  /** Whether a partitioned table's trigger created it. */
  isInherited: boolean;
  comment: string | null;
}

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
export const indexSelects = (withInherited: boolean) => [indexes(withInherited), triggers];
