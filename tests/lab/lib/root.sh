# The guest's root: one Debian tree from which both guests are made. Sourced.
# shellcheck shell=bash

GUEST_PACKAGES=(systemd systemd-sysv systemd-container udev dbus kmod procps less nano strace
    zfsutils-linux zfs-initramfs dosfstools gdisk fdisk dmsetup e2fsprogs xz-utils zstd
    grub2-common grub-pc-bin grub-efi-amd64-bin systemd-boot-tools systemd-boot-efi efibootmgr binutils rsync)

# The same in workbench and installed system, so that neither finds the other's pool foreign.
GUEST_HOSTID=00bea0d5

# root_key: what the tree is made from. The seed counts by its file names, which carry the versions.
root_key() {
    { cat "$LAB_DIR"/lib/{tree,modules,root}.sh; [ -z "$LAB_SEED" ] || ls "$LAB_SEED"; } | key "$GUEST_SUITE"
}

# build_root DIR: the tree, finished: kernel, modules, userland, initramfs.
build_root() {
    local tree=$1 seed=$LAB_SEED zfs
    mkdir -p "$tree"
    bootstrap "$tree"
    zfs=$(upstream_version "$tree" zfsutils-linux)
    if [ -n "$seed" ] && seed_fits "$seed" "$zfs"; then
        say "OpenZFS $zfs modules come from the seed"
    else
        [ -z "$seed" ] || say "the seed has no modules for OpenZFS $zfs"
        seed=$LAB_CACHE/modules-$zfs
        if ! [ -d "$seed" ]; then
            say "compiling OpenZFS $zfs: about ten minutes on two cores"
            compile_modules "$seed.partial"
            publish "$seed.partial" "$seed"
        fi
    fi
    install_modules "$tree" "$seed"
    tree_install "$tree" "${GUEST_PACKAGES[@]}"

    in_tree "$tree" zgenhostid -f "$GUEST_HOSTID"
    in_tree "$tree" systemd-machine-id-setup
    in_tree "$tree" passwd -d root
    echo beadm-rs-lab >"$tree/etc/hostname"
    echo '127.0.0.1 localhost beadm-rs-lab' >"$tree/etc/hosts"
    # For systems whose initramfs dracut makes: it cannot be installed beside initramfs-tools, so it is
    # only at hand, with all it needs that is not there.
    mkdir -p "$tree/usr/local/lib/lab/dracut"
    in_tree "$tree" sh -c 'cd /usr/local/lib/lab/dracut && apt-get -q download dracut dracut-core zfs-dracut'
    # The hook of zfs-initramfs copies /etc/hostid, so the initramfs is made after it.
    in_tree "$tree" update-initramfs -c -k all
    in_tree "$tree" apt-get clean
    rm -rf "$tree"/var/lib/apt/lists/* "$tree"/etc/apt/apt.conf.d/00lab-host "$tree"/etc/resolv.conf \
        "$tree"/usr/sbin/policy-rc.d "$tree"/var/cache/debconf/*-old
}
