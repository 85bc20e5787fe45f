#!/bin/sh
# A job for any CI: registries first, then the cluster, then the tests.
#
#   sh job.sh COMMAND [ARGUMENT...]     runs the command with the registries up, and removes them again
set -eu
cd "$(dirname "$0")"

if [ $# -eq 0 ]; then
    echo "usage: job.sh COMMAND [ARGUMENT...], such as: job.sh make test" >&2
    exit 2
fi

# What cluster delete would write into the committed file stays out of it.
directory=$(mktemp -d)
manifest=$directory/ksail.yaml
watch=
cp ksail.yaml kind.yaml "$directory"
clean_up() {
    if [ -n "$watch" ]; then
        kill "$watch"
        wait "$watch" || true
    fi
    ksail --file "$manifest" cluster delete
    rm -r "$directory"
}
trap clean_up EXIT

# 0: every registry is Ready. 1: one failed, 2: the file is wrong, 3: it took too long.
ksail --file "$manifest" apply --timeout 3m

# The nodes of a cluster that the command creates pull through the registries from their start.
ksail --file "$manifest" watch >"$directory/watch.log" &
watch=$!

"$@"
