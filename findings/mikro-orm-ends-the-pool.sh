#!/usr/bin/env bash
# @mikro-orm/postgresql 7.2.5 with kysely 0.29.9 and pg 8.23.1, on PostgreSQL 18.4. MikroORM 7 asks for Node 22.17.
#
# Expected: given a Kysely dialect as `driverOptions`, MikroORM uses its connections as they are. `dbName`, which it
#   insists on, then has no meaning.
# Seen: it looks for a database of the name `dbName`. If there is none, it ends the pool of the dialect, to connect
#   otherwise and create one, and creates none. `init` succeeds, and every statement fails with "Cannot use a pool after
#   calling end on the pool".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit @mikro-orm/core@7.2.5 @mikro-orm/postgresql@7.2.5 kysely@0.29.9 pg@8.23.1
. "$here/postgres.sh"
start_postgres

cat >program.mjs <<'JS'
import { MikroORM } from '@mikro-orm/postgresql';
import { PostgresDialect } from 'kysely';
import pg from 'pg';
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const orm = await MikroORM.init({
  dbName: 'library',
  driverOptions: new PostgresDialect({ pool }),
  entities: [],
  discovery: { warnWhenNoEntities: false },
});
console.log(await orm.em.execute('select 1 as one').then(() => 'it works', ({ message }) => message));
const client = new pg.Client(process.env.DATABASE_URL);
await client.connect();
const { rows } = await client.query("select datname from pg_database where datname = 'library'");
console.log('created:', rows.length);
await client.end();
process.exit();
JS
seen=$(node program.mjs 2>&1)
echo "$seen"
[ "$seen" = 'Cannot use a pool after calling end on the pool
created: 0' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
