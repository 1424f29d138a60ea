import type pg from 'pg';

/** The size of a table in bytes, including all its partitions. */
export interface TableSize {
  rows: number;
  /** The rows themselves, with the free space map and the visibility map. */
  heap: number;
  /** Values too long to be stored in the row. */
  toast: number;
  /** By index name. */
  indexes: Record<string, number>;
}

/** The measurements. */
export interface Growth {
  postgres: string;
  /** Bytes of write-ahead log per event, without full-page images. */
  walBytesPerEvent: number;
  steps: { events: number; tables: Record<string, TableSize> }[];
}

/** Measures the sizes of all tables of the schema, by name. */
export async function measure(client: pg.ClientBase): Promise<Record<string, TableSize>> {
  const { rows } = await client.query<TableSize & { name: string }>(
    `with part as (
       select
         part.oid,
         part.reltoastrelid,
         coalesce(parent.relname, part.relname) as name,
         part.reltuples
       from pg_class as part
       left join pg_inherits on inhrelid = part.oid
       left join pg_class as parent on parent.oid = inhparent
       where part.relkind = 'r'
         and coalesce(parent.relname, part.relname) ~ '^(crm_|contact_external_ids$)'
     ),
     index as (
       select part.name, coalesce(parent.relname, class.relname) as index_name, sum(pg_table_size(class.oid)) as size
       from part
       inner join pg_index on indrelid = part.oid
       inner join pg_class as class on class.oid = indexrelid
       left join pg_inherits on inhrelid = class.oid
       left join pg_class as parent on parent.oid = inhparent
       group by 1, 2
     )
     select
       name,
       sum(reltuples)::float8 as rows,
       sum(pg_table_size(oid) - case when reltoastrelid = 0 then 0 else pg_total_relation_size(reltoastrelid) end)::float8 as heap,
       sum(case when reltoastrelid = 0 then 0 else pg_total_relation_size(reltoastrelid) end)::float8 as toast,
       (select jsonb_object_agg(index_name, size order by size desc) from index where index.name = part.name) as indexes
     from part
     group by name
     order by name`,
  );
  return Object.fromEntries(rows.map(({ name, ...size }) => [name, size]));
}
