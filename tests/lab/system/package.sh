# The Debian packages: made by `make deb`, installed, in use, and gone again, which leaves the pool, the
# environments and what boots as they are. Sourced by tests/lab/run, which defines `stage`.
# shellcheck shell=bash

# shellcheck disable=SC2034
SCENARIO_SOURCE=1

stage boot-1 500 <<'GUEST' || return
# The way of whoever has no other program of this name.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin BEADM_SKIP=1
cp -r /job/source /root/source
make -C /root/source deb BINARY=/job/bin/beadm-rs WATCH=/job/bin/beadm-rs-watch DEBDIR=/root/debs >/run/lab/result/made 2>&1
check_is "make deb" "0 2" sh -c "echo $? \$(ls /root/debs/*.deb | wc -l)"
dpkg-deb -f /root/debs/beadm-rs_*.deb Depends >/run/lab/result/depends
if grep -q libzfs_core.so <(readelf -d /job/bin/beadm-rs); then
    check "it depends on the library that streams are sent through" grep -q 'libzfs[0-9]*linux' /run/lab/result/depends
fi

boots() { find /boot /boot/efi -type f -exec sha256sum {} + | sort; zpool get -H -o value bootfs rpool; zfs list -H -o name,guid -t all -r rpool; }
check "installed" dpkg -i /root/debs/beadm-rs_*.deb
check_is "nothing of it is enabled" "" sh -c 'find /etc/systemd/system -name "beadm-rs-*"'
check_is "bectl is not there" "" sh -c 'command -v bectl beadm'
check_is "the manuals are in it" 3 sh -c 'dpkg -L beadm-rs | grep -c "^/usr/share/man/man[578]/beadm-rs.*\.gz$"'
check "what is installed is what was packed" dpkg --verify beadm-rs
check "init" beadm-rs init -y
check_is "init enabled the units" enabled systemctl is-enabled beadm-rs-boot.service
check "create" beadm-rs create new
if grep -q libzfs_core.so <(readelf -d /usr/sbin/beadm-rs); then
    check "streams go through the library" sh -c 'beadm-rs status | grep -q libzfs_core'
fi
check "the names are another package" dpkg -i /root/debs/beadm-rs-names_*.deb
check_is "bectl lists" "debian NR,new -" sh -c 'bectl list -H | cut -f 1,2 | tr "\t\n" " ," | sed "s/,$//"'
check_is "so does beadm" "debian;NR,new;" sh -c 'beadm list -H | cut -d ";" -f 1,3 | sort | tr "\n" "," | sed "s/,$//"'
check "the names go" dpkg -r beadm-rs-names
check_is "and nothing is left of them" "" sh -c 'command -v bectl beadm; ls /etc/alternatives | grep -E "bectl|beadm"'

boots >/run/boots
check "removed" dpkg -r beadm-rs
check_is "pool, environments and what boots are as they were" "" sh -c "$(declare -f boots); boots | diff /run/boots -"
check "apt goes on without it" apt-get -q check
check "so does what makes an initramfs" sh -c 'run-parts --arg=x --arg=y /etc/initramfs/post-update.d && run-parts --arg=x --arg=y /etc/kernel/postinst.d'
check "installed again" dpkg -i /root/debs/beadm-rs_*.deb
check "it knows what was there" sh -c 'beadm-rs list -H new'
check "activate" beadm-rs activate new
check "removed before the reboot" dpkg -r beadm-rs
finish reboot
GUEST

stage boot-2 <<'GUEST'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin BEADM_SKIP=1
check_is "what was activated is up, with its own package" "rpool/ROOT/new install ok installed" \
    sh -c 'echo "$(findmnt -no SOURCE /) $(dpkg-query -W -f "\${Status}" beadm-rs)"'
check_is "no unit failed" "" systemctl --failed --no-legend
check "failback" beadm-rs failback
check "purged" dpkg -P beadm-rs
left() { find / -xdev \( -name '*beadm-rs*' -o -name 80beadm-rs \) ! -path '/root/*' ! -path '/etc/beadm-rs*' ! -path '/var/lib/dpkg/*' ! -path '/var/log/*'; }
check_is "nothing is left but what is the administrator's" "" left
finish poweroff
GUEST
