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

/** The names of columns, in the order of the given numbers. */
export const columnNames = (relation: string, numbers: string) => `
  (
    select json_agg(quote_ident(attname) order by position)
    from unnest(${numbers}) with ordinality as key (number, position)
    inner join pg_attribute
      on attrelid = ${relation}
      and attnum = key.number
  )`;
