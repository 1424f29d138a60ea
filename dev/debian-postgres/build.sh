#!/bin/sh
# Makes a folder with a PostgreSQL of Debian that runs on any Linux: its programs, with the libraries they need.
# For a version that npm has no binaries of. Needs apt and dpkg, but neither root nor a container:
#
#   dev/debian-postgres/build.sh <folder> [<major version> [<suite>]]
#   TEST_POSTGRES_FOLDER=<folder> npm run test:postgres-versions -- 19
#
# Nothing is installed on this machine. The server needs the time zones in /usr/share/zoneinfo, as Debian's does.
set -eu
if [ $# -lt 1 ] || [ -e "$1" ]; then
  echo "Usage: $0 <folder that is not there yet> [<major version> [<suite>]]" >&2
  exit 2
fi
version=${2:-19} suite=${3:-experimental}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# An apt that knows only Debian's unstable packages, and takes nothing for installed.
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/none"
: > "$work/status"
printf 'Package: src:postgresql-%s\nPin: release a=%s\nPin-Priority: 990\n' "$version" "$suite" > "$work/preferences"
for each in sid "$suite"; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} $each main"
done | sort --unique > "$work/sources.list"
apt() {
  apt-get --quiet=1 --option Dir::State::Lists="$work/lists" --option Dir::State::Status="$work/status" \
    --option Dir::Cache="$work/cache" --option Dir::Etc::SourceList="$work/sources.list" \
    --option Dir::Etc::SourceParts="$work/none" --option Dir::Etc::Preferences="$work/preferences" --option Dir::Etc::PreferencesParts="$work/none" \
    --option APT::Sandbox::User= --option Debug::NoLocking=true "$@"
}
apt update
apt install --yes --download-only --no-install-recommends "postgresql-$version"

packages=$work/packages
mkdir "$packages"
for package in "$work"/cache/archives/*.deb; do dpkg-deb --fsys-tarfile "$package"; done |
  tar --extract --ignore-zeros --directory "$packages" ./usr ./lib ./lib64 2> "$work/tar.log" || true

# Debian's layout: the programs find the rest by their own place.
programs=usr/lib/postgresql/$version/bin
if [ ! -x "$packages/$programs/postgres" ]; then
  cat "$work/tar.log" >&2
  echo "postgresql-$version of $suite has no $programs/postgres." >&2
  exit 1
fi
built=$work/built
mkdir -p "$built/programs" "$built/libraries" "$built/lib/postgresql/$version/bin" "$built/share/postgresql"
cp "$packages/$programs"/* "$built/programs"
cp -R "$packages/usr/lib/postgresql/$version/lib" "$built/lib/postgresql/$version"
cp -R "$packages/usr/share/postgresql/$version" "$built/share/postgresql"
# The libraries that the programs and the server's modules load, as the loader finds them.
loader=$(echo "$packages"/usr/lib*/ld-linux*.so.* "$packages"/usr/lib/*-linux-gnu/ld-linux*.so.*)
loader=$(for each in $loader; do [ -e "$each" ] && echo "$each" && break; done)
libraries=$(echo "$packages"/usr/lib/*-linux-gnu)
cp --dereference "$loader" "$built/libraries"
for each in "$built/programs"/* "$built/lib/postgresql/$version/lib"/*.so; do
  "$loader" --library-path "$libraries" --list "$each" 2> "$work/loader.log" || true
done | sed -n "s|.* => \($packages/[^ ]*\).*|\1|p" | sort --unique | xargs cp --dereference --target-directory "$built/libraries"
for program in "$built/programs"/*; do
  install -m 755 "$here/program.sh" "$built/lib/postgresql/$version/bin/$(basename "$program")"
done
ln -s "lib/postgresql/$version/bin" "$built/bin"
"$built/bin/postgres" --version
mkdir -p "$(dirname "$1")"
cp -R "$built" "$1"
