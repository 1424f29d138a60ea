#!/usr/bin/env bash
# Yarn 4.18.1 (@yarnpkg/cli-dist), with Plug'n'Play
#
# Expected: `yarn node` runs a program as `node` does. Only the finding of packages differs.
# Seen: Plug'n'Play replaces node:fs/promises, and its FileHandle has no sync, datasync, utimes or readv: they throw
#   "Method not implemented.", for a file on disk too. A program that makes sure of its data before it renames a file
#   fails. fsync(handle.fd) of node:fs works.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit --prefix tools @yarnpkg/cli-dist@4.18.1
yarn() { node tools/node_modules/@yarnpkg/cli-dist/bin/yarn.js "$@"; }
export YARN_ENABLE_TELEMETRY=0 YARN_NODE_LINKER=pnp YARN_GLOBAL_FOLDER=$folder/global YARN_ENABLE_IMMUTABLE_INSTALLS=false
touch yarn.lock
yarn install >install.log || { cat install.log; exit 1; }

cat >program.cjs <<'JS'
const { fsync } = require('node:fs');
const { open } = require('node:fs/promises');
const { promisify } = require('node:util');
(async () => {
  const file = await open('shelf.txt', 'w');
  await file.writeFile('one book\n');
  console.log('file.sync():', await (async () => file.sync())().then(() => 'done', ({ message }) => message));
  console.log('fsync(file.fd):', await promisify(fsync)(file.fd).then(() => 'done', ({ message }) => message));
  await file.close();
})();
JS
echo 'node:'
node program.cjs
echo 'yarn node:'
seen=$(yarn node program.cjs)
echo "$seen"
[ "$seen" = 'file.sync(): Method not implemented.
fsync(file.fd): done' ] || {
  echo 'CHANGED: see the header'
  exit 1
}
echo 'As described.'
