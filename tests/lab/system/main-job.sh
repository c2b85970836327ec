# The main job on an installed system: clone it, change the clone, reboot into it, go back, clean up.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

stage boot-1 <<'GUEST' || return
zfs list -H -o name -t all -r rpool >/home/before
own_mounts() { findmnt -nro SOURCE -t zfs | grep '^rpool/ROOT/' | sort | xargs; }
check_is "the installed system runs with its own children" "rpool/ROOT/debian rpool/ROOT/debian/var" own_mounts

check "list" beadm-rs list
check "status gives JSON with its schema" sh -c 'beadm-rs status --json | tee /run/lab/result/status-1.json | grep -q "\"beadm-rs/status/v1\""'
check "nothing is found that would not boot" sh -c 'beadm-rs check --all >/run/lab/result/check-1.txt'
check "create" beadm-rs create -d "before the upgrade" new
check "mount" beadm-rs mount new /mnt/new
echo "made in new" >/mnt/new/made-in-new
echo "made in new" >/mnt/new/var/made-in-new
check "unmount" beadm-rs unmount new
check_is "the running system does not see the change" "" sh -c 'ls /made-in-new /var/made-in-new 2>/dev/null'
check "activate" beadm-rs activate new
check_is "the pool boots new" rpool/ROOT/new zpool get -H -o value bootfs rpool
finish reboot
GUEST

stage boot-2 <<'GUEST' || return
own_mounts() { findmnt -nro SOURCE -t zfs | grep '^rpool/ROOT/' | sort | xargs; }
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
check_is "new is the root" rpool/ROOT/new findmnt -no SOURCE /
check_is "new's children are mounted, none of debian's" "rpool/ROOT/new rpool/ROOT/new/var" own_mounts
check_is "the change is there" "made in new" cat /made-in-new
check_is "the change in the child is there" "made in new" cat /var/made-in-new
check_is "list marks new as running and next" NR flags new
check_is "nothing of new hangs on debian" "- -" sh -c 'zfs list -H -o origin -r rpool/ROOT/new | xargs'
check_is "no unit failed" "" systemctl --failed --no-legend
check "failback" beadm-rs failback
check_is "the pool boots debian" rpool/ROOT/debian zpool get -H -o value bootfs rpool
finish reboot
GUEST

stage boot-3 <<'GUEST' || return
own_mounts() { findmnt -nro SOURCE -t zfs | grep '^rpool/ROOT/' | sort | xargs; }
check_is "debian is the root again" rpool/ROOT/debian findmnt -no SOURCE /
check_is "debian's children are mounted, none of new's" "rpool/ROOT/debian rpool/ROOT/debian/var" own_mounts
check_is "the change is not there" "" sh -c 'ls /made-in-new /var/made-in-new 2>/dev/null'
check "destroy" beadm-rs destroy -y new
check_is "nothing of new is left" "" sh -c 'zfs list -H -o name -t all -r rpool | diff /home/before -'
finish poweroff
GUEST
