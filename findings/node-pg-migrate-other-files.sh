#!/usr/bin/env bash
# node-pg-migrate 9.0.0
#
# Expected: a file in the migrations folder that is no migration, such as a README.md, is passed over, as dot files are.
# Seen: up fails with 'Cannot determine numeric prefix for "README.md"', and exit code 1,
#   though the only migration of the folder has a numeric prefix. Only --ignore-pattern gets past it.
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
printf -- '-- Up Migration\nselect 1;\n-- Down Migration\nselect 1;\n' >migrations/0001_select_one.sql
echo 'One line for each migration.' >migrations/README.md
code=0
npx node-pg-migrate up --migrations-dir migrations >output 2>&1 || code=$?
grep 'Cannot determine' output || cat output
echo "exit code: $code"
grep -q 'Cannot determine numeric prefix for "README.md"' output && [ "$code" = 1 ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
