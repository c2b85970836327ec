# The way of grub.sh on a machine with a BIOS, whose GRUB is in the first sectors of the disk: init, a
# trial that is confirmed, failback, a boot once; and one that does not come up. With --long only.
# Sourced by tests/lab/run, which defines `stage`.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0

# What the stages share: see grub.sh.
bios_job() {
    cat <<'GUEST'
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
says() { sed -n "s/^beadm_rs_$1=//p" /boot/efi/beadm-rs/grubenv; }
GUEST
    cat
}

SCENARIO_INSTALL=1 SCENARIO_ROOT='ZFS=rpool/ROOT/debian BOOT_IMAGE=/boot/vmlinuz'
stage take-over 600 < <(bios_job <<'GUEST'
cp -r /job/installed/. /
# Without a partition of its own GRUB has no place on a disk with a GPT.
sgdisk --set-alignment=1 --new=3:34:2047 --typecode=3:EF02 /dev/disk/by-id/virtio-system >/dev/null 2>&1
printf '%s\n' GRUB_DEFAULT=0 GRUB_TIMEOUT=0 GRUB_DISTRIBUTOR=Debian 'GRUB_CMDLINE_LINUX_DEFAULT=""' \
    'GRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off"' GRUB_TERMINAL=serial \
    'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"' >/etc/default/grub
chmod -x /etc/grub.d/05_debian_theme
check_is "a dry run shows the disk GRUB goes on" 1 \
    sh -c 'beadm-rs init -n | grep -c "grub-install --target=i386-pc --boot-directory=/boot/efi /dev/vda"'
check "init" beadm-rs init -y
check "create" beadm-rs create new
check "activate on trial" beadm-rs activate new
check_is "new boots next" R flags new
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_disk SCENARIO_ROOT=''
stage tried 600 < <(bios_job <<'GUEST'
check_is "there is no UEFI" "" sh -c 'ls -d /sys/firmware/efi 2>/dev/null'
check_is "new is the root" rpool/ROOT/new findmnt -no SOURCE /
check_is "a try was counted" 11 says tries
check "the boot is confirmed" systemctl start beadm-rs-confirm.service
check_is "nothing is tried any more" "" says trial
check_is "bootfs followed" rpool/ROOT/new zpool get -H -o value bootfs rpool
check "failback" beadm-rs failback
check "set to boot once" beadm-rs activate --once new
finish reboot
GUEST
) || return

stage once 600 < <(bios_job <<'GUEST'
check_is "new is the root, once" rpool/ROOT/new findmnt -no SOURCE /
check_is "debian boots next" R flags debian
finish reboot
GUEST
) || return

stage back 600 < <(bios_job <<'GUEST'
check_is "debian is the root" rpool/ROOT/debian findmnt -no SOURCE /
mkdir -p /etc/beadm-rs
printf '[boot]\ntries = 1\n' >/etc/beadm-rs/config.toml
beadm-rs create broken
beadm-rs mount broken /mnt/broken >/dev/null
rm /mnt/broken/usr/sbin/init /mnt/broken/usr/bin/sh /mnt/broken/usr/lib/systemd/systemd
beadm-rs unmount broken
check "activate without a look" beadm-rs activate --no-check broken
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_disk_again
stage went-back 600 < <(bios_job <<'GUEST'
check_is "debian is the root, by itself" rpool/ROOT/debian findmnt -no SOURCE /
check_is "the try was made" 1 says done
finish poweroff
GUEST
) || return
