#!/usr/bin/env bash
# PostgreSQL 15.20 (Debian 12), pg_dump 15.18, and PostgreSQL 18.4 to restore into
#
# Expected: pg_dump 15.18 dumps a server of 15.20, whose major version is its own, so that any newer server can
#   restore it. PostgreSQL's documentation names only the major version as a limit.
# Seen: from 15.20 on, the server keeps "pg_attver=…" among each column's options. The pg_dump of 15.20 leaves it
#   out. That of 15.18 writes "ALTER COLUMN … SET (pg_attver=…)", which 18.4 refuses. So do those of 18.6 and 19 rc1,
#   and 19 rc1 refuses it, too.
#
# Needs apt-get, dpkg and debian-archive-keyring, and Debian 12 or newer, but not root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# An apt that knows only Debian 12, and takes nothing for installed.
mkdir -p apt/lists/partial apt/cache/archives/partial apt/none
: >apt/status
for each in 'debian bookworm' 'debian-security bookworm-security'; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/$each main"
done >apt/sources.list
apt() {
  apt-get --quiet=2 --option Dir::State::Lists="$folder/apt/lists" --option Dir::State::Status="$folder/apt/status" \
    --option Dir::Cache="$folder/apt/cache" --option Dir::Etc::SourceList="$folder/apt/sources.list" \
    --option Dir::Etc::SourceParts="$folder/apt/none" --option Dir::Etc::Preferences="$folder/apt/none" \
    --option Dir::Etc::PreferencesParts="$folder/apt/none" --option APT::Sandbox::User= --option Debug::NoLocking=true "$@"
}
apt update
new=15.20-0+deb12u1 old=15.18-0+deb12u1
apt install --yes --download-only --no-install-recommends \
  "postgresql-15=$new" "postgresql-client-15=$new" "libpq5=$new" >/dev/null
# This machine's own C and C++ libraries run them.
for each in apt/cache/archives/*.deb; do
  case $each in */libc6_* | */libgcc-s1_* | */libstdc++6_*) ;; *) dpkg-deb --extract "$each" new ;; esac
done
apt download "postgresql-client-15=$old" >/dev/null
dpkg-deb --extract "postgresql-client-15_${old}_$(dpkg --print-architecture).deb" old
programs=usr/lib/postgresql/15/bin
libraries=$(echo "$folder"/new/usr/lib/*-linux-gnu):$(echo "$folder"/new/lib/*-linux-gnu)

. "$here/postgres.sh"
LD_LIBRARY_PATH=$libraries start_postgres "new/$programs"
url15=$DATABASE_URL
start_postgres
run() { LD_LIBRARY_PATH=$libraries "$@"; }
psql() { run "new/$programs/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 "$@"; }
psql "$url15" --command='create table contacts (id integer primary key)'

# Dumps 15.20 with a pg_dump, new or old, and restores into an empty database of 18.4.
restore() {
  psql "$DATABASE_URL" --command="create database $1"
  run "$1/$programs/pg_dump" "$url15" >dump.sql
  grep pg_attver dump.sql || true
  psql "${DATABASE_URL%/*}/$1" --file=dump.sql >/dev/null
}
run "new/$programs/pg_dump" --version
restore new
echo 'restored'
run "old/$programs/pg_dump" --version
if restore old 2>error.txt || ! grep 'unrecognized parameter "pg_attver"' error.txt; then
  echo 'CHANGED: see the header'
  exit 1
fi
echo 'As described.'
