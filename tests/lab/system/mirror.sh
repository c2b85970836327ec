# Two disks with an ESP each, kept alike by `[boot] mirrors`: a trial is counted, the first one's file
# system is lost, and the machine boots from the second. With --long only.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disks each.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0
further_disk second 512M

# What the stages share.
mirror_job() {
    cat <<'GUEST'
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
of_status() { beadm-rs status -H | awk -F '\t' -v key="$1" '$1 == key { print $2 }' | sed 's/ ([-0-9: Z]*)$//'; }
own() { (cd "$1" && find beadm-rs loader/entries/beadm-rs-*.conf -type f | sort | xargs sha256sum); }
GUEST
    cat
}

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1
stage install 600 < <(mirror_job <<'GUEST'
cp -r /job/installed/. /
sgdisk --new=1:0:0 --typecode=1:EF00 /dev/disk/by-id/virtio-second >/dev/null
udevadm settle
mkfs.vfat -F 32 -n EFI2 /dev/disk/by-id/virtio-second-part1 >/dev/null
mkdir -p /boot/efi2 /etc/beadm-rs
echo 'LABEL=EFI2 /boot/efi2 vfat umask=0077,nofail 0 0' >>/etc/fstab
mount /boot/efi2
printf '[boot]\nesp = "/boot/efi"\nmirrors = ["/boot/efi2"]\n' >/etc/beadm-rs/config.toml
check "init" beadm-rs init -y
for esp in /boot/efi /boot/efi2; do systemd_boot_by_hand $esp; done
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader
stage switch 600 < <(mirror_job <<'GUEST'
check_is "the loader is systemd-boot" systemd-boot of_status loader
check "create" beadm-rs create new
check "activate for good" beadm-rs activate --no-trial new
check_is "both partitions have the same" "$(own /boot/efi)" own /boot/efi2
check "another one" beadm-rs create tried
check "activate on trial" beadm-rs activate tried
check_is "both partitions have the same, the trial too" "$(own /boot/efi)" own /boot/efi2
check_is "tried boots next" R flags tried
# The first one dies: its file system is no file system any more.
umount /boot/efi
dd if=/dev/zero of=/dev/disk/by-id/virtio-system-part1 bs=1M count=1 conv=fsync 2>/dev/null
finish reboot
GUEST
) || return

stage second 600 < <(mirror_job <<'GUEST'
check_is "tried is the root" rpool/ROOT/tried findmnt -no SOURCE /
check_is "the first partition is not mounted" "" findmnt -no SOURCE /boot/efi
counted=/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
check_is "systemd-boot counted the try on the second one" 1 sh -c "tr -d '\\0' <$counted | grep -ac '+2-1.conf'"
check_is "that one is lost is found" 1 sh -c 'beadm-rs check -H | grep -c "mirror-lost"'
check "the boot is confirmed" systemctl start beadm-rs-confirm.service
check_is "tried is the last good one" tried of_status "last good"
check_is "its entry has no counter any more" 0 sh -c 'ls /boot/efi2/loader/entries | grep -c +'
check "failback" beadm-rs failback
check_is "new boots next" R flags new
# The disk is replaced.
mkfs.vfat -F 32 -n EFI /dev/disk/by-id/virtio-system-part1 >/dev/null
finish reboot
GUEST
) || return

stage replaced 600 < <(mirror_job <<'GUEST'
check_is "new is the root" rpool/ROOT/new findmnt -no SOURCE /
mountpoint -q /boot/efi || mount /boot/efi
bootctl install --esp-path=/boot/efi >/dev/null 2>&1
check "the boot service copies what is missing" systemctl restart beadm-rs-boot.service
check_is "both partitions have the same again" "$(own /boot/efi2)" own /boot/efi
check_is "nothing is lost any more" 0 sh -c 'beadm-rs check -H | grep -c "mirror-lost"'
finish poweroff
GUEST
) || return
