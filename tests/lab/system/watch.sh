# What a trial's dead man's switch is for, on an installed system that systemd-boot starts: each trial
# has one try, and comes to nothing in another way; the machine is back by itself and says why. The
# ordinary run has one whose initramfs hangs, and one that is confirmed (systemd-boot.sh); these come
# with --long. Sourced by tests/lab/run, which defines `stage`.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0

# What the stages share.
watched_job() {
    cat <<'GUEST'
of_status() { beadm-rs status -H | awk -F '\t' -v key="$1" '$1 == key { print $2 }' | sed 's/ ([-0-9: Z]*)$//'; }
# went_back NAME WHY: the machine is back, and says of NAME why.
went_back() {
    check_is "after $1 debian is the root, by itself" rpool/ROOT/debian findmnt -no SOURCE /
    check_is "and says why" "$1: $2" of_status "fell back"
}
# next NAME SECONDS [ARGUMENT…]: a clone on which the commands on standard input are tried, with its root
# as $root, and TRIES tries. The job of a stage is not run in it: the machine is to come back from it.
TRIES=1
next() {
    local name=$1 seconds=$2 root=/mnt/$1
    shift 2
    beadm-rs create "$name" >/dev/null
    beadm-rs mount "$name" "$root" >/dev/null
    ln -sf /dev/null "$root/etc/systemd/system/lab-job.service"
    . /dev/stdin
    beadm-rs unmount "$name" >/dev/null
    mkdir -p /etc/beadm-rs
    printf '[boot]\ntries = %s\nwatch = %s\n' "$TRIES" "$seconds" >/etc/beadm-rs/config.toml
    check "$name is activated on trial" beadm-rs activate "$@" "$name"
    check_is "it has a dead man's switch" 1 \
        sh -c "grep -l 'beadm-rs.watch=$seconds' /boot/efi/loader/entries/*+$TRIES.conf | wc -l"
}
GUEST
    cat
}

# Debian's initramfs by dracut, which the guest cannot make in a reasonable time.
qemu-img convert -q -f raw -O qcow2 "$IMAGES/initrd-dracut" "$SCENARIO_DIR/dracut.qcow2"
SCENARIO_DISKS+=(dracut)

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1
stage install 600 < <(watched_job <<'GUEST'
cp -r /job/installed/. /
check "init" beadm-rs init -y
systemd_boot_by_hand /boot/efi
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader
stage services 600 < <(watched_job <<'GUEST'
# The boot is never complete: a service of it starts for ever.
next unready 150 <<'CHANGE'
cat >"$root/etc/systemd/system/unready.service" <<'UNIT'
[Unit]
Before=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/bin/sleep infinity
TimeoutStartSec=infinity
UNIT
ln -s ../unready.service "$root/etc/systemd/system/multi-user.target.wants/"
CHANGE
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader_watched
stage health 900 < <(watched_job <<'GUEST'
went_back unready "its one try was used up and it was not confirmed; at the last one it came as far as its services"
next unhealthy 240 <<'CHANGE'
mkdir -p "$root/etc/beadm-rs/health.d/required.d"
printf '#!/bin/sh\nuseradd -u 2002 bob\nusermod -L alice\nexit 1\n' >"$root/etc/beadm-rs/health.d/required.d/never"
chmod +x "$root/etc/beadm-rs/health.d/required.d/never"
CHANGE
useradd -u 2001 alice && echo alice:first | chpasswd
finish poweroff
GUEST
) || return

stage kernel 900 < <(watched_job <<'GUEST'
went_back unhealthy "its one try was used up and it was not confirmed; at the last one the health check never failed with exit status 1"
check_is "what changed after the activation and in the trial is there" "2001 2002 !" \
    sh -c 'echo "$(id -u alice) $(id -u bob) $(getent shadow alice | cut -d: -f2 | cut -c1)"'
check_is "and nothing more is to be carried" 0 sh -c 'beadm-rs status -H | grep -c "^files"'
check_is "this machine has a watchdog" "i6300ESB timer" cat /sys/class/watchdog/watchdog0/identity
# Its kernel hangs, with no process left that could restart it.
next hanging 240 <<'CHANGE'
cat >"$root/etc/systemd/system/hanging.service" <<'UNIT'
[Unit]
Before=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/bin/sh -c 'until grep -q "watches the kernel" /dev/kmsg; do sleep 1; done; echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger'
UNIT
ln -s ../hanging.service "$root/etc/systemd/system/multi-user.target.wants/"
CHANGE
finish poweroff
GUEST
) || return

stage without-init 1200 < <(watched_job <<'GUEST'
went_back hanging "its one try was used up and it was not confirmed; at the last one it came as far as its services"
TRIES=3
# Debian's initramfs would take the shell for an init.
next initless 240 --no-check <<'CHANGE'
rm "$root/usr/sbin/init" "$root/usr/bin/sh" "$root/usr/lib/systemd/systemd"
CHANGE
finish poweroff
GUEST
) || return

stage without-modules 900 < <(watched_job <<'GUEST'
went_back initless "its 3 tries were used up and it was not confirmed"
check_is "all three were made" 1 sh -c 'ls /boot/efi/loader/entries | grep -c "+0-3.conf"'
next unloaded 90 --no-check <<'CHANGE'
rm -r "$root/usr/lib/modules"
CHANGE
finish poweroff
GUEST
) || return

stage dracut-hung 900 < <(watched_job <<'GUEST'
check_is "after unloaded debian is the root, by itself" rpool/ROOT/debian findmnt -no SOURCE /
check_is "and says so" 1 sh -c 'beadm-rs status -H | grep -c "^fell back.unloaded: its one try was used up and it was not confirmed"'
# With dracut, where systemd runs in the initramfs and waits for a root that never comes.
next unrooted 60 --no-check <<'CHANGE'
cat /dev/disk/by-id/virtio-dracut >"$root/boot/initrd.img-$(uname -r)"
mkdir -p /run/hang/var/lib/dracut/hooks/pre-mount
printf 'while :; do sleep 1000; done\n' >/run/hang/var/lib/dracut/hooks/pre-mount/00-hang.sh
(cd /run/hang && find . -mindepth 1 | cpio --quiet -o -H newc | gzip) >>"$root/boot/initrd.img-$(uname -r)"
CHANGE
finish poweroff
GUEST
) || return

stage dracut-good 900 < <(watched_job <<'GUEST'
went_back unrooted "its one try was used up and it was not confirmed"
next good 240 --no-check <<'CHANGE'
cp --remove-destination /etc/systemd/system/lab-job.service "$root/etc/systemd/system/"
cat /dev/disk/by-id/virtio-dracut >"$root/boot/initrd.img-$(uname -r)"
CHANGE
finish poweroff
GUEST
) || return

stage dracut-confirmed 900 < <(watched_job <<'GUEST'
check_is "good is the root" rpool/ROOT/good findmnt -no SOURCE /
check_is "its initramfs is dracut's" 1 sh -c 'dmesg | grep -c "systemd.1.: Running in initrd"'
check_is "the dead man's switch outlived it" 1 sh -c 'dmesg | grep -c "beadm-rs-watch: restarts the machine in 240 s"'
check "the boot is confirmed" systemctl start beadm-rs-confirm.service
check_is "the dead man's switch is gone" "" pgrep -l beadm-rs-watch
check_is "it was ended, the hardware's too" "ended: the machine is not restarted" \
    sh -c 'dmesg | sed -n "s/.*beadm-rs-watch: ended/ended/p"'
check_is "the hardware's watchdog stands still" inactive cat /sys/class/watchdog/watchdog0/state
finish poweroff
GUEST
) || return
