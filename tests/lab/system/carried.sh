# What goes on in the machine while it goes over to another environment, and back: accounts, a crontab, a
# log, mail, a print job and the journal, changed after create, after activate and during shutdown, with an
# orderly reboot, with one that is not, with the power cut while the machine stops, and in a trial that
# failed. All of it is there after each boot, once. Sourced by tests/lab/run, which defines `stage`.
# shellcheck shell=bash

SCENARIO_INSTALL=1

# What the stages share.
carried_job() {
    cat <<'GUEST'
own=/var/lib/lab
line() {
    echo "$1" | tee -a $own/app.log /var/mail/alice /var/spool/cups/job | logger -t lab
}
words() { tr '\n' ' ' | sed 's/ $//'; }
# What is in the log, and what else has other lines.
lines() {
    local log other
    log=$(words <$own/app.log)
    printf %s "$log"
    for other in "cat /var/mail/alice" "cat /var/spool/cups/job" "journalctl -q -t lab -o cat"; do
        [ "$($other | words)" = "$log" ] || printf '; %s says %s' "$other" "$($other | words)"
    done
}
# at_the_end LINE [COMMAND]: while the machine stops, like any service that stops.
at_the_end() {
    { declare -f line; echo "own=$own; line $1; ${2-}"; } >/run/at-the-end
    printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/bin/bash /run/at-the-end\n' \
        >/run/systemd/system/lab-at-the-end.service
    systemctl daemon-reload
    systemctl start lab-at-the-end
}
shadow() { getent shadow "$1" | cut -d: -f2; }
user() { getent passwd "$1" | cut -d: -f3; }
late() { systemctl show -P "$1" beadm-rs-late-sync.service; }
record() { zfs get -H -o value org.beadm-rs:files rpool/ROOT; }
of_status() { beadm-rs status -H | awk -F '\t' -v key="$1" '$1 == key { print $2 }'; }
bootfs() { zpool get -H -o value bootfs rpool; }
# suddenly: the machine is gone as soon as the job has ended; what was synced is on the disk.
suddenly() {
    journalctl --sync
    sync
    zpool sync rpool
    systemd-run --quiet sh -c 'while systemctl is-active --quiet lab-job.service; do sleep 0.1; done; sleep 1; echo b >/proc/sysrq-trigger'
    finish is-system-running
}
GUEST
    cat
}

stage boot-1 500 < <(carried_job <<'GUEST'
cp -a /job/installed/usr/sbin/beadm-rs /usr/sbin/
cp -a /job/installed/usr/lib/systemd/system/beadm-rs-*.service /usr/lib/systemd/system/
systemctl daemon-reload
check_is "systemd-analyze has nothing to say of the unit" "" systemd-analyze verify --man=no beadm-rs-late-sync.service
check "init" beadm-rs init -y
check_is "and enables it" enabled systemctl is-enabled beadm-rs-late-sync.service
mkdir -p $own/crontabs /var/mail /var/spool/cups /var/log/journal /etc/beadm-rs/synclist.d
printf '%s\n' "$own/app.log APPEND" "$own/crontabs" >/etc/beadm-rs/synclist.d/lab.conf
useradd -u 2001 alice && echo alice:first | chpasswd
useradd -u 2002 bob && echo bob:first | chpasswd
echo "0 1 * * * alice" >$own/crontabs/alice
echo "0 2 * * * bob" >$own/crontabs/bob
# Without it the journal is at times in memory only: nothing waits for the dataset that /var/log is on.
mkdir -p /etc/systemd/system/systemd-journal-flush.service.d
printf '[Unit]\nAfter=zfs-mount.service\n' >/etc/systemd/system/systemd-journal-flush.service.d/lab.conf
systemctl daemon-reload
systemctl restart systemd-journald
journalctl --flush
check "what is mailed is shared" sh -c 'beadm-rs share init && beadm-rs share add /var/mail && beadm-rs share confirm -y'
line begun
beadm-rs create new
check "an upgrade makes a system user in there" beadm-rs run new -- useradd --system --uid 987 daemon9

# After create.
line after-create
usermod -L alice
useradd -u 2003 carol
rm $own/crontabs/bob
zpool sync rpool
took() { local began=$EPOCHREALTIME; "$@" >/run/lab/took 2>&1; local ended=$EPOCHREALTIME; awk "BEGIN { printf \"%.1f\n\", $ended - $began }"; }
bare=$(took beadm-rs activate --no-sync new)
check_is "without the files there is nothing to carry at the boot" - record
beadm-rs activate debian >/dev/null 2>&1
with=$(took beadm-rs activate new)
check "activate" grep -q 'new boots next' /run/lab/took
check "tells what it carries" grep -q 'files of debian are carried to new' /run/lab/took
beadm-rs activate debian >/dev/null 2>&1
again=$(took beadm-rs activate new)
check "a second time nothing is to be carried" sh -c '! grep -q "carried" /run/lab/took'
echo "seconds: activate --no-sync $bare, with files to carry $with, with nothing to carry $again"
check "status says that the rest is carried at the boot" sh -c 'beadm-rs status | grep -q "files: what changes here from now on is carried to new when it boots"'

# After activate, and then the power goes.
line after-activate
echo bob:second | chpasswd
useradd -u 2004 dave
getent shadow bob | cut -d: -f2 >/root/bob
suddenly
GUEST
) || return

