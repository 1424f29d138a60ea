import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import type { Beside } from './harness.js';
import type { Scope } from './scope.js';

/** Which contacts external ids mean, as primary ids or aliases. */
export interface Question {
  organisationId: string;
  provider: string;
  entityType: string;
  /** The statement of this package. */
  text: string;
  /** Its values for some external ids. */
  values(externalIds: readonly string[]): unknown[];
}

/** Asks for some external ids. */
type Ask = (externalIds: string[]) => Promise<unknown>;

function poolOf(scope: Scope, url: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  scope.atEnd(() => pool.end());
  return pool;
}

/** Asks by Drizzle's query builder, and by a query that was prepared for one external id. */
export async function askDrizzle(
  scope: Scope,
  url: string,
  { organisationId, provider, entityType }: Question,
): Promise<{ find: Ask; findPrepared(externalId: string): Promise<unknown> }> {
  const { load } = scope.bench.peers;
  const { drizzle } = await load('drizzle-orm/node-postgres');
  const { pgTable, text, unionAll, uuid } = await load('drizzle-orm/pg-core');
  const { and, eq, inArray, sql } = await load('drizzle-orm');
  const columns = () => ({
    organisationId: uuid('organisation_id'),
    provider: text('provider'),
    entityType: text('entity_type'),
    externalId: text('external_id'),
    contactId: uuid('contact_id'),
    remoteState: text('remote_state'),
  });
  const primaryIds = pgTable('contact_external_ids', columns());
  const aliases = pgTable('contact_external_id_aliases', columns());
  const db = drizzle(poolOf(scope, url));
  const from = (table: typeof primaryIds, matchedBy: string, condition: (column: unknown) => unknown) =>
    db
      .select({
        externalId: table.externalId,
        contactId: table.contactId,
        matchedBy: sql.raw(`'${matchedBy}'`).as('matched_by'),
        remoteState: table.remoteState,
      })
      .from(table)
      .where(
        and(
          eq(table.organisationId, organisationId),
          eq(table.provider, provider),
          eq(table.entityType, entityType),
          condition(table.externalId),
        ),
      );
  const query = (condition: (column: unknown) => unknown) =>
    unionAll(from(primaryIds, 'primary', condition), from(aliases, 'alias', condition));
  const prepared = query((column) => eq(column, sql.placeholder('externalId'))).prepare('find_contact');
  return {
    find: (ids) => query((column) => (ids.length === 1 ? eq(column, ids[0]) : inArray(column, ids))),
    findPrepared: (externalId) => prepared.execute({ externalId }),
  };
}

/** Asks by Kysely's query builder. */
export async function askKysely(
  scope: Scope,
  url: string,
  { organisationId, provider, entityType }: Question,
): Promise<Ask> {
  const { Kysely, PostgresDialect, sql } = await scope.bench.peers.load('kysely');
  const db = new Kysely({ dialect: new PostgresDialect({ pool: poolOf(scope, url) }) });
  const from = (table: string, matchedBy: string, ids: string[]) =>
    db
      .selectFrom(table)
      .select(['external_id', 'contact_id', sql.lit(matchedBy).as('matched_by'), 'remote_state'])
      .where('organisation_id', '=', organisationId)
      .where('provider', '=', provider)
      .where('entity_type', '=', entityType)
      .where('external_id', 'in', ids);
  return (ids) =>
    from('contact_external_ids', 'primary', ids)
      .unionAll(from('contact_external_id_aliases', 'alias', ids))
      .execute();
}

/** Sends this package's statement by postgres.js, which prepares it. */
export async function askPostgresJs(scope: Scope, url: string, { text, values }: Question): Promise<Ask> {
  const { default: postgres } = await scope.bench.peers.load('postgres');
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  scope.atEnd(() => sql.end());
  return (ids) => sql.unsafe(text, values(ids), { prepare: true });
}

const run = promisify(execFile);

/** Sends this package's statement by pgbench, prepared: without anything of ours, and without Node. */
export async function askPgbench(scope: Scope, url: string, { text, values }: Question): Promise<Beside> {
  const { calls, mappings } = scope.bench.size;
  const goal = { ratio: 0.7 };
  const version = await run('pgbench', ['--version']).then(
    ({ stdout }) => /[\d.]+/.exec(stdout)?.[0],
    () => undefined,
  );
  if (version === undefined) return { name: 'pgbench, prepared', goal, way: undefined };
  const inSql = values(['any']).map((value) =>
    value === 'any' ? "concat('OXF', :number::bigint)" : `'${value}'`,
  );
  const statement = text.replace(/\$(\d+)/g, (_, number) => inSql[Number(number) - 1] as string);
  const script = join(tmpdir(), `crm-schema-bench-${process.pid}.sql`);
  await writeFile(script, `\\set number random(1, ${mappings})\n${statement.replaceAll('\n', ' ')};\n`);
  scope.atEnd(() => rm(script));
  return {
    name: `pgbench ${version}, prepared: the same statement`,
    goal,
    async way() {
      const options = ['--no-vacuum', '--protocol', 'prepared', '--transactions', String(calls)];
      const { stdout } = await run('pgbench', [...options, '--file', script, url]);
      return Number(/latency average = ([\d.]+) ms/.exec(stdout)?.[1]);
    },
  };
}
