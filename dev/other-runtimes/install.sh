#!/bin/sh
# Makes a folder with the other runtimes and the package manager that test/package/other-runtimes.test.ts tries the
# package on: Bun, Deno, and Yarn with Plug'n'Play. From npm, in exactly these versions, about 200 MB:
#
#   dev/other-runtimes/install.sh <folder>
#   TEST_OTHER_RUNTIMES=<folder> npx vitest run test/package/other-runtimes.test.ts
#
# Nothing is installed outside the folder. README.md names the versions.
set -eu
if [ $# -ne 1 ] || [ -e "$1" ]; then
  echo "Usage: $0 <folder that is not there yet>" >&2
  exit 2
fi
mkdir -p "$1"
cd "$1"
echo '{ "name": "other-runtimes", "private": true }' > package.json
# Without install scripts, which would move the programs: the packages of this platform have them.
npm install --ignore-scripts --no-audit --no-fund bun@1.4.5 deno@2.9.6 @yarnpkg/cli-dist@4.18.1

# The first that starts: there may be one for each C library.
link() {
  name=$1
  shift
  for program in "$@"; do
    if "$program" --version > /dev/null 2>&1; then
      ln -s "../$program" "bin/$name"
      return
    fi
  done
  echo "None of the packages for $name has a program that runs here: $*" >&2
  exit 1
}
mkdir bin
link bun node_modules/@oven/bun-*/bin/bun
link deno node_modules/@deno/*/deno
link yarn node_modules/@yarnpkg/cli-dist/bin/yarn.js
for name in bun deno yarn; do echo "$name $("bin/$name" --version | head -1)"; done