stage boot-2 < <(carried_job <<'GUEST'
check_is "the new one is up" rpool/ROOT/new findmnt -no SOURCE /
check_is "the service did its work" success late Result
check_is "every line of the log is there, once" "begun after-create after-activate" lines
check_is "the account that was locked is locked" '!' sh -c "getent shadow alice | cut -d: -f2 | cut -c1"
check_is "the password that was changed is the new one" "$(cat /root/bob)" shadow bob
check_is "users from before and after the activation are there" "2003 2004" echo "$(user carol)" "$(user dave)"
check_is "and what the upgrade made" 987 user daemon9
check_is "the crontab that was removed is not, the other one is" alice ls $own/crontabs
check_is "nothing is in conflict" "" sh -c 'ls /etc/beadm-rs/conflicts /run/motd.d/beadm-rs-files 2>/dev/null'
check_is "nothing of the work is left" "" sh -c 'find / -xdev -name ".beadm-rs-sync*"'
check_is "nothing more is to be carried" - record
check "a second time nothing is done" sh -c 'beadm-rs late-sync 2>&1 | grep -q "nothing is to be carried"'
check_is "no unit failed" "" systemctl --failed --no-legend
check_is "and none waits for itself" "" sh -c 'journalctl -b -o cat | grep "ordering cycle"'

# The way back, with what goes on here.
line in-new
usermod -U alice
userdel carol
sed -i s/1/3/ $own/crontabs/alice
check "failback" beadm-rs failback
line after-failback
# Both change the same: what comes up keeps its own.
useradd -u 2005 eve
beadm-rs run debian -- usermod -s /bin/dash bob
usermod -s /bin/true bob
at_the_end while-stopping
finish reboot
GUEST
) || return

stage boot-3 < <(carried_job <<'GUEST'
check_is "the one before is up" rpool/ROOT/debian findmnt -no SOURCE /
check_is "the service did its work" success late Result
check_is "every line of the log is there, once" "begun after-create after-activate in-new after-failback while-stopping" lines
check_is "the account that was unlocked is unlocked" '$' sh -c "getent shadow alice | cut -d: -f2 | cut -c1"
check_is "the password is the new one" "$(cat /root/bob)" shadow bob
check_is "who was removed is, who came before and after the failback is there" " 2004 2005" echo "$(user carol)" "$(user dave)" "$(user eve)"
check_is "what the upgrade made there stays there" "" user daemon9
check_is "the crontab is the changed one" "0 3 * * * alice" cat $own/crontabs/alice
check_is "what both changed is this one's" /bin/dash sh -c 'getent passwd bob | cut -d: -f7'
check "the other version is kept beside" grep -q '^bob:.*:/bin/true$' /etc/beadm-rs/conflicts/etc%2Fpasswd/other
check_is "where only root can read it" "700 600" sh -c 'stat -c %a /etc/beadm-rs/conflicts /etc/beadm-rs/conflicts/etc%2Fpasswd/other | xargs'
check "status tells" sh -c 'beadm-rs status | grep -q "conflict: /etc/passwd in debian: .*what new had is in /etc/beadm-rs/conflicts/etc%2Fpasswd"'
check "and so is whoever logs in" grep -q '/etc/passwd' /run/motd.d/beadm-rs-files

# A trial that fails: the record of one, as activation with a loader that counts would make it.
check "activate" beadm-rs activate new
beadm-rs mount new /mnt >/dev/null
mkdir -p /mnt/etc/beadm-rs/health.d/required.d
# Nothing is confirmed while the job works.
printf '#!/bin/sh\nexec sleep 1000\n' >/mnt/etc/beadm-rs/health.d/required.d/10-job
chmod 755 /mnt/etc/beadm-rs/health.d/required.d/10-job
beadm-rs unmount new >/dev/null
guid() { zfs get -Hp -o value guid "$1"; }
zfs set "org.beadm-rs:trial=$(guid rpool/ROOT) {\"version\":1,\"target\":\"$(guid rpool/ROOT/new)\",\"back\":\"$(guid rpool/ROOT/debian)\",\"tries\":1,\"since\":\"2026-01-01T00:00:00Z\"}" rpool/ROOT
line before-trial
at_the_end as-the-power-went 'sleep 1; journalctl --sync; sync; zpool sync rpool; echo b >/proc/sysrq-trigger'
finish reboot
GUEST
) || return

stage boot-4 < <(carried_job <<'GUEST'
check_is "the new one is up" rpool/ROOT/new findmnt -no SOURCE /
check_is "every line of the log is there, once" "begun after-create after-activate in-new after-failback while-stopping before-trial as-the-power-went" lines
check "while it is tried, the way back is not forgotten" sh -c "zfs get -H -o value org.beadm-rs:files rpool/ROOT | grep -q '\"newest\":\"$(zfs get -Hp -o value guid rpool/ROOT/new)\"'"
line in-trial
useradd -u 2006 frank
check "the trial fails" beadm-rs confirm --reject
check_is "and the one before boots" rpool/ROOT/debian bootfs
line after-trial
suddenly
GUEST
) || return

stage boot-5 < <(carried_job <<'GUEST'
check_is "the one before is up" rpool/ROOT/debian findmnt -no SOURCE /
check_is "every line of the log is there, once" "begun after-create after-activate in-new after-failback while-stopping before-trial as-the-power-went in-trial after-trial" lines
check_is "and who was made in the trial" 2006 user frank
check_is "the conflict still waits" 1 sh -c 'beadm-rs status -H | grep -c ^conflict'
check_is "nothing more is to be carried" - record
check "which sync --resolve settles" beadm-rs sync --resolve /etc/passwd --keep mine
check_is "as it was said" /bin/dash sh -c 'getent passwd bob | cut -d: -f7'
check_is "and nothing of it is left" "" ls /etc/beadm-rs/conflicts
finish poweroff
GUEST
)
