# A link and a bind mount into the shared dataset, with services that use them, over reboots: in the
# environment they were made in, in a clone of it, and back. One file put back, and one by a failback.
# With --long only. Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0

# shellcheck disable=SC2034
SCENARIO_INSTALL=1

# What every boot asks: the services have written one line for each boot so far, into what is shared.
# shellcheck disable=SC2016
shared='
booted() {
    systemctl start lab-letters lab-queue
    check_is "$1 is the root" "rpool/ROOT/$1" findmnt -no SOURCE /
    check_is "the shared dataset is mounted" rpool/VARSHARE findmnt -no SOURCE /var/share
    check_is "the link is there" share/mail readlink /var/mail
    check_is "the bind mount is, from there" "rpool/VARSHARE[/lab-queue]" findmnt -no SOURCE /var/lib/lab-queue
    check_is "by its unit" active systemctl is-active var-lib-lab\\x2dqueue.mount
    check_is "a service has written through the link" "$2" sh -c "wc -l </var/share/mail/boots"
    check_is "a sandboxed one through the mount" "$2" sh -c "wc -l </var/share/lab-queue/boots"
    check_is "no unit failed" "" systemctl --failed --no-legend
    check_is "no ordering cycle" "" sh -c "journalctl -b -q --grep \"ordering cycle\" | head -n 1"
}
'

# sharing NAME SECONDS < SCRIPT: a stage whose script has these.
sharing() { { echo "$shared"; cat; } | stage "$@"; }

sharing boot-1 400 <<'GUEST' || return
cp /job/installed/usr/sbin/beadm-rs /usr/sbin/
cat >/etc/systemd/system/lab-letters.service <<'UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo boot >>/var/mail/boots'
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/lab-queue.service <<'UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
ProtectSystem=strict
StateDirectory=lab-queue
ExecStart=/bin/sh -c 'echo boot >>/var/lib/lab-queue/boots'
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl -q enable lab-letters lab-queue
mkdir -p /var/mail
echo "From bob" >/var/mail/alice
systemctl start lab-letters lab-queue
systemctl stop lab-letters lab-queue
check "share init" beadm-rs share init
check "share add" sh -c 'beadm-rs share add /var/mail /var/lib/lab-queue >/run/lab/result/add 2>&1'
check "says why one is a bind mount" grep -q 'would not do for lab-queue.service: StateDirectory=lab-queue' /run/lab/result/add
check_is "which is mounted" "rpool/VARSHARE[/lab-queue]" findmnt -no SOURCE /var/lib/lab-queue
check "share confirm" beadm-rs share confirm -y
check "an environment beside" beadm-rs create other
finish reboot
GUEST

sharing boot-2 400 <<'GUEST' || return
booted debian 2
check "create" beadm-rs create new
check "activate" beadm-rs activate new
check_is "it snapshots what is shared, and what else all environments share" "rpool/VARSHARE rpool/home rpool/home/root rpool/var/log rpool/var/spool" sh -c 'zfs list -H -t snapshot -o name | grep -v ^rpool/ROOT | cut -d@ -f1 | xargs'
echo "From carol" >>/var/mail/alice
finish reboot
GUEST

sharing boot-3 400 <<'GUEST' || return
booted new 3
snapshot=$(beadm-rs -H share snapshots | sed -n 's/\t.*activate new$//p' | head -n 1)
rm /var/mail/alice
check "share restore" beadm-rs share restore --from "$snapshot" /var/mail/alice
check_is "puts back one mailbox" "From bob" cat /var/mail/alice
echo eaten >/var/mail/alice
check_is "a failback tells what gives way" 1 sh -c 'beadm-rs failback --restore-share /var/mail/alice >/run/lab/result/failback 2>&1; grep -c "1 file of 6B written since" /run/lab/result/failback'
check_is "and puts it back too" "From bob" cat /var/mail/alice
check_is "and nothing else" 3 sh -c 'wc -l </var/mail/boots'
systemctl stop lab-queue
check "a failback puts back what is in a mount" sh -c 'beadm-rs activate new; beadm-rs failback --restore-share /var/lib/lab-queue'
check_is "which shows it" 2 sh -c 'wc -l </var/lib/lab-queue/boots'
finish reboot
GUEST

sharing boot-4 400 <<'GUEST' || return
systemctl start lab-queue
check_is "the mount has what was put back, and one boot more" 3 sh -c 'wc -l </var/lib/lab-queue/boots'
echo boot >>/var/lib/lab-queue/boots
booted debian 4
check_is "the mailbox is as it was" "From bob" cat /var/mail/alice
check "share remove of the mount" sh -c 'systemctl stop lab-queue; beadm-rs destroy -y new && beadm-rs destroy -y other && beadm-rs share remove /var/lib/lab-queue'
check_is "it is a directory again" "" findmnt -no SOURCE /var/lib/lab-queue
check_is "with what was in it" 4 sh -c 'wc -l </var/lib/lab-queue/boots'
check_is "and its service starts" 0 sh -c 'systemctl start lab-queue; echo $?'
finish poweroff
GUEST

# What 2 GiB take, beside cp: as it comes, which lets ZFS clone blocks, and read and written.
sharing measured 1800 <<'GUEST'
mkdir -p /var/lib/lab-large
for i in $(seq 16); do head -c 128M /dev/urandom >/var/lib/lab-large/$i; done
took() {
    local began=$EPOCHREALTIME
    "$@" >/run/lab/result/took 2>&1
    zpool sync rpool
    awk "BEGIN { printf \"%.1f\n\", $EPOCHREALTIME - $began }"
}
zpool sync rpool
clones=$(took cp -a /var/lib/lab-large /var/share/clones)
rm -r /var/share/clones
copies=$(took cp -a --reflink=never /var/lib/lab-large /var/share/copies)
rm -r /var/share/copies
zpool sync rpool
zpool wait -t free rpool
added=$(took beadm-rs share add /var/lib/lab-large)
check_is "the directory is shared" share/lab-large sh -c 'readlink /var/lib/lab-large | sed "s|.*/share/|share/|"'
echo "seconds for 2 GiB: cp -a $clones, cp -a --reflink=never $copies, share add $added"
finish poweroff
GUEST
