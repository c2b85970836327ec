#!/bin/bash
# dracut's module for boot environments: has the initramfs mount the root's own children, as that of
# initramfs-tools does. dracut's zfs module mounts those with canmount=on that init needs, and no
# noauto ones (for_relevant_root_children in zfs-lib.sh).

check() {
    require_binaries zfs mount.zfs readlink || return 1
    # Taken along where the zfs module is, and asked for by nobody.
    return 255
}

depends() {
    echo zfs
}

install() {
    # shellcheck disable=SC2154 # dracut's
    inst_multiple zfs mount mount.zfs readlink
    # After the zfs module's own, 98. A name without "zfs": that one removes those.
    inst_hook mount 99 "$moddir/beadm-rs-children.sh"
}
