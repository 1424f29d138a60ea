#!/usr/bin/env bash
# @pgtyped/cli 2.4.3 with @pgtyped/runtime 2.4.2 and pg 8.23.1
#
# Expected: with camelCaseColumnNames, the rows that a query returns have the names that its generated type has.
# Seen: only the generated types are in camel case. The runtime returns the rows as pg gives them, in snake case, so
#   that row.createdAt compiles and is undefined.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit @pgtyped/cli@2.4.3 @pgtyped/runtime@2.4.2 typescript@5.9.3 pg@8.23.1 \
  @types/pg@8.23.1 @types/node@20.19.43
. "$here/postgres.sh"
start_postgres

mkdir queries generated
cat >config.json <<'JSON'
{
  "transforms": [{ "mode": "sql", "include": "*.sql", "emitTemplate": "generated/{{name}}.ts" }],
  "srcDir": "queries",
  "failOnError": true,
  "camelCaseColumnNames": true
}
JSON
printf '/* @name shelfList */\nselect 7 as "shelf_number!";\n' >queries/shelves.sql
npx pgtyped --config config.json --uri "$DATABASE_URL"
cat >program.ts <<'TS'
import pg from 'pg';
import { shelfList } from './generated/shelves.js';
const client = new pg.Client(process.argv[2]);
await client.connect();
const [row] = await shelfList.run(undefined, client);
console.log(`${JSON.stringify(row)}, row.shelfNumber: ${row?.shelfNumber}`);
await client.end();
TS
npm pkg set type=module
npx tsc --module nodenext --target es2022 --skipLibCheck program.ts
echo 'It compiles under tsc.'
seen=$(node program.js "$DATABASE_URL")
echo "$seen"
[ "$seen" = '{"shelf_number":7}, row.shelfNumber: undefined' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
