# What belongs to the booted environment is mounted, and nothing of the one beside it: children, a
# grandchild below one with canmount=off, a legacy one in fstab, /boot in a pool of its own. With an
# initramfs by initramfs-tools, which mounts children itself, and by dracut, which does not.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

# shellcheck disable=SC2034
SCENARIO_INSTALL=1
further_disk boot 2G

# What every stage asks. A file in each dataset says whose it is.
# shellcheck disable=SC2016
own='
own_mounts() { findmnt -nro TARGET,SOURCE -t zfs | grep -E " (rpool/ROOT|bpool/BOOT)/" | sort | uniq | xargs -n 2; }
expected() {
    printf "%s\n" "/ rpool/ROOT/$1" "/boot bpool/BOOT/$1" "/srv rpool/ROOT/$1/srv" \
        "/usr/local rpool/ROOT/$1/usr/local" "/var rpool/ROOT/$1/var" "/var/cache rpool/ROOT/$1/var/cache" | sort
}
places="/ /boot /srv /usr/local /var /var/cache"
whose() { for place in $places; do cat "$place/whose"; done | sort | uniq | xargs; }
booted() {
    check_is "$1 is the root" "rpool/ROOT/$1" findmnt -no SOURCE /
    check_is "what is $1'"'"'s is mounted, and nothing else" "$(expected "$1")" own_mounts
    check_is "all of it is $1'"'"'s" "$1" whose
    check_is "what fstab mounts below /boot is seen" vfat findmnt -no FSTYPE /boot/efi
    check_is "no unit failed" "" systemctl --failed --no-legend
    check_is "nothing is left to be mounted" "" sh -c "beadm-rs mount --running -n 2>/dev/null"
    check_is "canmount is on nowhere" "" sh -c "zfs list -H -o canmount,name -r rpool/ROOT bpool/BOOT | grep ^on"
    check_is "no ordering cycle" "" sh -c "journalctl -b -q --grep \"ordering cycle\" | head -n 1"
}
'

# asking NAME SECONDS < SCRIPT: a stage whose script has these.
asking() { { echo "$own"; cat; } | stage "$@"; }

asking install 600 <<'GUEST' || return
umount /boot/efi
cp -a /job/installed/. /
systemctl -q enable beadm-rs-mount.service

# Children, with what is there now copied into them.
child() {
    local dataset=$1 place=$2
    shift 2
    zfs create -u "$@" "$dataset"
    mkdir -p /mnt/child
    if [ "$(zfs get -H -o value mountpoint "$dataset")" = legacy ]; then
        mount -t zfs "$dataset" /mnt/child
    else
        mount -t zfs -o zfsutil "$dataset" /mnt/child
    fi
    mkdir -p "$place"
    cp -a "$place/." /mnt/child/
    umount /mnt/child
}
zfs create -o canmount=off rpool/ROOT/debian/usr
child rpool/ROOT/debian/usr/local /usr/local -o canmount=noauto
child rpool/ROOT/debian/var/cache /var/cache -o canmount=noauto
child rpool/ROOT/debian/srv /srv -o canmount=noauto -o mountpoint=legacy
echo 'rpool/ROOT/debian/srv /srv zfs defaults 0 0' >>/etc/fstab

# In the zpool.cache, by which zfs-import-cache.service imports it at the boot.
zpool create -O canmount=off -O compression=lz4 -m none bpool /dev/disk/by-id/virtio-boot
zfs create -o canmount=off bpool/BOOT
zfs create -u -o canmount=noauto -o mountpoint=/boot bpool/BOOT/debian
check_is "what would hide files is told and not mounted" \
    "beadm-rs: bpool/BOOT/debian is not mounted on /boot: files lie there, which it would hide" \
    sh -c 'beadm-rs mount --running -n 2>&1 >/dev/null'
