#!/usr/bin/env bash
# drizzle-orm 0.45.4, knex 3.3.0, typeorm 1.1.1, kysely 0.28.19 and postgres 3.4.9 with pg 8.23.1, on PostgreSQL 18.4
#
# Expected: a transaction function that returns has committed. If a statement failed and the program caught its error,
#   PostgreSQL answers the commit with ROLLBACK, which the library reports.
# Seen: Kysely and postgres.js do. Drizzle, Knex and TypeORM ignore the answer, and return as if it was committed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit drizzle-orm@0.45.4 knex@3.3.0 typeorm@1.1.1 kysely@0.28.19 postgres@3.4.9 \
  pg@8.23.1
. "$here/postgres.sh"
start_postgres

cat >program.mjs <<'JS'
import { drizzle } from 'drizzle-orm/node-postgres';
import knex from 'knex';
import { CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import postgres from 'postgres';
import { DataSource } from 'typeorm';
const url = process.env.DATABASE_URL;
const pool = new pg.Pool({ connectionString: url });
await pool.query('create table shelves (code text)');

const onDrizzle = drizzle(pool);
const onKnex = knex({ client: 'pg', connection: url });
const onTypeorm = await new DataSource({ type: 'postgres', url }).initialize();
const onKysely = new Kysely({ dialect: new PostgresDialect({ pool }) });
const onPostgres = postgres(url);
const libraries = {
  Drizzle: (work) => onDrizzle.transaction((tx) => work((text) => tx.execute(text))),
  Knex: (work) => onKnex.transaction((trx) => work((text) => trx.raw(text))),
  TypeORM: (work) => onTypeorm.transaction((manager) => work((text) => manager.query(text))),
  Kysely: (work) =>
    onKysely.transaction().execute((trx) => work((text) => trx.executeQuery(CompiledQuery.raw(text)))),
  'postgres.js': (work) => onPostgres.begin((sql) => work((text) => sql.unsafe(text))),
};
for (const [name, transaction] of Object.entries(libraries)) {
  const outcome = await transaction(async (run) => {
    await run(`insert into shelves values ('${name}')`);
    await run('select 1/0').then(null, () => {});
  }).then(() => 'returned', () => 'threw');
  const { rows } = await pool.query('select from shelves where code = $1', [name]);
  console.log(`${name}: ${outcome}, committed rows: ${rows.length}`);
}
process.exit();
JS
seen=$(node program.mjs)
echo "$seen"
[ "$seen" = 'Drizzle: returned, committed rows: 0
Knex: returned, committed rows: 0
TypeORM: returned, committed rows: 0
Kysely: threw, committed rows: 0
postgres.js: threw, committed rows: 0' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
