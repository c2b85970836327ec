# An encrypted root whose key file is in the initramfs: it boots unattended, a clone of it is made,
# booted and left again, and the key stays where it was. Only with --long.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0
further_disk secret 6G

# The same key on the host's side of the lab, as an archive behind the initramfs: the kernel unpacks one
# after the other. The next one begins at a sector.
mkdir -p "$SCENARIO_DIR/key/etc/zfs"
printf '0123456789abcdef0123456789abcdef' >"$SCENARIO_DIR/key/etc/zfs/secret.key"
cp "$IMAGES/initrd" "$SCENARIO_DIR/initrd-key"
chmod u+w "$SCENARIO_DIR/initrd-key"
truncate -s %512 "$SCENARIO_DIR/initrd-key"
(cd "$SCENARIO_DIR/key" && find . | cpio --quiet -o -H newc -R 0:0) >>"$SCENARIO_DIR/initrd-key"

stage install 900 <<'GUEST' || return
printf 0123456789abcdef0123456789abcdef >/etc/zfs/secret.key
chmod 600 /etc/zfs/secret.key
zpool create -O canmount=off -O mountpoint=none -O compression=lz4 -O acltype=posixacl -O xattr=sa \
    -R /mnt secret /dev/disk/by-id/virtio-secret
zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///etc/zfs/secret.key \
    -o canmount=off -o mountpoint=none secret/ROOT
check "a copy in an encrypted pool" beadm-rs create -p secret -e debian safe
check_is "all of it is encrypted by the parent's key" "secret/ROOT" \
    sh -c 'zfs get -H -o value -r -t filesystem encryptionroot secret/ROOT | sort -u'
zpool set bootfs=secret/ROOT/safe secret
zpool export secret
finish reboot
GUEST

# shellcheck disable=SC2034
SCENARIO_INITRD=$SCENARIO_DIR/initrd-key
# What every stage asks.
# shellcheck disable=SC2016
own='
booted() {
    check_is "$1 is the root, without anybody at the keyboard" "secret/ROOT/$1" findmnt -no SOURCE /
    check_is "its child is mounted" "secret/ROOT/$1/var" findmnt -no SOURCE /var
    check_is "one key is for all" "secret/ROOT" sh -c "zfs get -H -o value -r -t filesystem encryptionroot secret/ROOT | sort -u"
    check_is "it is where it was" file:///etc/zfs/secret.key zfs get -H -o value keylocation secret/ROOT
}
'
asking() { { echo "$own"; cat; } | stage "$@"; }

SCENARIO_ROOT=ZFS=secret/ROOT/safe
asking encrypted 600 <<'GUEST' || return
booted safe
check "create" beadm-rs create new
check "it is looked at" beadm-rs check new
check "activate" beadm-rs activate new
check_is "the pool boots new" secret/ROOT/new zpool get -H -o value bootfs secret
check_is "nothing of new hangs on safe" "- -" sh -c 'zfs list -H -o origin -r secret/ROOT/new | xargs'
finish reboot
GUEST

SCENARIO_ROOT=ZFS=secret/ROOT/new
asking clone 600 <<'GUEST' || return
booted new
check "failback" beadm-rs failback
finish reboot
GUEST

# shellcheck disable=SC2034
SCENARIO_ROOT=ZFS=secret/ROOT/safe
asking back 600 <<'GUEST' || return
booted safe
check "destroy" beadm-rs destroy -y new
check_is "nothing of new is left" "" sh -c 'zfs list -H -o name -t all -r secret/ROOT | grep new'
finish poweroff
GUEST