mkdir -p /mnt/child
mount -t zfs -o zfsutil bpool/BOOT/debian /mnt/child
cp -a /boot/. /mnt/child/
umount /mnt/child
rm -rf /boot/*
check_is "what is missing is mounted, parents first" "mounted rpool/ROOT/debian/usr/local on /usr/local
mounted rpool/ROOT/debian/var/cache on /var/cache
mounted bpool/BOOT/debian on /boot" beadm-rs mount --running
mount /srv
mount /boot/efi
for place in $places; do echo debian >$place/whose; done
check "create" beadm-rs create other
check "mount" beadm-rs mount other /mnt/other
for place in $places; do echo other >/mnt/other$place/whose; done

# A cache of zfs-mount-generator that is older than the clone: it names debian's datasets, and would
# have /var mounted by whatever needs something below it.
mkdir -p /mnt/other/etc/zfs/zfs-list.cache
properties=name,mountpoint,canmount,atime,relatime,devices,exec,readonly,setuid,nbmand,encryptionroot,keylocation
for setting in requires requires-mounts-for before after wanted-by required-by nofail ignore; do
    properties+=,org.openzfs.systemd:$setting
done
zfs list -H -t filesystem -o "$properties" rpool/ROOT/debian/var \
    >/mnt/other/etc/zfs/zfs-list.cache/rpool
check "unmount" beadm-rs unmount other

# Only debian has it: no key, and no generator, so that dracut's module has to do it alone.
rm /usr/lib/systemd/system-generators/beadm-rs-generator
echo not-a-secret >/root/key
zfs create -u -o canmount=noauto -o encryption=on -o keyformat=passphrase -o keylocation=file:///root/key \
    -o mountpoint=/secret rpool/ROOT/debian/secret
check "activate" beadm-rs activate other
finish reboot
GUEST

SCENARIO_INITRD=$IMAGES/initrd-dracut
asking dracut-generator 600 <<'GUEST' || return
booted other
check "systemd mounted it by a unit" grep -q beadm-rs-generator /run/systemd/generator.early/var.mount
check_is "which the cache of another generator did not change" rpool/ROOT/other/var sh -c "systemctl show -p What --value var.mount"
check "failback" beadm-rs failback
finish reboot
GUEST

# The same initramfs with this project's module, as dracut would put it there.
module=$SCENARIO_DIR/module
mkdir -p "$module/var/lib/dracut/hooks/mount"
install -m 755 "$PROJECT_DIR/dist/dracut/90beadm-rs/beadm-rs-children.sh" \
    "$module/var/lib/dracut/hooks/mount/99-beadm-rs-children.sh"
cp "$IMAGES/initrd-dracut" "$SCENARIO_DIR/initrd-module"
# The kernel looks for the next archive at a multiple of four bytes.
chmod u+w "$SCENARIO_DIR/initrd-module"
truncate -s %512 "$SCENARIO_DIR/initrd-module"
(cd "$module" && find . | cpio --quiet -o -H newc -R 0:0) >>"$SCENARIO_DIR/initrd-module"
SCENARIO_INITRD=$SCENARIO_DIR/initrd-module
asking dracut-module 600 <<'GUEST' || return
booted debian
check "no generator was there" test ! -e /run/systemd/generator.early/var.mount
check_is "what has no key is told" "beadm-rs: rpool/ROOT/debian/secret is not mounted on /secret: its key is not loaded (zfs load-key rpool/ROOT/debian/secret)" \
    journalctl -b -u beadm-rs-mount -o cat --grep "key is not loaded"
mkdir -p /etc/beadm-rs/synclist.d
echo /secret/list >/etc/beadm-rs/synclist.d/lab.conf
check_is "what has no key stops an activation where its files are on the list" 3 sh -c 'beadm-rs activate other >/dev/null 2>&1; echo $?'
rm /etc/beadm-rs/synclist.d/lab.conf
check "and is told of where they are not" sh -c 'beadm-rs activate other 2>&1 | grep -q "the key of rpool/ROOT/debian/secret is not loaded; the synclist names nothing in it"'
check_is "which boots next" R sh -c 'beadm-rs list -H | awk -F "\t" "\$1 == \"other\" { print \$2 }"'
finish reboot
GUEST

SCENARIO_INITRD=
# As entries of loaders have it. With AUTO this initramfs reads a line about the second pool in what
# `zpool import` prints as the name of a third, and stops (OpenZFS 2.3.9, get_pools).
SCENARIO_ROOT=ZFS=rpool/ROOT/other
asking initramfs-tools 600 <<'GUEST' || return
booted other
finish poweroff
GUEST
