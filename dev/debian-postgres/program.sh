#!/bin/sh
# In the place of each program: runs it with the loader and the libraries it was built for.
# To find the server's other files, it takes this script for itself.
bin=$(cd "$(dirname "$(readlink -f "$0")")" && pwd -P)
name=$(basename "$0")
root=$bin/../../../..
exec "$(echo "$root"/libraries/ld-linux*)" --argv0 "$bin/$name" --library-path "$root/libraries" "$root/programs/$name" "$@"
