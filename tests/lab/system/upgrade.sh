# `upgrade` with real packages from a repository of files, while the machine it is made from goes on
# working: one with a daemon, one with a configuration file that the administrator has changed, then one
# whose script fails. And apt's hook on the running system. Sourced by tests/lab/run, which defines `stage`.
# shellcheck shell=bash

SCENARIO_INSTALL=1

stage boot-1 500 <<'GUEST' || return
cp /job/installed/usr/sbin/beadm-rs /usr/sbin/
cp /job/installed/etc/apt/apt.conf.d/80beadm-rs /etc/apt/apt.conf.d/
version() { dpkg-query -W -f '${Version}' "$1"; }
# package NAME VERSION: from the files in /root/build/NAME, into the repository.
package() {
    local dir=/root/build/$1 file=$1_$2_all.deb
    mkdir -p "$dir/DEBIAN"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: test\n' "$1" "$2" >"$dir/DEBIAN/control"
    chmod -f 755 "$dir"/DEBIAN/postinst || true
    dpkg-deb --root-owner-group -b "$dir" "/srv/repository/$file" >/dev/null
    { dpkg-deb -f "/srv/repository/$file"; printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" \
        "$(stat -c %s "/srv/repository/$file")" "$(sha256sum <"/srv/repository/$file" | cut -d' ' -f1)"; } >>/srv/repository/Packages
    # Without it apt tries every compression of Packages in turn, and says that each fails.
    printf 'Date: %s\nSHA256:\n %s %s Packages\n' "$(date -Ru)" "$(sha256sum </srv/repository/Packages | cut -d' ' -f1)" \
        "$(stat -c %s /srv/repository/Packages)" >/srv/repository/Release
}
mkdir -p /srv/repository /root/build/lab-hello/etc /root/build/lab-hello/DEBIAN /root/build/lab-daemon/DEBIAN \
    /root/build/lab-daemon/usr/lib/systemd/system /root/build/lab-daemon/etc/init.d
echo "one" >/root/build/lab-hello/etc/lab-hello.conf
echo /etc/lab-hello.conf >/root/build/lab-hello/DEBIAN/conffiles
cat >/root/build/lab-daemon/usr/lib/systemd/system/lab-daemon.service <<'UNIT'
[Service]
ExecStart=/bin/sh -c 'touch /var/lib/lab-daemon-started; exec sleep infinity'
[Install]
WantedBy=multi-user.target
UNIT
cat >/root/build/lab-daemon/etc/init.d/lab-daemon <<'INIT'
#!/bin/sh
### BEGIN INIT INFO
# Provides: lab-daemon
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop:
### END INIT INFO
touch /var/lib/lab-daemon-started
INIT
chmod 755 /root/build/lab-daemon/etc/init.d/lab-daemon
cat >/root/build/lab-daemon/DEBIAN/postinst <<'POSTINST'
#!/bin/sh
set -e
update-rc.d lab-daemon defaults >/dev/null || true
invoke-rc.d lab-daemon restart || true
systemctl start lab-daemon.service || true
[ -z "$2" ] || echo "of the package" >/var/share/written
exit 0
POSTINST
package lab-hello 1
package lab-daemon 1
echo 'deb [trusted=yes] file:/srv/repository ./' >/etc/apt/sources.list
rm -f /etc/apt/sources.list.d/*
zfs create -o mountpoint=/var/share rpool/VARSHARE
apt_get() { apt-get -qq -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@"; }
check "the packages are installed" sh -c "$(declare -f apt_get); export BEADM_SKIP=1; apt_get update && apt_get install -y lab-hello lab-daemon"
check_is "and no environment made, as BEADM_SKIP says" debian sh -c 'beadm-rs list -H | cut -f1'
systemctl start lab-daemon
rm -f /var/lib/lab-daemon-started
echo "the administrator's" >/etc/lab-hello.conf
service=$(systemctl show -p MainPID --value lab-daemon)

# What is newer.
echo "two" >/root/build/lab-hello/etc/lab-hello.conf
package lab-hello 2
package lab-daemon 2
(while [ ! -e /run/enough ]; do echo x >>/var/share/work; sleep 0.1; done) &
check "upgrade" sh -c 'beadm-rs upgrade --name new >/run/lab/result/upgrade 2>&1'
check_is "what it says" "beadm-rs: new: 2 packages upgraded; the log is LOG" sh -c "sed -n 's|/var/log/beadm-rs/upgrade-new-.*log$|LOG|; /packages/p' /run/lab/result/upgrade"
check "and that what a package wrote on what is shared is thrown away" grep -qx '  created /var/share/written' /run/lab/result/upgrade
check_is "it boots next" rpool/ROOT/new zpool get -H -o value bootfs rpool
check_is "what runs has its packages" "1 1" echo "$(version lab-hello) $(version lab-daemon)"
check_is "and its daemon" "$service" systemctl show -p MainPID --value lab-daemon
check_is "the hook of apt made nothing in there" "" sh -c 'zfs list -H -o name | grep before-apt'
check_is "the log is root's alone" "600 root" sh -c 'stat -c "%a %U" /var/log/beadm-rs/upgrade-new-*.log'
check "and has what apt said" sh -c 'grep -q "Setting up lab-hello (2)" /var/log/beadm-rs/upgrade-new-*.log'
touch /run/enough
check_is "what is shared has the machine's work and nothing else" work ls /var/share
beadm-rs mount new /mnt >/dev/null
check_is "the administrator's file stays" "the administrator's" cat /mnt/etc/lab-hello.conf
check "the daemon was not started in there" test ! -e /mnt/var/lib/lab-daemon-started
beadm-rs unmount new
check_is "a second one finds nothing" 0 sh -c 'beadm-rs upgrade -e new --name third >/run/lab/result/nothing 2>&1; grep -q "nothing to upgrade" /run/lab/result/nothing; echo $?'

# One that fails, one that is stopped, one that is killed: nothing of them is left.
printf '#!/bin/sh\necho the script fails\nexit 1\n' >/root/build/lab-hello/DEBIAN/postinst
package lab-hello 3
everything() { zfs list -H -o name -t all -r rpool; zpool get -H -o value bootfs rpool; findmnt -rno TARGET,SOURCE; }
everything >/run/before
beadm-rs upgrade --name broken >/run/lab/result/broken 2>&1
check_is "a script that fails is a failed upgrade" 1 echo $?
check "with what it said" grep -q 'the script fails' /run/lab/result/broken
check_is "and nothing is left of it" "" sh -c "$(declare -f everything); everything | diff /run/before - >/run/lab/result/left; cat /run/lab/result/left"
# under_way NAME: an upgrade that does not end, in the background.
under_way() {
    beadm-rs upgrade --name "$1" -- sh -c 'echo begun; sleep 99999 & wait' >/dev/null 2>"/run/lab/result/$1" &
    until grep -qs '^begun' /var/log/beadm-rs/upgrade-"$1"-*.log; do sleep 0.2; done
}
under_way stopped
beadm-rs upgrade --name another >/run/lab/result/another 2>&1
check_is "there is one at a time" 5 echo $?
kill -INT $!
wait $!
check_is "one that is stopped fails" 1 echo $?
check_is "and nothing is left of it either" "" sh -c "$(declare -f everything); everything | diff /run/before -"
under_way killed
kill -KILL $!
wait $! 2>/dev/null
check "one that was killed is told of" sh -c 'beadm-rs status | grep -q "the upgrade in killed, begun .*, was interrupted"'
check "and taken back" sh -c 'for i in $(seq 100); do beadm-rs recover 2>/dev/null && exit; sleep 0.2; done; exit 1'
check_is "then nothing is left of it" "" sh -c "$(declare -f everything); everything | diff /run/before -"

# apt's hook, on the running system.
rm /root/build/lab-hello/DEBIAN/postinst
package lab-hello 4
check "a transaction" sh -c "$(declare -f apt_get); apt_get update && apt_get -o 'DPkg::Pre-Invoke::=/usr/sbin/beadm-rs package-hook apt' install -y lab-hello"
check_is "has one environment before it, however often the hook is called" 1 sh -c 'zfs list -H -o name -d 1 rpool/ROOT | grep -c before-apt'
check_is "with what was before" 1 sh -c 'beadm-rs run "$(basename "$(zfs list -H -o name -d 1 rpool/ROOT | grep before-apt)")" -- dpkg-query -W -f "\${Version}" lab-hello 2>/dev/null'
mkdir -p /etc/beadm-rs
printf '[hooks]\nmin-free = 99\non-failure = "stop"\n' >/etc/beadm-rs/config.toml
check "where none can be made and that is to stop apt, it stops" sh -c "$(declare -f apt_get); ! apt_get remove -y lab-hello"
check_is "and nothing was removed" 4 version lab-hello
rm /etc/beadm-rs/config.toml
check "prune" beadm-rs prune -y --keep 0
check_is "takes what the hook made and nothing else" "rpool/ROOT/debian rpool/ROOT/new" sh -c 'zfs list -H -o name -d 1 rpool/ROOT | tail -n +2 | xargs'
finish reboot
GUEST

stage boot-2 <<'GUEST'
version() { dpkg-query -W -f '${Version}' "$1"; }
check_is "the upgraded environment is up" rpool/ROOT/new findmnt -no SOURCE /
check_is "with its packages" "2 2" echo "$(version lab-hello) $(version lab-daemon)"
check_is "and the machine's work" work ls /var/share
check "beadm-rs failback" beadm-rs failback
finish poweroff
GUEST
