# The OpenZFS modules and the kernel they were built for: from a seed directory, or compiled. Sourced.
# A seed holds a linux-image-VERSION-cloud-amd64_*.deb and a zfs-ZFSVERSION_VERSION-cloud-amd64.tar.xz
# with spl.ko.xz and zfs.ko.xz. Compiling makes a directory of the same shape in the cache.
# shellcheck shell=bash

# seed_fits DIR UPSTREAM: does the directory hold modules of that OpenZFS release, with their kernel?
seed_fits() {
    local archive kernel
    for archive in "$1"/zfs-"$2"-*.tar.xz; do
        [ -f "$archive" ] || continue
        kernel=$(basename "$archive" .tar.xz)
        kernel=${kernel#*_}
        compgen -G "$1/linux-image-${kernel}_*.deb" >/dev/null && return 0
    done
    return 1
}

# compile_modules DIR: about ten minutes on two cores, in a tree that is thrown away.
compile_modules() {
    local out=$1 tree="$LAB_CACHE/compiler.partial" kernel zfs
    rm -rf "$tree" && mkdir -p "$out"
    bootstrap "$tree"
    tree_install "$tree" linux-image-cloud-amd64 linux-headers-cloud-amd64
    # zfs-dkms asks a licence question with debconf; noninteractive takes its default and goes on.
    tree_install "$tree" zfs-dkms
    kernel=$(basename "$tree"/lib/modules/*-cloud-amd64)
    zfs=$(in_tree "$tree" dpkg-query -W -f '${Version}' zfs-dkms)
    [ -f "$tree/lib/modules/$kernel/updates/dkms/zfs.ko.xz" ] ||
        { cat "$tree"/var/lib/dkms/zfs/*/build/make.log 2>/dev/null | tail -n 40; return 1; }
    tar -C "$tree/lib/modules/$kernel/updates/dkms" -cJf "$out/zfs-${zfs}_$kernel.tar.xz" spl.ko.xz zfs.ko.xz
    in_tree "$tree" sh -c "cd /root && apt-get download linux-image-$kernel"
    cp "$tree"/root/linux-image-"$kernel"_*.deb "$out/"
    rm -rf "$tree"
}

# install_modules TREE DIR: kernel package and modules into a tree, and a stand-in for zfs-modules,
# which zfs-initramfs depends on and which zfs-dkms would provide by compiling again.
install_modules() {
    local tree=$1 seed=$2 deb archive kernel
    archive=$(find "$seed" -maxdepth 1 -name 'zfs-*.tar.xz' | sort | tail -n 1)
    kernel=$(basename "$archive" .tar.xz)
    kernel=${kernel#*_}
    deb=$(find "$seed" -maxdepth 1 -name "linux-image-${kernel}_*.deb" | head -n 1)
    install -m 644 "$deb" "$tree/tmp/kernel.deb"
    tree_install "$tree" initramfs-tools zstd busybox-static /tmp/kernel.deb
    mkdir -p "$tree/lib/modules/$kernel/updates/dkms"
    tar --no-same-owner -C "$tree/lib/modules/$kernel/updates/dkms" -xJf "$archive"
    in_tree "$tree" depmod "$kernel"

    mkdir -p "$tree/tmp/zfs-modules/DEBIAN"
    printf '%s\n' 'Package: lab-zfs-modules' 'Version: 1' 'Architecture: all' 'Provides: zfs-modules' \
        'Maintainer: the lab <root@localhost>' 'Description: stands for the modules the lab put in place' \
        >"$tree/tmp/zfs-modules/DEBIAN/control"
    in_tree "$tree" dpkg-deb --build /tmp/zfs-modules /tmp/zfs-modules.deb
    tree_install "$tree" /tmp/zfs-modules.deb
    rm -rf "$tree"/tmp/{kernel.deb,zfs-modules,zfs-modules.deb}
}
