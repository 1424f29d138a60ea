#!/usr/bin/env bash
# kysely-codegen 0.20.0
#
# Expected: npm install kysely-codegen, with its peer dependencies, is enough to run it.
# Seen: it loads the package typescript when it starts, and names it neither as a dependency nor as a peer. In a project
#   without TypeScript, it ends with MODULE_NOT_FOUND.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit kysely-codegen@0.20.0 kysely@0.28.19 pg@8.23.1
start() { npx kysely-codegen --help 2>&1 | grep -m1 -o "Cannot find module 'typescript'\|kysely-codegen \[options\]" || true; }
before=$(start)
npm install --silent --no-fund --no-audit typescript@5.9.3
after=$(start)
seen="as installed: $before
with typescript: $after"
echo "$seen"
[ "$seen" = "as installed: Cannot find module 'typescript'
with typescript: kysely-codegen [options]" ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
