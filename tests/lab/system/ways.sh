# Three ways back: failback on the running machine, from a rescue system, and the entry in the loader's
# own menu. All three end in the same records. With --long only.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0

# What the stages share. /home is on a dataset that no environment has.
ways_job() {
    cat <<'GUEST'
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
# Everything that says what boots, without times.
records() {
    zfs get -H -o name,property,value -s local -t filesystem all -r rpool/ROOT | grep 'org.beadm-rs:' | sort
    zpool get -H -o value bootfs rpool
    zfs list -H -o name,origin -r rpool/ROOT
    beadm-rs list -H | cut -f 1,2
    (cd /boot/efi && find beadm-rs -type f | sort | xargs sha256sum)
    # An entry that is made anew has the next number.
    find /boot/efi/loader/entries -type f | sed 's/-[0-9]*\.conf$//' | sort
}
GUEST
    cat
}

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1
stage install 600 < <(ways_job <<'GUEST'
cp -r /job/installed/. /
check "init" beadm-rs init -y
systemd_boot_by_hand /boot/efi
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader
stage begin 600 < <(ways_job <<'GUEST'
check "create" beadm-rs create new
check "activate" beadm-rs activate --no-trial new
finish reboot
GUEST
) || return

stage running 600 < <(ways_job <<'GUEST'
check_is "new is the root" rpool/ROOT/new findmnt -no SOURCE /
check "failback" beadm-rs failback
finish reboot
GUEST
) || return

stage after-running 600 < <(ways_job <<'GUEST'
check_is "debian is the root" rpool/ROOT/debian findmnt -no SOURCE /
records >/home/running
check "activate" beadm-rs activate --no-trial new
check_is "new boots next" R flags new
finish reboot
GUEST
) || return

SCENARIO_RESCUE=1
stage rescue 600 < <(ways_job <<'GUEST'
check "the pool is imported elsewhere" zpool import -f -N -R /mnt rpool
check_is "without the loader's partition it is refused" 3 sh -c 'beadm-rs -R /mnt failback >/dev/null 2>&1; echo $?'
mkdir -p /mnt/boot/efi
mount /dev/disk/by-id/virtio-system-part1 /mnt/boot/efi
check "failback" beadm-rs -R /mnt failback
umount /mnt/boot/efi
check "the pool is exported" zpool export rpool
finish poweroff
GUEST
) || return

SCENARIO_RESCUE=
stage after-rescue 600 < <(ways_job <<'GUEST'
check_is "debian is the root" rpool/ROOT/debian findmnt -no SOURCE /
records >/home/rescue
check "the records are those of the running machine's failback" diff /home/running /home/rescue
check "activate" beadm-rs activate --no-trial new
check "the entry is chosen for the next boot, as in the menu" bootctl set-oneshot beadm-rs-failback.conf
finish reboot
GUEST
) || return

stage after-menu 600 < <(ways_job <<'GUEST'
check_is "debian is the root" rpool/ROOT/debian findmnt -no SOURCE /
check_is "by the entry that fails back" 1 grep -c beadm-rs.failback /proc/cmdline
check_is "list marks it as running and next" NR flags debian
records >/home/menu
check "the records are those of the running machine's failback" diff /home/running /home/menu
finish poweroff
GUEST
) || return
