# Trials on an installed system, with the units: a failing health check goes back, a boot with a wanted
# one failing is confirmed, and a boot that comes up elsewhere says so. The kernel is handed in and the
# pool's bootfs decides, so the scenario sets the record of the trial and what boots, as activation with
# a loader that counts would. Sourced by tests/lab/run, which defines `stage`.
# shellcheck shell=bash

# What the stages share, and the units as files.
trial_job() {
    echo "units='$(tar -C "$PROJECT_DIR/dist/systemd" -cz . | base64 -w0)'"
    cat <<'GUEST'
# on_trial TARGET BACK: the record that TARGET is tried and BACK is what the loader goes back to.
on_trial() {
    local own target back
    own=$(zfs get -Hp -o value guid rpool/ROOT)
    target=$(zfs get -Hp -o value guid "rpool/ROOT/$1")
    back=$(zfs get -Hp -o value guid "rpool/ROOT/$2")
    zfs set "org.beadm-rs:trial=$own {\"version\":1,\"target\":\"$target\",\"back\":\"$back\",\"tries\":1,\"since\":\"2026-01-01T00:00:00Z\"}" rpool/ROOT
}
record() { zfs get -H -o value "org.beadm-rs:$1" rpool/ROOT; }
of_status() { beadm-rs status -H | awk -F '\t' -v key="$1" '$1 == key { print $2 }' | sed 's/ ([-0-9: Z]*)$//'; }
bootfs() { zpool get -H -o value bootfs rpool; }
state() { systemctl show -P ActiveState "$1"; }
GUEST
    cat
}

