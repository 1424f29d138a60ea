#!/bin/sh
# Makes a folder with the clients that test/clients/newer-clients.test.ts tries examples/clients on, and that are no
# development dependencies: Prisma, because it is 300 MB, and those that need a newer Node than 20 by their own account.
# From npm, in exactly these versions, about 330 MB:
#
#   dev/newer-clients/install.sh <folder>
#   TEST_NEWER_CLIENTS=<folder> npx vitest run test/clients/newer-clients.test.ts
#
# Nothing is installed outside the folder. docs/clients.md names the versions.
set -eu
if [ $# -ne 1 ] || [ -e "$1" ]; then
  echo "Usage: $0 <folder that is not there yet>" >&2
  exit 2
fi
mkdir -p "$1"
cd "$1"
echo '{ "name": "newer-clients", "private": true, "type": "module" }' > package.json
# Without install scripts: Prisma's fetch an engine, which only its migrations need.
npm install --ignore-scripts --no-audit --no-fund \
  pg@8.23.1 @types/pg@8.23.1 @types/node@20.19.43 tsx@4.23.15 \
  kysely@0.29.9 @mikro-orm/core@7.2.5 @mikro-orm/postgresql@7.2.5 \
  prisma@7.10.1 @prisma/client@7.10.0 @prisma/adapter-pg@7.10.1
