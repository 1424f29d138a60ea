#!/usr/bin/env bash
# embedded-postgres 18.4.0-beta.17 (PostgreSQL 18.4), and pg 8.23.1
#
# Expected: tests on an embedded server of the same version and settings run statements as the server in production does.
# Seen: `jit` is on, as everywhere up to 18, but the binaries come without LLVM, so nothing is ever compiled. On a server
#   with it (Debian's packages, most hosted ones), a large statement whose estimated cost is above `jit_above_cost` is
#   compiled at each call, which may take longer than running it by far, and no test shows it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit pg@8.23.1
. "$here/postgres.sh"
start_postgres

cat >program.mjs <<'JS'
import pg from 'pg';
const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
const { rows } = await client.query(
  "select current_setting('jit') as jit, pg_jit_available() as available, current_setting('server_version') as version",
);
await client.query('set jit_above_cost = 0');
const { rows: plan } = await client.query('explain (analyze) select sum(n) from generate_series(1, 10) as n');
const isCompiled = plan.some((row) => row['QUERY PLAN'].startsWith('JIT'));
console.log(`PostgreSQL ${rows[0].version}, jit ${rows[0].jit}, available: ${rows[0].available}, compiled: ${isCompiled}`);
await client.end();
JS
seen=$(node program.mjs)
echo "$seen"
[ "$seen" = 'PostgreSQL 18.4, jit on, available: false, compiled: false' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
