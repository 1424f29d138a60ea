#!/bin/sh
# Builds a PostgreSQL image from Debian's packages, for machines that cannot pull one.
# Run it as root, with debootstrap and a Docker engine: build.sh <image> [<suite> <major version>]
set -eu
image=$1 suite=${2:-bookworm} version=${3:-15}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include="postgresql-$version" "$suite" "$root"
install -m 755 "$(dirname "$0")/entrypoint.sh" "$root/entrypoint.sh"
tar --directory="$root" --exclude='./dev/*' --exclude='./proc/*' --exclude='./var/cache/apt/archives/*.deb' --create . |
  docker import --change 'ENTRYPOINT ["/entrypoint.sh"]' --change 'CMD ["postgres"]' --change 'EXPOSE 5432' - "$image"
