// Functions, types and schemas: see read.ts.

import { commentOn } from './expressions.js';

export interface SchemaFacts {
  name: string;
  owner: string;
  comment: string | null;
}

export interface FunctionFacts {
  name: string;
  /** With its schema and the types of its parameters. */
  qualified: string;
  /** With the names, types and defaults of its parameters. */
  signature: string;
  result: string;
  isAggregate: boolean;
  language: string;
  volatility: 'immutable' | 'stable' | 'volatile';
  isStrict: boolean;
  parallel: 'safe' | 'restricted' | 'unsafe';
  isSecurityDefiner: boolean;
  settings: string[] | null;
  /** `CREATE OR REPLACE FUNCTION …`; null for an aggregate. */
  definition: string | null;
  owner: string;
  comment: string | null;
}

/** A type that does not belong to a table or to another type. */
export interface TypeFacts {
  qualified: string;
  kind: 'domain' | 'enum' | 'composite' | 'base' | 'range' | 'multirange';
  comment: string | null;
}

/** The routines, types and schemas to read, as the tables `routine`, `standalone_type` and `schema_read`. */
export const functionTables = (oids: Record<'functions' | 'types' | 'schemas', string>) => `
  routine as (
    select
      pg_proc.*,
      format('%I.%I(%s)', nspname, proname, oidvectortypes(proargtypes)) as qualified
    from pg_proc
    inner join pg_namespace
      on pg_namespace.oid = pronamespace
    where pg_proc.oid in (${oids.functions})
  ),
  standalone_type as (
    select
      pg_type.*,
      format('%I.%I', nspname, typname) as qualified
    from pg_type
    inner join pg_namespace
      on pg_namespace.oid = typnamespace
    where pg_type.oid in (${oids.types})
      and (typrelid = 0 or exists (select from pg_class where pg_class.oid = typrelid and relkind = 'c'))
      -- Not the array of another.
      and not exists (select from pg_type as element where element.typarray = pg_type.oid)
  ),
  schema_read as (
    select *
    from pg_namespace
    where oid in (${oids.schemas})
  )`;

export const functionSelect = `
  select
    'functions',
    0::oid,
    0,
    qualified,
    json_build_object(
      'name', quote_ident(proname),
      'qualified', qualified,
      'signature', format('%I(%s)', proname, pg_get_function_arguments(routine.oid)),
      'result', pg_get_function_result(routine.oid),
      'isAggregate', prokind = 'a',
      'language', lanname,
      'volatility', case provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
      'isStrict', proisstrict,
      'parallel', case proparallel when 's' then 'safe' when 'r' then 'restricted' else 'unsafe' end,
      'isSecurityDefiner', prosecdef,
      'settings', proconfig,
      'definition', case when prokind <> 'a' then rtrim(pg_get_functiondef(routine.oid), E'\\n') end,
      'owner', proowner::regrole,
      'comment', ${commentOn('pg_proc', 'routine.oid')}
    )
  from routine
  inner join pg_language
    on pg_language.oid = prolang`;

export const typeSelect = `
  select
    'types',
    0::oid,
    0,
    qualified,
    json_build_object(
      'qualified', qualified,
      'kind', case typtype
        when 'd' then 'domain'
        when 'e' then 'enum'
        when 'c' then 'composite'
        when 'r' then 'range'
        when 'm' then 'multirange'
        else 'base'
      end,
      'comment', ${commentOn('pg_type', 'standalone_type.oid')}
    )
  from standalone_type`;

export const schemaSelect = `
  select
    'schemas',
    0::oid,
    0,
    nspname::text,
    json_build_object(
      'name', quote_ident(nspname),
      'owner', nspowner::regrole,
      'comment', ${commentOn('pg_namespace', 'schema_read.oid')}
    )
  from schema_read`;
