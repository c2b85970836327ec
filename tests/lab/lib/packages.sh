# The host's packages, and the host's idea of where Debian's archive is. Sourced.
# shellcheck shell=bash

HOST_PACKAGES=(qemu-system-x86 qemu-utils ovmf debootstrap debian-archive-keyring cpio xz-utils e2fsprogs kmod)

# archive_uri LABEL: the address of "Debian" or "Debian-Security" as this machine's own apt has it
# (apt-get(8), indextargets), so that no host name is written down here.
archive_uri() {
    apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' "Label: $1" |
        sed -n 's/^[^|]*|//p' | sort -u | head -n 1
}

missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove "$@"
}

# On a Debian 12 whose qemu-utils is from backports, the plain qemu-system-x86 conflicts with it and
# apt would take qemu-utils away; --no-remove makes it refuse instead. Then backports is asked, from
# a source list that exists only for this call: the machine's own configuration is not touched.
apt_install_from_backports() {
    local suite sources status=0
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME-backports")
    sources=$(mktemp -d)
    mkdir -p "$sources/parts" "$sources/lists/partial"
    cp /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources "$sources/parts/" 2>/dev/null || true
    echo "deb $(archive_uri Debian) $suite main" >"$sources/parts/lab-backports.list"
    local options=(-o "Dir::Etc::SourceParts=$sources/parts" -o "Dir::State::Lists=$sources/lists"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
    { apt-get "${options[@]}" -q update && apt_install "${options[@]}" -t "$suite" "$@"; } || status=$?
    rm -rf "$sources"
    return $status
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "${HOST_PACKAGES[@]}")
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "these packages are missing, and installing them needs root: ${missing[*]}"
    say "installing ${missing[*]}"
    local log
    log=$(mktemp)
    {
        apt-get -q update &&
            if apt-get install -s --no-install-recommends --no-remove "${missing[@]}" >/dev/null 2>&1; then
                apt_install "${missing[@]}"
            else
                apt_install_from_backports "${missing[@]}"
            fi
    } >"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        die "installing the host's packages failed; the whole log is $log"
    }
    rm -f "$log"
}
