# systemd-boot on the disk's own ESP, started by the firmware: environments activated for good, on
# trial and once; each boot says from inside which one it is.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1
stage install 600 <<'GUEST' || return
cp -r /job/installed/. /
check "init" beadm-rs init -y
check_is "it enabled the units of trials" "enabled enabled enabled" \
    sh -c 'systemctl is-enabled beadm-rs-boot.service beadm-rs-health.service beadm-rs-confirm.service | xargs'
mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs efivarfs /sys/firmware/efi/efivars
check_is "where no systemd-boot started the machine, bootfs decides" "the pool's bootfs" \
    sh -c 'beadm-rs status -H | sed -n "s/^loader\t//p"'
systemd_boot_by_hand /boot/efi
echo 'architecture x64' >>/boot/efi/loader/entries/debian.conf
finish reboot
GUEST

SCENARIO_FIRMWARE=own_loader
stage for-good 600 <<'GUEST' || return
cp -r /boot/efi/loader/entries /root/entries-before
check_is "the loader is systemd-boot" systemd-boot sh -c 'beadm-rs status -H | sed -n "s/^loader\t//p"'
check_is "list marks debian as running and next" NR sh -c 'beadm-rs list -H | cut -f 2'
check "create" beadm-rs create new
echo 'default debian.conf' >>/boot/efi/loader/loader.conf
check_is "a default that is set is refused" 3 sh -c 'beadm-rs activate --no-trial new >/dev/null 2>&1; echo $?'
sed -i /default/d /boot/efi/loader/loader.conf
check "activate for good" beadm-rs activate --no-trial new
check_is "the pool's bootfs follows" rpool/ROOT/new zpool get -H -o value bootfs rpool
check "the entry made by hand is as it was" cmp /root/entries-before/debian.conf /boot/efi/loader/entries/debian.conf
cp /boot/efi/loader/entries/*.conf /run/lab/result/
finish reboot
GUEST

stage new-failback 600 <<'GUEST' || return
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
check_is "new is the root" rpool/ROOT/new findmnt -no SOURCE /
check_is "list marks new as running and next" NR flags new
check_is "the kernel was told new" 1 grep -c 'root=ZFS=rpool/ROOT/new rw console=ttyS0' /proc/cmdline
check "failback" beadm-rs failback
check_is "debian boots next" R flags debian
check_is "both share one copy of the kernel" 1 sh -c 'ls /boot/efi/beadm-rs | wc -l'
finish reboot
GUEST

stage trial 600 <<'GUEST' || return
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
check_is "debian is the root again" rpool/ROOT/debian findmnt -no SOURCE /
check "create another one" beadm-rs create tried
beadm-rs run tried -- systemctl disable beadm-rs-confirm.service >/dev/null 2>&1
check_is "what cannot confirm is not tried" 3 sh -c 'beadm-rs activate tried >/dev/null 2>&1; echo $?'
check "the unit is enabled in it" beadm-rs run tried -- systemctl enable beadm-rs-confirm.service
check "activate on trial" beadm-rs activate tried
check_is "tried boots next" R flags tried
check_is "its entry has three tries" 1 sh -c 'ls /boot/efi/loader/entries | grep -c "+3.conf"'
check_is "with a dead man's switch, last" 1 \
    sh -c 'grep -c "^options .* rdinit=/beadm-rs-watch beadm-rs.watch=300$" /boot/efi/loader/entries/*+3.conf'
check_is "which comes first" 1 sh -c 'sed -n "s/^initrd //p" /boot/efi/loader/entries/*+3.conf | head -n 1 | grep -c "^/beadm-rs/watch-"'
check_is "bootfs stays" rpool/ROOT/debian zpool get -H -o value bootfs rpool
useradd -u 2001 alice
finish reboot
GUEST

stage tried 600 <<'GUEST' || return
check_is "tried is the root" rpool/ROOT/tried findmnt -no SOURCE /
# Its file may have lost the counter meanwhile: systemd-bless-boot.service comes before the job.
counted=/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
check_is "who was made after the activation is there" 2001 id -u alice
check_is "systemd-boot counted the try" 1 sh -c "tr -d '\\0' <$counted | grep -ac '+2-1.conf'"
check_is "the loader is systemd-boot" systemd-boot sh -c 'beadm-rs status -H | sed -n "s/^loader\t//p"'
check_is "the dead man's switch was there" 1 sh -c 'dmesg | grep -c "beadm-rs-watch: restarts the machine in 300 s"'
check "the boot is confirmed" systemctl start beadm-rs-confirm.service
check_is "no unit failed" "" systemctl --failed --no-legend
check_is "tried is the last good one" tried sh -c 'beadm-rs status -H | sed -n "s/^last good\t//p"'
check_is "its entry has no counter any more" 0 sh -c 'ls /boot/efi/loader/entries | grep -c +'
check_is "the dead man's switch is gone" "" pgrep -l beadm-rs-watch
check_is "it was ended" 1 sh -c 'dmesg | grep -c "beadm-rs-watch: ended"'
check_is "its entry has none any more" "" sh -c 'grep -l rdinit /boot/efi/loader/entries/*'
check_is "bootfs followed" rpool/ROOT/tried zpool get -H -o value bootfs rpool
check_is "nothing of it hangs on debian" "- -" sh -c 'zfs list -H -o origin -r rpool/ROOT/tried | xargs'
check_is "list marks it as running and next" NR sh -c 'beadm-rs list -H | awk -F "\t" "\$1 == \"tried\" { print \$2 }"'
printf '\0\0\0\0' >>"/boot/initrd.img-$(uname -r)"
check "the hook after an initramfs was made" /etc/initramfs/post-update.d/zz-beadm-rs
entry=$(ls /boot/efi/loader/entries/beadm-rs-"$(zfs get -Hp -o value guid rpool/ROOT/tried)"-*.conf)
check "it is what boots" cmp "/boot/initrd.img-$(uname -r)" "/boot/efi$(sed -n 's/^initrd *//p' "$entry")"
check_is "and once is enough" "tried boots with its newest kernel already" sh -c 'beadm-rs kernel-updated 2>&1 | sed s/^beadm-rs:.//'
check "failback" beadm-rs failback
check_is "debian boots next" R sh -c 'beadm-rs list -H | awk -F "\t" "\$1 == \"debian\" { print \$2 }"'
check_is "no file of a dead man's switch is left" "" find /boot/efi/beadm-rs -name "watch-*"
# An initramfs that hangs, with one try.
beadm-rs create hangs
beadm-rs mount hangs /mnt/hangs >/dev/null
mkdir /run/hangs
printf '#!/bin/sh\nwhile :; do sleep 1000; done\n' >/run/hangs/init
chmod +x /run/hangs/init
(cd /run/hangs && echo init | cpio --quiet -o -H newc | gzip) >>"/mnt/hangs/boot/initrd.img-$(uname -r)"
beadm-rs unmount hangs
mkdir -p /etc/beadm-rs
printf '[boot]\ntries = 1\nwatch = 30\n' >/etc/beadm-rs/config.toml
check "activate one whose initramfs hangs" beadm-rs activate --no-check hangs
finish reboot
GUEST

