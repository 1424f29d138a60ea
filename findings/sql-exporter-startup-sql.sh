#!/usr/bin/env bash
# prometheus-sql-exporter 0.4.5 of Debian 12, on PostgreSQL 18.4. Needs apt.
#
# Expected: every connection that the exporter opens begins with the statements of `startup_sql`.
# Seen: only the first does. It replaces its connection after twice the interval, and the next one has none of the
#   settings: no statement_timeout, and no read-only transactions.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download prometheus-sql-exporter >/dev/null 2>&1
dpkg -x prometheus-sql-exporter_*.deb exporter
npm init --yes >/dev/null
. "$here/postgres.sh"
start_postgres

cat >exporter.yml <<YML
jobs:
  - name: example
    interval: 1s
    connections: ['$DATABASE_URL?sslmode=disable']
    startup_sql: ["set statement_timeout = 4321"]
    queries:
      - name: timeout
        help: The limit of the session.
        values: [milliseconds]
        query: select setting::float as milliseconds from pg_settings where name = 'statement_timeout'
YML
exporter/usr/bin/prometheus-sql-exporter -config.file exporter.yml -web.listen-address 127.0.0.1:9237 >/dev/null &
servers+=($!)
read_timeout() {
  curl --silent http://127.0.0.1:9237/metrics | sed -n 's/^sql_timeout{.*} //p'
}
sleep 1
first=$(read_timeout)
sleep 6
later=$(read_timeout)
echo "statement_timeout at first: $first, later: $later"
[ "$first $later" = '4321 0' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