stage boot-1 < <(trial_job <<'GUEST'
cp /job/bin/beadm-rs /usr/sbin/
base64 -d <<<"$units" | tar -C /usr/lib/systemd/system -xz
systemctl daemon-reload
ours="beadm-rs-boot.service beadm-rs-health.service beadm-rs-confirm.service"
check_is "systemd-analyze has nothing to say of the units" "" systemd-analyze verify --man=no $ours
# Without a record nothing of it does anything.
check "the units start on a machine without records" systemctl start $ours
check_is "and do nothing" "" sh -c 'ls /run/beadm-rs/records /run/motd.d/beadm-rs 2>/dev/null'
systemctl stop $ours
check "the units are enabled" systemctl enable $ours

# The checks of this machine: the job of the boot decides, in /run/lab/verdict. With `later` behind it the
# check waits until the job has ended, whose output a reboot would cut off.
mkdir -p /etc/beadm-rs/health.d/required.d /etc/beadm-rs/health.d/wanted.d
printf '[health]\ntimeout = 200\n' >/etc/beadm-rs/config.toml
cat >/etc/beadm-rs/health.d/required.d/10-job <<'CHECK'
#!/bin/sh
mkdir -p /run/lab
touch /run/lab/began
until [ -e /run/lab/verdict ]; do sleep 0.2; done
read -r verdict later </run/lab/verdict
echo "the job says $verdict"
[ -z "$later" ] || while systemctl is-active --quiet lab-job.service; do sleep 0.2; done
exit "$verdict"
CHECK
printf '#!/bin/sh\necho this is only told\nexit 4\n' >/etc/beadm-rs/health.d/wanted.d/20-fails
printf '#!/bin/sh\ntouch /run/lab/stray-ran\n' >/etc/beadm-rs/health.d/wanted.d/30-open
chmod 755 /etc/beadm-rs/health.d/*/*
chmod 777 /etc/beadm-rs/health.d/wanted.d/30-open
check "init" beadm-rs init -y
check "create" beadm-rs create new
on_trial new debian
zpool set bootfs=rpool/ROOT/new rpool
finish reboot
GUEST
) || return

stage boot-2 < <(trial_job <<'GUEST'
check_is "new is the root" rpool/ROOT/new findmnt -no SOURCE /
check_is "the boot knows that new is being tried" /run/beadm-rs/trial ls /run/beadm-rs/trial
check_is "status tells it" "new, 1 try, then debian again unless it is confirmed" of_status trial
check_is "the last good one stays debian" debian of_status "last good"
until [ -e /run/lab/began ]; do sleep 0.2; done
check_is "nothing is confirmed while the checks run" "activating inactive inactive" \
    sh -c 'for unit in beadm-rs-health.service boot-complete.target beadm-rs-confirm.service; do systemctl show -P ActiveState $unit; done | xargs'
echo 1 later >/run/lab/verdict
# What systemctl is told when the job has ended: nothing, the reboot is for the health checks to ask for.
finish is-system-running
GUEST
) || return

stage boot-3 < <(trial_job <<'GUEST'
check_is "the machine rebooted by itself, and debian is the root" rpool/ROOT/debian findmnt -no SOURCE /
check_is "status says why" "new: the health check 10-job failed with exit status 1" of_status "fell back"
check_is "the trial is over" "-" record trial
check_is "so is what is told at a login" \
    "beadm-rs: new did not work: the health check 10-job failed with exit status 1; debian runs (beadm-rs status)" \
    cat /run/motd.d/beadm-rs
echo 1 >/run/lab/verdict
systemctl start beadm-rs-confirm.service 2>/dev/null
check_is "where a required check fails nothing is confirmed" "failed inactive inactive" \
    sh -c 'for unit in beadm-rs-health.service boot-complete.target beadm-rs-confirm.service; do systemctl show -P ActiveState $unit; done | xargs'
check_is "and a machine that tries nothing is not rebooted" 1 \
    sh -c 'systemctl list-jobs | grep reboot; journalctl -b -u beadm-rs-health.service -o cat | grep -c "the machine is not rebooted"'
on_trial new debian
zpool set bootfs=rpool/ROOT/new rpool
if [ -n "$LONG" ]; then finish reboot; else finish poweroff; fi
GUEST
) || return

# A confirmation by the units is in systemd-boot.sh too.
[ -n "${BEADM_RS_LONG:-}" ] || return 0

stage boot-4 < <(trial_job <<'GUEST'
check_is "new is the root again" rpool/ROOT/new findmnt -no SOURCE /
echo 0 >/run/lab/verdict
check "the boot is confirmed" systemctl start beadm-rs-confirm.service
check_is "boot-complete.target is reached" active state boot-complete.target
check_is "no unit failed" "" systemctl --failed --no-legend
check_is "new is the last good one" new of_status "last good"
check_is "the way back is debian" debian of_status "failback to"
check_is "the pool boots new" rpool/ROOT/new bootfs
check_is "nothing of new hangs on debian" "- -" sh -c 'zfs list -H -o origin -r rpool/ROOT/new | xargs'
check_is "the records of the trials are gone" "- -" sh -c 'zfs get -H -o value org.beadm-rs:trial,org.beadm-rs:fell-back rpool/ROOT | xargs'
check_is "what a wanted check said is in the journal" "this is only told" \
    sh -c 'journalctl -b -u beadm-rs-health.service -o cat | sed -n "s/^beadm-rs: 20-fails: //p"'
check_is "what others can write was not run, and that is told" 1 \
    sh -c 'ls /run/lab/stray-ran 2>/dev/null; journalctl -b -u beadm-rs-health.service -o cat | grep -c "30-open was not run\|30-open: was not run"'
on_trial debian new
finish reboot
GUEST
) || return

# debian was to be tried, and new came up: as after the loader's last try.
stage boot-5 < <(trial_job <<'GUEST'
check_is "new came up" rpool/ROOT/new findmnt -no SOURCE /
check_is "the boot noticed it" "debian: another one was booted before it was confirmed" of_status "fell back"
check_is "and tells it at a login" \
    "beadm-rs: debian did not work: another one was booted before it was confirmed; new runs (beadm-rs status)" \
    cat /run/motd.d/beadm-rs
check_is "and in the journal" 1 sh -c 'journalctl -b -u beadm-rs-boot.service -o cat | grep -c "debian did not work"'
check_is "what takes its time at boot" "" sh -c 'systemd-analyze blame >/run/lab/result/blame.txt'
echo 0 >/run/lab/verdict
check "the units end well" systemctl start beadm-rs-confirm.service
check_is "new stays the last good one" new of_status "last good"
finish poweroff
GUEST
) || return
