# Debian packages, unpacked and never installed: those of this machine's release and of a newer one.
#
# Sourced. The script that does sets $work, a directory of its own, and $reporter, the words its messages
# begin with.

# unpack PACKAGE DIRECTORY: what a Debian package would install, without installing it.
unpack() { unpack_with fetch "$1" "$2"; }

# unpack_newer PACKAGE DIRECTORY: the same from the suite that use_newer_suite found.
unpack_newer() { unpack_with fetch_newer "$1" "$2"; }

# unpack_with FETCH PACKAGE DIRECTORY
unpack_with() {
    local downloads="$work/downloads/$1/$2"
    mkdir -p "$downloads" "$3"
    (cd "$downloads" && "$1" "$2")
    dpkg -x "$downloads"/*.deb "$3"
}

# The package lists of a fresh machine are empty or old: refresh them once when the first try fails.
fetch() {
    apt-get download "$1" >"$work/apt.log" 2>&1 && return
    apt-get update >>"$work/apt.log" 2>&1 || true
    apt-get download "$1" >>"$work/apt.log" 2>&1 && return
    echo "$reporter: cannot download the Debian package $1:" >&2
    tail -n 5 "$work/apt.log" >&2
    return 1
}

fetch_newer() { APT_CONFIG="$work/newer/apt.conf" apt-get download "$1" >>"$work/newer.log" 2>&1; }

# use_newer_suite PACKAGE: finds a suite newer than this machine's that has the package, and reads its lists;
# fails when there is none. Nothing of it enters the machine's own package lists.
use_newer_suite() {
    local own archive suite
    own=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    archive=$(archive_of "$own")
    [[ -n $archive ]] || return 1
    for suite in forky sid trixie; do
        if [[ $suite == "$own" ]]; then continue; fi
        read_lists "$suite" "$archive"
        if (cd "$work/newer" && fetch_newer "$1"); then return; fi
    done
    return 1
}

# archive_of SUITE: where this machine's apt gets that suite from. It need not have got anything yet.
archive_of() {
    apt-get indextargets --no-release-info --format '$(REPO_URI)' \
        'Created-By: Packages' "Release: $1" 'Component: main' 2>/dev/null | head -n 1
}

# read_lists SUITE ARCHIVE
read_lists() {
    local state="$work/newer" keyring
    keyring=$(ls /usr/share/keyrings/debian-archive-keyring.{pgp,gpg} 2>/dev/null | head -n 1 || true)
    rm -rf "$state"
    mkdir -p "$state"/{lists,archives}/partial
    # The downloads are made by a user of their own.
    chmod -R a+rX "$state"
    echo "deb ${keyring:+[signed-by=$keyring] }$2 $1 main" >"$state/sources.list"
    cat >"$state/apt.conf" <<CONF
Dir::Etc::SourceList "$state/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$state";
Dir::State::Status "/dev/null";
Dir::Cache "$state";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONF
    APT_CONFIG="$state/apt.conf" timeout 120 apt-get update >>"$work/newer.log" 2>&1 || true
}
