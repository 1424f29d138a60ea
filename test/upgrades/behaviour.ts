import pg from 'pg';
import type { ReleasedQuery } from './releases.js';
import { calledAt } from './samples.js';

/** The tables of a release and their columns, as `select` lists. */
export type Shape = ReadonlyMap<string, string>;

/** The result of a call, and the contents of the tables after it. */
export interface Behaviour {
  columns?: string[];
  rows?: string[];
  refused?: string;
  contents?: string[];
}

/** The user whose connection makes a call. */
export interface Caller {
  login: string;
  /** Set for the transaction by an application that works for one tenant. */
  organisationId?: string | undefined;
}

/** The present tables, including the host's, with their columns. */
export async function shapeOf(client: pg.Pool | pg.ClientBase): Promise<Shape> {
  const { rows } = await client.query<{ name: string; columns: string }>(
    `select relname as name, string_agg(quote_ident(attname), ', ' order by attnum) as columns
     from pg_class
     inner join pg_attribute
       on attrelid = pg_class.oid
       and attnum > 0
       and not attisdropped
     where relnamespace = 'public'::regnamespace
       and relkind in ('r', 'p')
       and not relispartition
       and relname !~ '^(pgmigrations|crm_schema_migrations)'
     group by relname
     order by relname`,
  );
  return new Map(rows.map(({ name, columns }) => [name, columns]));
}

/** Every row of a release's tables, with its columns, as text to compare. */
export async function contentsOf(client: pg.Pool | pg.ClientBase, shape: Shape): Promise<string[]> {
  const selects = [...shape].map(
    ([table, columns]) => `select '${table} ' || row(${columns})::text as line from ${table}`,
  );
  const { rows } = await client.query<{ line: string }>(`${selects.join(' union all ')} order by line`);
  return rows.map(({ line }) => line);
}

/**
 * Calls a query in a transaction that is rolled back, and returns what it did. The random seed, the sequences
 * and the schema's clock are the same each time; times of PostgreSQL's own clock, and ids that it chose, are replaced.
 */
export async function behaviourOf(
  pool: pg.Pool,
  { text, parameterNames }: ReleasedQuery,
  params: Readonly<Record<string, unknown>>,
  shape: Shape,
  { login, organisationId }: Caller,
): Promise<Behaviour> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query(
      "select setval(format('%I.%I', schemaname, sequencename)::regclass, 1000) from pg_sequences where schemaname = 'public'",
    );
    await client.query(`set local timezone = 'UTC'; set local session authorization ${login}`);
    await client.query("select set_config('crm_schema.now', $1, true), setseed(0.5)", [calledAt]);
    if (organisationId !== undefined)
      await client.query("select set_config('crm_schema.organisation_id', $1, true)", [organisationId]);
    const { fields, rows } = await client.query({
      text,
      values: parameterNames.map((name) => params[name] ?? null),
      rowMode: 'array',
      types: { getTypeParser: () => (value: string) => value },
    });
    await client.query('set local session authorization default');
    return {
      columns: fields.map(({ name, dataTypeID }) => `${name} ${dataTypeID}`),
      rows: rows.map((row) => withoutChance(JSON.stringify(row))).sort(),
      contents: (await contentsOf(client, shape)).map(withoutChance).sort(),
    };
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return { refused: `${error.code} ${error.constraint ?? error.message}` };
  } finally {
    await client.query('rollback');
    client.release();
  }
}

/**
 * Replaces what differs from call to call: times within ten minutes of now, which are the times of the calls
 * themselves, and the ids that the server chose, which do not look like those of the data.
 */
function withoutChance(text: string): string {
  const chosen = new Map<string, string>();
  return text
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00/g, (time) =>
      Math.abs(Date.parse(time) - Date.now()) < 600_000 ? 'now' : time,
    )
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, (id) => {
      if (id.includes('-0000-4000-8000-') || /^0[0-]+$/.test(id)) return id;
      chosen.set(id, chosen.get(id) ?? `chosen-${chosen.size + 1}`);
      return chosen.get(id) as string;
    });
}
