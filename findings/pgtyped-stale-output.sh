#!/usr/bin/env bash
# @pgtyped/cli 2.4.3
#
# Expected: with failOnError, a query file that pgtyped cannot read makes it exit with another code than 0, and does
#   not leave types of an earlier version of the query behind.
# Seen: a "--" comment above the "@name" comment, which is valid SQL, is a parse error. pgtyped prints it, says
#   "Skipped …: no changes or no queries detected", exits with code 0, and leaves the output of the earlier query
#   in place, so that a build goes on with the wrong statement and the wrong types.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit @pgtyped/cli@2.4.3 typescript@5.9.3
. "$here/postgres.sh"
start_postgres

mkdir queries generated
cat >config.json <<'JSON'
{
  "transforms": [{ "mode": "sql", "include": "*.sql", "emitTemplate": "generated/{{name}}.ts" }],
  "srcDir": "queries",
  "failOnError": true
}
JSON
printf '/* @name answer */\nselect 1 as "one!";\n' >queries/answer.sql
npx pgtyped --config config.json --uri "$DATABASE_URL"

printf -- '-- What is the answer?\n/* @name answer */\nselect 2 as "two!";\n' >queries/answer.sql
code=0
npx pgtyped --config config.json --uri "$DATABASE_URL" || code=$?
statement=$(grep --only-matching 'select [12] as' generated/answer.ts | head -1)
echo "exit code: $code, generated statement: $statement …"
[ "$code" = 0 ] && [ "$statement" = 'select 1 as' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
