# What does not come up, by GRUB: an environment without an init with all its three tries, then with one
# each what has no kernel modules, fails its health check, and hangs in its initramfs. With --long only.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0

# What the stages share.
tries_job() {
    cat <<'GUEST'
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
says() { sed -n "s/^beadm_rs_$1=//p" /boot/efi/beadm-rs/grubenv; }
came_back() {
    check_is "debian is the root, by itself" rpool/ROOT/debian findmnt -no SOURCE /
    check_is "list marks debian as running and next" NR flags debian
    check_is "status says that $1 did not work" 1 sh -c "beadm-rs status -H | grep -c '^fell back.$1: '"
    check_is "the trial is over" "-" zfs get -H -o value org.beadm-rs:trial rpool/ROOT
}
why() { beadm-rs status -H | sed -n 's/^fell back.//p' | sed 's/ ([-0-9: Z]*)$//'; }
# one_try NAME SECONDS: the clone at /mnt/NAME is activated with one try, and a dead man's switch of
# SECONDS. The job is not run in it: the machine is to come back from it.
one_try() {
    ln -sf /dev/null "/mnt/$1/etc/systemd/system/lab-job.service"
    beadm-rs unmount "$1"
    mkdir -p /etc/beadm-rs
    printf '[boot]\ntries = 1\nwatch = %s\n' "$2" >/etc/beadm-rs/config.toml
    check "$1 is activated" beadm-rs activate --no-check "$1"
    check_is "$1 has one try" 1 says tries
}
# clone NAME: a clone with its root at /mnt/NAME.
clone() {
    beadm-rs create "$1" >/dev/null 2>&1
    beadm-rs mount "$1" "/mnt/$1" >/dev/null
}
GUEST
    cat
}

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1 SCENARIO_ROOT='ZFS=rpool/ROOT/debian BOOT_IMAGE=/boot/vmlinuz'
stage take-over 600 < <(tries_job <<'GUEST'
cp -r /job/installed/. /
mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs efivarfs /sys/firmware/efi/efivars
printf '%s\n' GRUB_DEFAULT=0 GRUB_TIMEOUT=0 GRUB_DISTRIBUTOR=Debian 'GRUB_CMDLINE_LINUX_DEFAULT=""' \
    'GRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off"' GRUB_TERMINAL=console >/etc/default/grub
chmod -x /etc/grub.d/05_debian_theme
check "init" beadm-rs init -y
clone broken
# Debian's initramfs would take the shell for an init.
rm /mnt/broken/usr/sbin/init /mnt/broken/usr/bin/sh /mnt/broken/usr/lib/systemd/systemd
beadm-rs unmount broken
check "activate without a look" beadm-rs activate --no-check broken
check_is "it has three tries" 111 says tries
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader_again SCENARIO_ROOT=''
stage without-init 1200 < <(tries_job <<'GUEST'
came_back broken
check_is "all three tries were made" 111 says done
clone unloaded
rm -r /mnt/unloaded/usr/lib/modules
one_try unloaded 90
finish poweroff
GUEST
) || return

stage without-modules 900 < <(tries_job <<'GUEST'
came_back unloaded
clone unhealthy
mkdir -p /mnt/unhealthy/etc/beadm-rs/health.d/required.d
printf '#!/bin/sh\nuseradd -u 2002 bob\nusermod -L alice\nexit 1\n' >/mnt/unhealthy/etc/beadm-rs/health.d/required.d/never
chmod +x /mnt/unhealthy/etc/beadm-rs/health.d/required.d/never
one_try unhealthy 300
useradd -u 2001 alice && echo alice:first | chpasswd
finish poweroff
GUEST
) || return

stage failing-check 900 < <(tries_job <<'GUEST'
came_back unhealthy
check_is "it says which check" 1 sh -c 'beadm-rs status -H | grep -c "^fell back.*the health check never failed with exit status 1"'
check_is "what changed after the activation and in the trial is there" "2001 2002 !" \
    sh -c 'echo "$(id -u alice) $(id -u bob) $(getent shadow alice | cut -d: -f2 | cut -c1)"'
check_is "and nothing more is to be carried" 0 sh -c 'beadm-rs status -H | grep -c "^files"'
clone hangs
mkdir /run/hangs
printf '#!/bin/sh\nwhile :; do sleep 1000; done\n' >/run/hangs/init
chmod +x /run/hangs/init
(cd /run/hangs && echo init | cpio --quiet -o -H newc | gzip) >>"/mnt/hangs/boot/initrd.img-$(uname -r)"
one_try hangs 30
finish poweroff
GUEST
) || return

stage hanging-initramfs 600 < <(tries_job <<'GUEST'
came_back hangs
check_is "it came no further than its initramfs" "hangs: its one try was used up and it was not confirmed" why
finish poweroff
GUEST
) || return
