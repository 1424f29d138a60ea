#!/usr/bin/env bash
# prisma 7.10.1 with @prisma/client 7.10.0
#
# Expected: `prisma generate` with the generator prisma-client, which needs no engine, works without a network.
# Seen: it first fetches the schema engine, a program that only migrations need, and fails where it cannot. With
#   PRISMA_SCHEMA_ENGINE_BINARY naming any file, it generates the client.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit --ignore-scripts prisma@7.10.1 @prisma/client@7.10.0
cat >schema.prisma <<'PRISMA'
generator client {
  provider = "prisma-client"
  output   = "./client"
}
datasource db {
  provider = "postgresql"
}
model Shelf {
  code String @id
}
PRISMA
# Nobody listens there: as without a network.
export PRISMA_ENGINES_MIRROR=http://127.0.0.1:9
generate() {
  if npx prisma generate --schema schema.prisma >generate.log 2>&1; then
    echo 'generated'
  else
    grep -m1 -o 'request to .*/schema-engine' generate.log | sed 's/ .*\// … /'
  fi
}
without=$(generate)
echo "$without"
touch empty-file
export PRISMA_SCHEMA_ENGINE_BINARY=$folder/empty-file
with=$(generate)
echo "with PRISMA_SCHEMA_ENGINE_BINARY: $with"
[ "$without, $with" = 'request … schema-engine, generated' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
