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
manifest=$(mktemp -d)/ksail.yaml
cp ksail.yaml kind.yaml "$(dirname "$manifest")"
trap 'ksail --file "$manifest" cluster delete; rm -r "$(dirname "$manifest")"' EXIT

# 0: every registry is Ready. 1: one failed, 2: the file is wrong, 3: it took too long.
ksail --file "$manifest" apply --timeout 3m

"$@"
