import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { bySql, type Difference } from './difference.js';

interface MonthColumn {
  partition: string;
  column: string;
  logDefault: string | null;
  ownDefault: string | null;
  /** Whether it refuses a null that the log takes. */
  refusesNull: boolean;
}

/** What is expected of a column of the log. */
type ExpectedOfLog = (kind: 'column' | 'default', column: string) => string | null;

/**
 * What a partition of the log has otherwise than the log: a default, and a NOT NULL, with which the log refuses events of
 * one month that it takes in every other. PostgreSQL itself keeps the types and the names the same.
 *
 * Not what it has from the log, or will have from it: if the log is not as expected, its repair comes first, and goes on to
 * the months.
 *
 * @param logId the oid of crm_sync_log
 */
export async function monthDifferences(
  client: DedicatedConnection,
  logId: string,
  expectedOfLog: ExpectedOfLog,
): Promise<Difference[]> {
  const { rows } = await client.query(
    `select
       inhrelid::regclass::text as partition,
       quote_ident(own.attname) as column,
       pg_get_expr(log_default.adbin, log_default.adrelid, true) as "logDefault",
       pg_get_expr(own_default.adbin, own_default.adrelid, true) as "ownDefault",
       own.attnotnull and not log.attnotnull as "refusesNull"
     from pg_inherits
     inner join pg_attribute as log
       on log.attrelid = inhparent
       and log.attnum > 0
       and not log.attisdropped
     inner join pg_attribute as own
       on own.attrelid = inhrelid
       and own.attname = log.attname
     left join pg_attrdef as log_default
       on log_default.adrelid = inhparent
       and log_default.adnum = log.attnum
     left join pg_attrdef as own_default
       on own_default.adrelid = inhrelid
       and own_default.adnum = own.attnum
     where inhparent = $1::oid
       and not inhdetachpending
       and (
         own.attnotnull <> log.attnotnull
         or pg_get_expr(own_default.adbin, own_default.adrelid, true)
           is distinct from pg_get_expr(log_default.adbin, log_default.adrelid, true)
       )
     order by inhrelid::regclass::text, log.attnum`,
    [logId],
  );
  return (rows as MonthColumn[]).flatMap(({ partition, column, logDefault, ownDefault, refusesNull }) => {
    const alter = `alter table ${partition} alter column ${column}`;
    const name = `${partition}.${column}`;
    const expectedDefault = expectedOfLog('default', column);
    return [
      ...(ownDefault === logDefault || ownDefault === expectedDefault
        ? []
        : [
            {
              kind: 'default' as const,
              name,
              expected: expectedDefault,
              found: ownDefault,
              ...bySql(
                `${alter} ${expectedDefault === null ? 'drop default' : `set default ${expectedDefault}`}`,
              ),
            },
          ]),
      ...(refusesNull && !expectedOfLog('column', column)?.endsWith(' not null')
        ? [
            {
              kind: 'column' as const,
              name,
              expected: 'null, as in the log',
              found: 'not null',
              ...bySql(`${alter} drop not null`),
            },
          ]
        : []),
    ];
  });
}
