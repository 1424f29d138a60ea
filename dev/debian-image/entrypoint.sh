#!/bin/sh
# The container's first process. Initialises the cluster with POSTGRES_PASSWORD as Docker Hub's postgres:NN does,
# including the log line that wait strategies expect twice, and then runs its arguments.
set -eu
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
if [ ! -s "$data/PG_VERSION" ]; then
  install -d -o postgres -g postgres -m 700 "$data"
  password=$(mktemp)
  printf '%s' "${POSTGRES_PASSWORD:?}" > "$password"
  chown postgres "$password"
  as_postgres "$bin/initdb" --pgdata="$data" --pwfile="$password" --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  rm "$password"
  echo 'host all all all scram-sha-256' >> "$data/pg_hba.conf"
  as_postgres "$bin/pg_ctl" --pgdata="$data" --options='-c listen_addresses=' --wait start
  as_postgres "$bin/pg_ctl" --pgdata="$data" --wait stop
fi
[ "$1" = postgres ] && shift
exec setpriv --reuid=postgres --regid=postgres --init-groups "$bin/postgres" -D "$data" -c listen_addresses='*' "$@"
