#!/usr/bin/env bash
# drizzle-kit 0.31.11 with drizzle-orm 0.45.4 and pg 8.23.1, on PostgreSQL 18.4
#
# Expected: `drizzle-kit pull` writes the conditions of checks and policies as they are in the database, and every table.
# Seen: of a check that is a call of a function, it writes `CHECK (is_shelf(code`. Of two policies of a table, only
#   one keeps its condition. A partitioned table is missing; its partitions are there. It reports success.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit drizzle-kit@0.31.11 drizzle-orm@0.45.4 pg@8.23.1
. "$here/postgres.sh"
start_postgres

cat >tables.mjs <<'JS'
import pg from 'pg';
const client = new pg.Client(process.env.DATABASE_URL);
await client.connect();
await client.query(`
  create role reader;
  create role writer;
  create function is_shelf(code text) returns boolean language sql immutable return code ~ '^[A-Z]$';
  create table shelves (code text primary key, size integer, constraint shelves_code_check check (is_shelf(code)));
  alter table shelves enable row level security;
  create policy shelves_a on shelves for select to reader using (size > 1);
  create policy shelves_b on shelves for select to writer using (size > 2);
  create table loans (day date not null) partition by range (day);
  create table loans_2026 partition of loans for values from ('2026-01-01') to ('2027-01-01')`);
await client.end();
JS
node tables.mjs
cat >drizzle.config.ts <<'TS'
export default { dialect: 'postgresql', dbCredentials: { url: process.env.DATABASE_URL }, out: './out' };
TS
npx drizzle-kit pull >pull.log
tables=$(grep -o 'pgTable("[a-z0-9_]*"\|check(.*)' out/schema.ts)
policies="policies: $(grep -c 'pgPolicy(' out/schema.ts), with a condition: $(grep -c 'pgPolicy(.*using' out/schema.ts)"
seen=$(printf '%s\n%s' "$tables" "$policies" | sort)
echo "$seen"
[ "$seen" = 'check("shelves_code_check", sql`CHECK (is_shelf(code`)
pgTable("loans_2026"
pgTable("shelves"
policies: 2, with a condition: 1' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
