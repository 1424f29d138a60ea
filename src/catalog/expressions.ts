// SQL expressions that several kinds of facts share.

/** The qualified name of a relation, by its oid. */
export const qualifiedName = (oid: string) => `
  (
    select format('%I.%I', nspname, relname)
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = ${oid}
  )`;

/** The comment on an object, without the cost of `obj_description` for each row. */
export const commentOn = (catalog: string, oid: string, column = '0') => `
  (
    select description
    from pg_description
    where classoid = '${catalog}'::regclass
      and objoid = ${oid}
      and objsubid = ${column}
  )`;
