# Where the lab keeps its things, and how it talks. Sourced by tests/lab/{build,run,shell}.
# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by those who source it

LAB_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PROJECT_DIR=$(cd "$LAB_DIR/../.." && pwd)
LAB_CACHE=${BEADM_RS_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/beadm-rs-lab}
LAB_SEED=${BEADM_RS_LAB_SEED:-}

# The guest's release. Debian 13 carries OpenZFS 2.3 in contrib and systemd 257.
GUEST_SUITE=trixie

say() { printf 'lab: %s\n' "$*" >&2; }
die() {
    printf 'lab: %s\n' "$*" >&2
    exit 1
}

# key WORDS… < FILES: sixteen hex digits that change when the words or the input do.
key() { { printf '%s\n' "$@"; cat; } | sha256sum | cut -c1-16; }

# publish TEMP FINAL: the last act of building something. A cache entry exists whole or not at all.
publish() {
    sync -f "$1"
    mv -T "$1" "$2"
}

# One builder at a time for the whole cache: two would compile the same module side by side.
lock_cache() {
    mkdir -p "$LAB_CACHE"
    exec 9>"$LAB_CACHE/lock"
    flock --nonblock 9 || {
        say "another builder holds $LAB_CACHE/lock: waiting for it"
        flock 9
    }
    # Whatever temporary entry is here now was left by a builder that died.
    rm -rf "$LAB_CACHE"/*.partial
}
unlock_cache() { exec 9>&-; }
