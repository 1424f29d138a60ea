#!/usr/bin/env bash
# prometheus-pgbouncer-exporter 1.7 with pgbouncer 1.18.0, both of Debian 12
#
# Expected: Debian's exporter exports the statistics of the PgBouncer that Debian ships beside it.
# Seen: it does not start, with KeyError: 'total_requests'. PgBouncer has had no such column since 1.8 (2017).
#
# Needs both programs: apt-get install pgbouncer prometheus-pgbouncer-exporter
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"; kill "$pooler" 2>/dev/null || true' EXIT
cd "$folder"
chmod 755 .
echo '"monitor" "example"' >users
cat >pgbouncer.ini <<INI
[databases]
* = host=127.0.0.1
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = 6439
unix_socket_dir =
auth_type = plain
auth_file = $folder/users
stats_users = monitor
INI
# PgBouncer refuses to run as root; it reads its files before it changes user.
options=()
[ "$(id -u)" != 0 ] || options=(-u nobody)
PATH=$PATH:/usr/sbin pgbouncer --quiet "${options[@]}" pgbouncer.ini 2>log &
pooler=$!
sleep 1
PGPASSWORD=example timeout 10 prometheus-pgbouncer-exporter --host 127.0.0.1 --port 9128 --pgbouncer-host 127.0.0.1 \
  --pgbouncer-port 6439 --pgbouncer-user monitor >exporter.log 2>&1 && ended=0 || ended=$?
tail -1 exporter.log
[ "$ended $(tail -1 exporter.log)" = "1 KeyError: 'total_requests'" ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
