#!/usr/bin/env bash
# PostgreSQL 19 rc1 (Debian experimental)
#
# Expected: REPACK (CONCURRENTLY) waits only for sessions that use its table, as VACUUM FULL does, so that
#   lock_timeout limits how long it waits for that table.
# Seen: it first waits for every transaction of the server that has written, in whatever database, and
#   lock_timeout counts that wait, too: "canceling statement due to lock timeout", 55P03, while nobody uses the table.
#
# Needs apt-get, dpkg and debian-archive-keyring, as dev/debian-postgres/build.sh does, but not root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

"$here/../dev/debian-postgres/build.sh" "$folder/postgres" 19 >/dev/null
. "$here/postgres.sh"
start_postgres postgres/bin
npm install --silent --no-fund --no-audit pg@8.16.3
cat >repack.mjs <<'JS'
import pg from 'pg';
const url = process.argv[2];
const connect = async (address) => {
  const client = new pg.Client(address);
  await client.connect();
  return client;
};
const owner = await connect(url);
await owner.query('create database elsewhere');
await owner.query('create table queue as select generate_series(1, 100) as id');
await owner.query('alter table queue add primary key (id)');
const writer = await connect(url.replace(/[^/]*$/, 'elsewhere'));
await writer.query('create table note (id integer)');
await writer.query('begin');
await writer.query('insert into note values (1)');
await owner.query("set lock_timeout = '1s'");
const repack = () => owner.query('repack (concurrently) queue').then(() => 'done', ({ code, message }) => `${code} ${message}`);
console.log('while a transaction of another database has written:', await repack());
await writer.query('commit');
console.log('after it has ended:', await repack());
await Promise.all([owner.end(), writer.end()]);
JS
postgres/bin/postgres --version
node repack.mjs "$DATABASE_URL" | tee seen
if ! grep -q '^while .*: 55P03 canceling statement due to lock timeout' seen || ! grep -q '^after .*: done$' seen; then
  echo 'CHANGED: see the header'
  exit 1
fi
echo 'As described.'