SCENARIO_FIRMWARE=own_loader_again
stage hung 600 <<'GUEST' || return
check_is "debian is the root, by itself" rpool/ROOT/debian findmnt -no SOURCE /
check_is "status says that hangs did not work" "hangs: its one try was used up and it was not confirmed" \
    sh -c 'beadm-rs status -H | sed -n "s/^fell back\t//p" | sed "s/ ([-0-9: Z]*)$//"'
check_is "the trial is over" "-" zfs get -H -o value org.beadm-rs:trial rpool/ROOT
check "set to boot once" beadm-rs activate --once new
check_is "list marks what boots once" T sh -c 'beadm-rs list -H | awk -F "\t" "\$1 == \"new\" { print \$2 }"'
finish poweroff
GUEST

[ -n "${BEADM_RS_LONG:-}" ] || return 0

SCENARIO_FIRMWARE=own_loader
stage once 600 <<'GUEST' || return
check_is "new is the root, once" rpool/ROOT/new findmnt -no SOURCE /
check_is "the dead man's switch was there" 1 sh -c 'dmesg | grep -c "beadm-rs-watch: restarts the machine in 300 s"'
check "the boot is complete" systemctl start beadm-rs-confirm.service
check_is "the dead man's switch is gone" "" pgrep -l beadm-rs-watch
check_is "debian boots next" R sh -c 'beadm-rs list -H | awk -F "\t" "\$1 == \"debian\" { print \$2 }"'
finish reboot
GUEST

