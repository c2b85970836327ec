# The host's packages, and the host's idea of where Debian's archive is. Sourced.
# shellcheck shell=bash

# What the program is built with where it sends streams through libzfs_core (feature libzetta).
HEADER_PACKAGES=(libzfslinux-dev pkg-config)
HOST_PACKAGES=(qemu-system-x86 qemu-utils ovmf debootstrap debian-archive-keyring cpio xz-utils e2fsprogs kmod make)

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

# copy_sources: a copy of this machine's source lists to add to, in SOURCES, and in APT_OPTIONS what
# makes apt use it. It exists for one call: the machine's own configuration is not touched.
copy_sources() {
    SOURCES=$(mktemp -d)
    mkdir -p "$SOURCES/parts" "$SOURCES/lists/partial"
    cp /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources "$SOURCES/parts/" 2>/dev/null || true
    cp /etc/apt/sources.list "$SOURCES/parts/main.list" 2>/dev/null || true
    APT_OPTIONS=(-o "Dir::Etc::SourceParts=$SOURCES/parts" -o Dir::Etc::SourceList=/dev/null
        -o "Dir::State::Lists=$SOURCES/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
}

# On a Debian 12 whose qemu-utils is from backports, the plain qemu-system-x86 conflicts with it and
# apt would take qemu-utils away; --no-remove makes it refuse instead. Then backports is asked.
apt_install_from_backports() {
    local suite status=0
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME-backports")
    copy_sources
    echo "deb $(archive_uri Debian) $suite main" >"$SOURCES/parts/lab-backports.list"
    { apt-get "${APT_OPTIONS[@]}" -q update && apt_install "${APT_OPTIONS[@]}" -t "$suite" "$@"; } || status=$?
    rm -rf "$SOURCES"
    return $status
}

# OpenZFS is in contrib, which this machine's own apt need not know. An entry of its own for contrib
# would have to repeat how the archive's is signed, so contrib is added to that one.
apt_install_from_contrib() {
    local uri file status=0
    copy_sources
    uri=$(archive_uri Debian)
    for file in "$SOURCES"/parts/*; do
        case $file in
            *.list) sed -i "\\|${uri%/}|{/ contrib/!s/ main/ main contrib/}" "$file" ;;
            *) awk -v uri="${uri%/}" 'BEGIN { RS = ""; ORS = "\n\n" }
                index($0, uri) && !/Components:[^\n]*contrib/ { sub(/Components:[^\n]*main/, "& contrib") }
                { print }' "$file" >"$SOURCES/new" && mv "$SOURCES/new" "$file" ;;
        esac
    done
    { apt-get "${APT_OPTIONS[@]}" -q update && apt_install "${APT_OPTIONS[@]}" "$@"; } || status=$?
    rm -rf "$SOURCES"
    return $status
}

# install_headers: true where the feature libzetta can be built. Nothing else depends on it.
install_headers() {
    local missing log
    ! pkg-config --exists libzfs_core 2>/dev/null || return 0
    mapfile -t missing < <(missing_packages "${HEADER_PACKAGES[@]}")
    [ "$(id -u)" = 0 ] || return 1
    say "installing ${missing[*]}"
    log=$(mktemp)
    apt_install_from_contrib "${missing[@]}" >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        rm -f "$log"
        return 1
    }
    rm -f "$log"
    pkg-config --exists libzfs_core
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

# install_ansible DIR: Ansible and its collection community.general for the guests' Python, unpacked from
# PyPI's packages; of the other collections nothing.
install_ansible() {
    local python
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip >/dev/null 2>&1 || return
    python=$(sed -n 's|.*/python3\.\([0-9]*\)$|3.\1|p' < <(tar -tf "$LAB_CACHE/root-$(root_key).tar" | grep -E '/usr/bin/python3\.[0-9]+$'))
    python3 -m pip download -q --only-binary=:all: --implementation cp --python-version "$python" \
        --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_34_x86_64 -d "$1.wheels" ansible || return
    python3 - "$1" "$1.wheels" <<'PYTHON'
import pathlib, sys, zipfile
for wheel in pathlib.Path(sys.argv[2]).glob("*.whl"):
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(sys.argv[1], [name for name in packed.namelist() if not name.startswith("ansible_collections/")
                                        or name.startswith("ansible_collections/community/general/")])
PYTHON
}
