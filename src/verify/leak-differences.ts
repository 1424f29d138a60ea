import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { byHand, bySqlIf, type Difference, type Repair, unlessNeeded } from './difference.js';

/** A view, rule or function of the host that gives others what is in the schema's tables. */
interface Leak {
  kind: 'view' | 'materialized view' | 'rule' | 'function';
  /** Qualified, and quoted where it must be. */
  name: string;
  /** Its owner, with whose rights it reads. */
  owner: string;
  /** The tables that it reads, itself or through other views. */
  tables: string[];
  /** Who may read or run it, besides its owner. */
  readers: string[];
}

/** What `leakDifferences` has to know. */
interface Own {
  /** The schema's tables, qualified. */
  tables: readonly string[];
  /** Its views, qualified: those are compared. */
  views: readonly string[];
  /** Its functions, as `public.crm_now()` and `public.f(uuid, text)`: those are compared, and need no rights of others. */
  functions: readonly string[];
}

/**
 * The host's objects that read the schema's tables with their owner's rights, and that others may use: row-level security
 * asks what the owner may see, which is usually everything.
 *
 * Of functions it knows only those that name a table of the schema: nobody can tell what a function's text reads.
 *
 * @param known names of those that are intended
 */
export async function leakDifferences(
  client: DedicatedConnection,
  own: Own,
  known: readonly string[],
): Promise<Difference[]> {
  const { rows } = await client.query(leaks, [own.tables, own.functions]);
  const intended = new Set([...own.views, ...known]);
  return (rows as Leak[]).filter(({ name }) => !intended.has(name)).map(leakDifference);
}

function leakDifference({ kind, name, owner, tables, readers }: Leak): Difference {
  const verb = kind === 'function' ? 'run' : 'read';
  return {
    kind: 'leak',
    name: `${kind} ${name}`,
    expected: null,
    found: `${readers.join(', ')} may ${verb} it, and it reads ${tables.join(', ')} with the rights of ${owner}, whatever organisation is set`,
    ...repairOf({ kind, name, owner, readers }),
  };
}

/** PostgreSQL takes a `revoke` from somebody who has no right to it, warns, and does nothing: so it says who may. */
function repairOf({ kind, name, owner, readers }: Omit<Leak, 'tables'>): Repair {
  const known = 'If it is intended, name it with --known-object.';
  const asOwner = `${unlessNeeded.slice(0, -1)}, as a superuser or a member of ${owner}:`;
  switch (kind) {
    case 'view':
      return bySqlIf(
        `${known} Otherwise let it read with the rights of whoever asks:`,
        `alter view ${name} set (security_invoker = true)`,
      );
    case 'materialized view':
      return bySqlIf(
        `${known} A materialized view cannot have row-level security. ${asOwner}`,
        `revoke select on ${name} from ${readers.join(', ')} cascade`,
      );
    case 'function':
      return bySqlIf(
        `${known} ${asOwner}`,
        `revoke execute on function ${name} from ${readers.join(', ')} cascade`,
      );
    case 'rule':
      return byHand(`${known} Otherwise drop it: rules read with the rights of their table's owner.`);
  }
}

const leaks = `
  with recursive
  own as (
    select
      oid,
      relname,
      oid::regclass::text as name
    from pg_class
    where oid::regclass::text = any($1::text[])
  ),
  reading as (
    select
      oid as relation,
      null::oid as rule,
      name as source
    from own
    union
    select
      rewrite.ev_class,
      rewrite.oid,
      reading.source
    from reading
    inner join pg_depend as depend
      on depend.refclassid = 'pg_class'::regclass
      and depend.refobjid = reading.relation
      and depend.classid = 'pg_rewrite'::regclass
    inner join pg_rewrite as rewrite
      on rewrite.oid = depend.objid
      and rewrite.ev_class <> reading.relation
  ),
  relation_leak as (
    select
      relation_id,
      relowner,
      kind,
      name,
      array_agg(distinct source order by source) as tables
    from (
      select
        relation.oid as relation_id,
        relation.relowner,
        case relkind when 'v' then 'view' when 'm' then 'materialized view' else 'rule' end as kind,
        case
          when relkind in ('v', 'm') then relation.oid::regclass::text
          else format('%I on %s', rewrite.rulename, relation.oid::regclass)
        end as name,
        reading.source
      from reading
      inner join pg_class as relation
        on relation.oid = reading.relation
      inner join pg_rewrite as rewrite
        on rewrite.oid = reading.rule
      where not (
        relkind = 'v'
        and exists (
          select
          from pg_options_to_table(reloptions)
          where option_name = 'security_invoker'
            and option_value::boolean
        )
      )
    ) as reader
    group by
      relation_id,
      relowner,
      kind,
      name
  ),
  function_leak as (
    select
      function.oid,
      function.oid::regprocedure::text as name,
      proowner,
      proacl,
      array_agg(distinct own.name order by own.name) as tables
    from pg_proc as function
    inner join own
      on function.prosrc ~ format('\\m%s\\M', own.relname)
      or exists (
        select
        from pg_depend
        where classid = 'pg_proc'::regclass
          and objid = function.oid
          and refclassid = 'pg_class'::regclass
          and refobjid = own.oid
      )
    where prosecdef
      and prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
      -- As the catalog's reader names functions.
      and format(
        '%s.%I(%s)',
        pronamespace::regnamespace, proname, oidvectortypes(proargtypes)
      ) <> all($2::text[])
      and not exists (
        select
        from pg_depend
        where classid = 'pg_proc'::regclass
          and objid = function.oid
          and deptype = 'e'
      )
    group by
      function.oid,
      function.proname
  ),
  leak as (
    select
      kind,
      name,
      relowner as owner,
      tables,
      array(
        select distinct coalesce(nullif(grantee, 0)::regrole::text, 'public')
        from (
          select grantee
          from pg_class
          cross join aclexplode(relacl)
          where pg_class.oid = relation_id
            and privilege_type = any(case kind when 'rule' then '{SELECT,INSERT,UPDATE,DELETE}' else '{SELECT}' end::text[])
          union
          select grantee
          from pg_attribute
          cross join aclexplode(attacl)
          where attrelid = relation_id
        ) as granted
        where grantee <> relowner
        order by 1
      ) as readers
    from relation_leak
    union all
    select
      'function',
      name,
      proowner,
      tables,
      array(
        select distinct coalesce(nullif(grantee, 0)::regrole::text, 'public')
        from aclexplode(coalesce(proacl, acldefault('f', proowner)))
        where privilege_type = 'EXECUTE'
          and grantee <> proowner
        order by 1
      )
    from function_leak
  )
  select
    kind,
    name,
    owner::regrole::text as owner,
    tables,
    readers
  from leak
  where readers <> '{}'
  order by
    kind,
    name
`;