stage interrupted 1800 <<'GUEST' || return
boots() { beadm-rs list -H | awk -F '\t' '$2 ~ /R/ { print $1 }'; }
agree() {
    [ "rpool/ROOT/$(boots)" = "$(zpool get -H -o value bootfs rpool)" ] &&
        beadm-rs status -H | grep -q '^unfinished.nothing$' &&
        [ -z "$(find /boot/efi -name '*.new')" ]
}
check_is "debian is the root after one boot" rpool/ROOT/debian findmnt -no SOURCE /
# Its services put right what they find interrupted.
check "the boot is complete again" systemctl start beadm-rs-confirm.service
for place in promote:after stage-kernel:after stage-initramfs:before stage-entry:before stage-entry:after \
    commit:before commit:after bootfs:after tidy:before tidy:after finish:before; do
    BEADM_RS_FAIL=activate/$place=kill beadm-rs activate --no-trial new >/dev/null 2>&1
    check "killed at $place it is interrupted" sh -c 'beadm-rs status -H | grep -q "^unfinished.*interrupted"'
    beadm-rs recover >/dev/null 2>&1
    check "killed at $place the loader and the pool agree" agree
    beadm-rs activate --no-trial debian >/dev/null 2>&1
done
check_is "debian boots next" debian boots
refused() { "$@" >/dev/null 2>&1; echo $?; }
mount -o remount,ro /boot/efi
check_is "a partition that is mounted read-only is refused" 3 refused beadm-rs activate --no-sync --no-trial new
mount -o remount,rw /boot/efi
printf '\0\0\0\0' >>"/boot/initrd.img-$(uname -r)"
dd if=/dev/zero of=/boot/efi/full bs=1M >/dev/null 2>&1
check_is "a partition that is full is refused" 3 refused beadm-rs kernel-updated
check_is "and nothing is left of it" "" find /boot/efi -name '*.new'
rm /boot/efi/full
check "with room it is done" beadm-rs kernel-updated
umount /boot/efi
check_is "a partition that is not there is refused" 3 refused beadm-rs activate --no-sync --no-trial new
mount /boot/efi
check "activate" beadm-rs activate --no-sync --no-trial new
own() { ls /boot/efi/loader/entries/beadm-rs-"$(zfs get -Hp -o value guid "rpool/ROOT/$1")"-*.conf; }
sed -i 's/^options .*/& lab.edited/' "$(own new)"
rm -r /boot/efi/beadm-rs
check_is "without its copies it does not boot next" 0 sh -c 'beadm-rs list -H | awk -F "\t" "\$1 == \"new\" { print \$2 }" | grep -c R'
check "activated again" beadm-rs activate --no-sync --no-trial new
check_is "it boots next" new boots
check_is "what was added to its entry by hand is kept" "1 1" \
    sh -c 'echo "$(grep -c "^options .* lab.edited$" "$1") $(grep -c "^architecture" "$1")"' sh "$(own new)"
check "back" beadm-rs activate --no-sync --no-trial debian
check_is "debian boots next again" debian boots
finish reboot
GUEST

stage broken 600 <<'GUEST' || return
check_is "debian is the root" rpool/ROOT/debian findmnt -no SOURCE /
mkdir -p /etc/beadm-rs
printf '[boot]\ntries = 1\n' >/etc/beadm-rs/config.toml
check "create" beadm-rs create broken
beadm-rs mount broken /mnt/broken >/dev/null
# Debian's initramfs would take the shell for an init, dracut's systemd itself.
rm /mnt/broken/usr/sbin/init /mnt/broken/usr/bin/sh /mnt/broken/usr/lib/systemd/systemd
beadm-rs unmount broken
check_is "what has no init is refused" 3 sh -c 'beadm-rs activate broken >/dev/null 2>&1; echo $?'
check "activate without a look" beadm-rs activate --no-check broken
check_is "its entry has one try" 1 sh -c 'ls /boot/efi/loader/entries | grep -c "+1.conf"'
finish reboot
GUEST

SCENARIO_FIRMWARE=own_loader_again
stage went-back 600 <<'GUEST' || return
check_is "debian is the root, by itself" rpool/ROOT/debian findmnt -no SOURCE /
check_is "the try was made" 1 sh -c 'ls /boot/efi/loader/entries | grep -c "+0-1.conf"'
check_is "list marks debian as running and next" NR sh -c 'beadm-rs list -H | awk -F "\t" "\$1 == \"debian\" { print \$2 }"'
check_is "status says that broken did not work" 1 sh -c 'beadm-rs status -H | grep -c "^fell back.broken: "'
check_is "the trial is over" "-" zfs get -H -o value org.beadm-rs:trial rpool/ROOT
finish poweroff
GUEST
