# A Debian tree made by debootstrap, and commands run inside it. Sourced.
# shellcheck shell=bash

# bootstrap TREE: a minimal Debian with main, contrib and the security archive configured.
bootstrap() {
    local tree=$1 mirror security
    mirror=$(archive_uri Debian)
    security=$(archive_uri Debian-Security)
    [ -n "$mirror" ] || die "this machine's apt has no source labelled Debian: cannot tell where to get a guest from"
    # The proxy of the machine's apt is debootstrap's too.
    local proxy
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "${proxy:-}" ] || export http_proxy=$proxy
    debootstrap --variant=minbase --include=ca-certificates \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$GUEST_SUITE" "$tree" "$mirror"

    # How this machine's apt reaches the archive (proxies, a clock that archives need not agree with).
    apt-config dump Acquire >"$tree/etc/apt/apt.conf.d/00lab-host"
    {
        echo "deb $mirror $GUEST_SUITE main contrib"
        echo "deb $mirror $GUEST_SUITE-updates main contrib"
        [ -z "$security" ] || echo "deb $security $GUEST_SUITE-security main contrib"
    } >"$tree/etc/apt/sources.list"
    # Nobody reads manuals in a guest, and every file less is less to unpack on an emulated disk.
    printf 'path-exclude=/usr/share/%s/*\n' doc man info locale >"$tree/etc/dpkg/dpkg.cfg.d/lab"
    rm -rf "$tree"/usr/share/{doc,man,info,locale}/*
    # No service is started by a package's installation (policy-rc.d: invoke-rc.d(8)).
    printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
    chmod +x "$tree/usr/sbin/policy-rc.d"
    in_tree "$tree" apt-get -q update
}

# in_tree TREE COMMAND…: run in a chroot in a mount namespace of its own, so that nothing stays
# mounted on the host however this ends.
in_tree() {
    local tree=$1
    shift
    # shellcheck disable=SC2016
    unshare --mount --fork sh -euc '
        tree=$1; shift
        mount --make-rprivate /
        mount -t proc proc "$tree/proc"
        mount --rbind /sys "$tree/sys"
        mount --rbind /dev "$tree/dev"
        cp /etc/resolv.conf /etc/hosts "$tree/etc/"
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive INITRD=No chroot "$tree" "$@"
    ' in_tree "$tree" "$@"
}

tree_install() {
    local tree=$1
    shift
    in_tree "$tree" apt-get install -y -q --no-install-recommends "$@"
}

# upstream_version TREE PACKAGE: the archive's candidate without epoch and Debian revision.
upstream_version() {
    in_tree "$1" apt-cache policy "$2" |
        sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([^-]*\).*/\2/p'
}
