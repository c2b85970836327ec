# /boot in a pool of its own, which GRUB reads, as the OpenZFS documentation's "Debian Root on ZFS" has
# it: GRUB's own files lie there, in the environment's namesake, until init takes them out; then both
# pools switch together. With --long only.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disks each.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0
further_disk boot 2G

# What the stages share.
bpool_job() {
    cat <<'GUEST'
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
says() { sed -n "s/^beadm_rs_$1=//p" /boot/efi/beadm-rs/grubenv; }
booted() {
    check_is "$1 is the root" "rpool/ROOT/$1" findmnt -no SOURCE /
    check_is "its namesake in bpool is /boot" "bpool/BOOT/$1" findmnt -no SOURCE /boot
    check_is "no unit failed" "" systemctl --failed --no-legend
}
GUEST
    cat
}

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1
stage install 900 < <(bpool_job <<'GUEST'
umount /boot/efi
cp -r /job/installed/. /
mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs efivarfs /sys/firmware/efi/efivars
zpool create -o compatibility=grub2 -O canmount=off -O compression=lz4 -O devices=off -m none \
    bpool /dev/disk/by-id/virtio-boot
zfs create -o canmount=off -o mountpoint=none bpool/BOOT
zfs create -u -o canmount=noauto -o mountpoint=/boot bpool/BOOT/debian
mkdir -p /mnt/boot
mount -t zfs -o zfsutil bpool/BOOT/debian /mnt/boot
cp -a /boot/. /mnt/boot/
umount /mnt/boot
rm -rf /boot/*
systemctl -q enable beadm-rs-mount.service
check "/boot is mounted" beadm-rs mount --running
mount /boot/efi
printf '%s\n' GRUB_DEFAULT=0 GRUB_TIMEOUT=0 GRUB_DISTRIBUTOR=Debian 'GRUB_CMDLINE_LINUX_DEFAULT=""' \
    'GRUB_CMDLINE_LINUX="root=ZFS=rpool/ROOT/debian console=ttyS0 mitigations=off"' GRUB_TERMINAL=console \
    >/etc/default/grub
chmod -x /etc/grub.d/05_debian_theme
check_is "GRUB reads the pool" zfs grub-probe /boot
check "GRUB is installed" grub-install --target=x86_64-efi --efi-directory=/boot/efi
check "its menu is made" update-grub
check_is "in the environment's own namesake" bpool/BOOT/debian findmnt -no SOURCE --target /boot/grub/grub.cfg
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader
stage take-over 900 < <(bpool_job <<'GUEST'
booted debian
check_is "GRUB started it from bpool" 1 grep -c '^BOOT_IMAGE=/BOOT/debian@/vmlinuz' /proc/cmdline
check_is "that GRUB's files are an environment's is an error" 1 sh -c 'beadm-rs check -H | grep -c "^-.error.grub-not-taken-over"'
beadm-rs create away
check_is "the environment that has them is not renamed" 3 sh -c 'beadm-rs rename debian other >/dev/null 2>&1; echo $?'
check_is "nor is another one activated" 3 sh -c 'beadm-rs activate away >/dev/null 2>&1; echo $?'
check "that other one goes" beadm-rs destroy -y away
check "init" beadm-rs init -y
check_is "nothing is wrong any more" 0 sh -c 'beadm-rs check -H | grep -c "^-.error"'
check "update-grub goes on working" update-grub
check "create" beadm-rs create new
check_is "its /boot is cloned with it" bpool/BOOT/new zfs list -H -o name bpool/BOOT/new
check "activate on trial" beadm-rs activate new
check_is "new boots next" R flags new
finish reboot
GUEST
) || return

stage tried 900 < <(bpool_job <<'GUEST'
booted new
check_is "GRUB started it from its copy" 1 grep -c '^BOOT_IMAGE=(hd.,gpt1)/beadm-rs/[0-9a-f]*/linux .*root=ZFS=rpool/ROOT/new' /proc/cmdline
check_is "a try was counted" 11 says tries
check "the boot is confirmed" systemctl start beadm-rs-confirm.service
check_is "nothing of new hangs on debian, in either pool" "- - -" \
    sh -c 'zfs list -H -o origin -r rpool/ROOT/new bpool/BOOT/new | xargs'
check_is "list marks it as running and next" NR flags new
check "failback" beadm-rs failback
finish reboot
GUEST
) || return

stage back 900 < <(bpool_job <<'GUEST'
booted debian
check_is "list marks it as running and next" NR flags debian
check "destroy" beadm-rs destroy -y new
check_is "nothing of new is left in either pool" "" sh -c 'zfs list -H -o name -t all -r rpool bpool | grep -w new'
check_is "its copies are gone, and debian's are there" 1 sh -c 'ls -d /boot/efi/beadm-rs/*/ | wc -l'
finish poweroff
GUEST
) || return
