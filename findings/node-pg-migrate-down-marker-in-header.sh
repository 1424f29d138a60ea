#!/usr/bin/env bash
# node-pg-migrate 9.0.0
#
# Expected: in a plain SQL file, the up migration is what stands between the lines "-- Up Migration" and
#   "-- Down Migration". Prose in a comment above them changes nothing.
# Seen: a comment above "-- Up Migration" that begins with the words "Down Migration", in any case, is taken for the
#   down marker. Everything after it, the up half and the down half, then runs as the up migration: the table is
#   created and dropped at once, the migration is recorded as applied, and the exit code is 0.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit node-pg-migrate@9.0.0 pg@8.23.1

. "$here/postgres.sh"
start_postgres

mkdir migrations
cat >migrations/0001_create_shelves.sql <<'SQL'
-- Down migration: drops the table with its rows.
-- Up Migration
create table shelves (id integer primary key);
-- Down Migration
drop table shelves;
SQL
npx node-pg-migrate up --migrations-dir migrations
echo "exit code: $?"

seen=$(node --input-type=module --eval "
  import pg from 'pg';
  const client = new pg.Client(process.env.DATABASE_URL);
  await client.connect();
  const { rows: [row] } = await client.query(\"select to_regclass('shelves') is not null as there, (select count(*)::int from pgmigrations) as recorded\");
  console.log('table is there: ' + row.there + ', migrations recorded: ' + row.recorded);
  await client.end();
")
echo "$seen"
[ "$seen" = 'table is there: false, migrations recorded: 1' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
