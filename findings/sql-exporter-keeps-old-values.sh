#!/usr/bin/env bash
# prometheus-sql-exporter 0.4.5 of Debian 12, on PostgreSQL 18.4. Needs apt.
#
# Expected: a query that returns no rows, or fails, shows no values.
# Seen: it goes on showing the last ones, for as long as the exporter runs. Only sql_exporter_last_scrape_failed tells
#   that a query fails; of one that returns no rows it says 0. With `allow_zero_rows: true`, no rows are no values.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download prometheus-sql-exporter >/dev/null 2>&1
dpkg -x prometheus-sql-exporter_*.deb exporter
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit pg@8.23.1
. "$here/postgres.sh"
start_postgres

cat >run.mjs <<'JS'
import pg from 'pg';
const client = new pg.Client(process.env.DATABASE_URL);
await client.connect();
await client.query(process.argv[2]);
await client.end();
JS
node run.mjs "create table shelves as select 7 as books; create table loans as select 7 as books"
cat >exporter.yml <<YML
jobs:
  - name: example
    interval: 1s
    connections: ['$DATABASE_URL?sslmode=disable']
    queries:
      - { name: empty, help: No rows., values: [books], query: select books from shelves }
      - { name: allowed, help: No rows., values: [books], allow_zero_rows: true, query: select books from shelves }
      - { name: failing, help: No table., values: [books], query: select books from loans }
YML
exporter/usr/bin/prometheus-sql-exporter -config.file exporter.yml -web.listen-address 127.0.0.1:9237 >/dev/null &
servers+=($!)
sleep 2
node run.mjs 'delete from shelves; drop table loans'
sleep 4
seen=$(curl --silent http://127.0.0.1:9237/metrics |
  sed -n 's/^sql_exporter_last_scrape_failed{.*query="\([a-z]*\)".*} /failed \1 /p; s/^sql_\([a-z]*\){.*} /\1 /p' | sort)
echo "$seen"
[ "$seen" = 'empty 7
failed allowed 0
failed empty 0
failed failing 1
failing 7' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
