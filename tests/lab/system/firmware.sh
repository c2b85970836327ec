# One boot by the firmware itself, where what starts the machine follows the pool's bootfs, as
# ZFSBootMenu does: a boot option of its own, with a copy of the kernel, and BootNext. With --long only.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0

# What the stages share.
firmware_job() {
    cat <<'GUEST'
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
variables() { find /sys/firmware/efi/efivars -name 'BootNext-*' | wc -l; }
# The titles of the firmware's options that are this program's.
options() { cat /sys/firmware/efi/efivars/Boot0*-8be4df61-* | tr -d '\0' | grep -ac 'beadm-rs: new'; }
GUEST
    cat
}

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1
stage install 600 < <(firmware_job <<'GUEST'
cp -r /job/installed/. /
check "init" beadm-rs init -y
mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs efivarfs /sys/firmware/efi/efivars
bootctl install >/dev/null 2>&1
mkdir -p /boot/efi/loader/entries /boot/efi/own /etc/beadm-rs
cp /boot/vmlinuz-* /boot/efi/own/linux
cp /boot/initrd.img-* /boot/efi/own/initrd
echo 'timeout 0' >/boot/efi/loader/loader.conf
# It stands for whatever boots what bootfs names.
printf '%s\n' 'title What bootfs names' 'linux /own/linux' 'initrd /own/initrd' \
    'options root=zfs:AUTO rw console=ttyS0 mitigations=off' >/boot/efi/loader/entries/bootfs.conf
printf '[boot]\nloader = "bootfs"\n' >/etc/beadm-rs/config.toml
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader
stage set 600 < <(firmware_job <<'GUEST'
check_is "the pool's bootfs decides" "the pool's bootfs" sh -c 'beadm-rs status -H | sed -n "s/^loader\t//p"'
check "create" beadm-rs create new
check "set to boot once" beadm-rs activate --once new
check_is "list marks what boots once" T flags new
check_is "and what boots after it" NR flags debian
check "taken back" beadm-rs activate -T
check_is "the firmware knows nothing of it" 0 variables
for place in stage-kernel:after stage-option:after commit:before commit:after finish:before; do
    BEADM_RS_FAIL=activate/$place=kill beadm-rs activate --once new >/dev/null 2>&1
    check "killed at $place it is interrupted" sh -c 'beadm-rs status -H | grep -q "^unfinished.*interrupted"'
    beadm-rs recover >/dev/null 2>&1
    check "killed at $place it is whole" sh -c 'beadm-rs status -H | grep -q "^unfinished.nothing$"'
    case $place in
        commit:before | stage-*) check_is "killed at $place nothing boots once" - flags new ;;
        *) check_is "killed at $place it boots once" T flags new ;;
    esac
    beadm-rs activate -T >/dev/null 2>&1
done
check "set to boot once again" beadm-rs activate --once new
finish reboot
GUEST
) || return

stage once 600 < <(firmware_job <<'GUEST'
check_is "new is the root, once" rpool/ROOT/new findmnt -no SOURCE /
check_is "the firmware started its kernel" 1 grep -c '^initrd=.beadm-rs.watch-.*root=ZFS=rpool/ROOT/new .*beadm-rs.once' /proc/cmdline
check_is "the firmware has forgotten it" 0 variables
check_is "debian boots next" R flags debian
check "the boot is complete" systemctl start beadm-rs-confirm.service
check_is "the dead man's switch is gone" "" pgrep -l beadm-rs-watch
check_is "it was there" 1 sh -c 'dmesg | grep -c "beadm-rs-watch: restarts the machine in 300 s"'
check_is "nothing of it is left in the firmware" 0 options
check_is "nor on the partition" "" find /boot/efi/beadm-rs -type f
finish reboot
GUEST
) || return

stage back 600 < <(firmware_job <<'GUEST'
check_is "debian is the root again" rpool/ROOT/debian findmnt -no SOURCE /
# One whose initramfs hangs.
beadm-rs mount new /mnt/new >/dev/null
mkdir /run/hangs
printf '#!/bin/sh\nwhile :; do sleep 1000; done\n' >/run/hangs/init
chmod +x /run/hangs/init
(cd /run/hangs && echo init | cpio --quiet -o -H newc | gzip) >>"/mnt/new/boot/initrd.img-$(uname -r)"
beadm-rs unmount new
echo 'watch = 30' >>/etc/beadm-rs/config.toml
check "one that hangs is set to boot once" beadm-rs activate --once --no-check new
finish poweroff
GUEST
) || return

SCENARIO_FIRMWARE=own_loader_again
stage hung 600 < <(firmware_job <<'GUEST'
check_is "debian is the root, by itself" rpool/ROOT/debian findmnt -no SOURCE /
check_is "list marks it as running and next" NR flags debian
check_is "nothing of the other is left in the firmware" 0 options
finish poweroff
GUEST
) || return
