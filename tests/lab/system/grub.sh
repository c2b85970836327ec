# GRUB on the disk's own ESP, started by UEFI firmware: init takes it over from a machine that it
# started, then environments on trial, for good and once; each boot says from inside which one it is.
# GRUB cannot read the pool, which has all features of its release, and need not.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

# What a distribution's packages would have left: its settings, and nothing that needs a person.
grub_job() {
    cat <<'GUEST'
block=/boot/efi/beadm-rs/grubenv
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
of_status() { beadm-rs status -H | awk -F '\t' -v key="$1" '$1 == key { print $2 }' | sed 's/ ([-0-9: Z]*)$//'; }
says() { sed -n "s/^beadm_rs_$1=//p" $block; }
guid() { zfs get -Hp -o value guid "rpool/ROOT/$1"; }
set_up() {
    printf '%s\n' GRUB_DEFAULT=0 GRUB_TIMEOUT=0 GRUB_DISTRIBUTOR=Debian 'GRUB_CMDLINE_LINUX_DEFAULT=""' \
        'GRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off"' "$@" >/etc/default/grub
    # It alone asks grub-probe(8) about the file system of the pool, and fails on one GRUB cannot read.
    chmod -x /etc/grub.d/05_debian_theme
}
GUEST
    cat
}

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1 SCENARIO_ROOT='ZFS=rpool/ROOT/debian BOOT_IMAGE=/boot/vmlinuz'
stage take-over 600 < <(grub_job <<'GUEST'
cp -r /job/installed/. /
mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs efivarfs /sys/firmware/efi/efivars
set_up GRUB_TERMINAL=console
check_is "where GRUB's files are an environment's, that is an error" 1 sh -c 'beadm-rs check -H | grep -c "^-.error.grub-not-taken-over"'
before=$(find /boot /etc/fstab -newer /job/run)
check_is "a dry run shows what GRUB's programs are asked for" 3 \
    sh -c 'beadm-rs init -n | grep -c "grub-mkconfig -o /boot/efi/grub/grub.cfg\|bind /boot/efi/grub on /boot/grub\|grub-install .*--boot-directory=/boot/efi"'
check_is "and changes nothing" "$before" find /boot /etc/fstab -newer /job/run
check_is "without a yes nobody's loader is installed anew" 3 sh -c 'beadm-rs init >/dev/null 2>&1; echo $?'
check "init" beadm-rs init -y
check_is "GRUB's directory is the partition's" /boot/efi/grub \
    sh -c 'findmnt -no SOURCE /boot/grub | sed "s/.*\[\(.*\)\]/\/boot\/efi\1/"'
check_is "and will be" 1 grep -c '^/boot/efi/grub /boot/grub none bind,nofail,x-systemd.after=zfs-mount.service 0 0$' /etc/fstab
check "update-grub goes on working" update-grub
check_is "the loader is GRUB" GRUB of_status loader
check_is "a second time there is nothing to do" 1 sh -c 'beadm-rs init -y 2>&1 | grep -c "nothing to do"'
check "create" beadm-rs create new
check "activate on trial" beadm-rs activate new
check_is "new boots next" R flags new
check_is "it has three tries" 111 says tries
check_is "bootfs stays" rpool/ROOT/debian zpool get -H -o value bootfs rpool
cp -r /boot/efi/beadm-rs/grubenv /boot/efi/beadm-rs/*.cfg /boot/efi/grub/*.cfg /run/lab/result/
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader SCENARIO_ROOT=''
stage tried 600 < <(grub_job <<'GUEST'
cp $block /run/lab/result/
check_is "new is the root" rpool/ROOT/new findmnt -no SOURCE /
check_is "GRUB started it from its copy" 1 grep -c '^BOOT_IMAGE=(hd0,gpt1)/beadm-rs/[0-9a-f]*/linux .*root=ZFS=rpool/ROOT/new' /proc/cmdline
check_is "with the dead man's switch before its initramfs" 1 grep -c 'panic=.* rdinit=/beadm-rs-watch' /proc/cmdline
check_is "a try was counted" 11-1 sh -c 'sed -n "s/^beadm_rs_\(tries\|done\)=//p" /run/lab/result/grubenv | xargs | tr " " -'
check "the boot is confirmed" systemctl start beadm-rs-confirm.service
check_is "no unit failed" "" systemctl --failed --no-legend
check_is "new is the last good one" new of_status "last good"
check_is "it boots for good" "$(guid new)" says good
check_is "nothing is tried any more" "" says trial
check_is "bootfs followed" rpool/ROOT/new zpool get -H -o value bootfs rpool
check_is "nothing of it hangs on debian" "- -" sh -c 'zfs list -H -o origin -r rpool/ROOT/new | xargs'
check_is "list marks it as running and next" NR flags new
check "GRUB's directory is the partition's again" mountpoint /boot/grub
check "failback" beadm-rs failback
check_is "debian boots next" R flags debian
check_is "both share one copy of the kernel" 1 sh -c 'ls -d /boot/efi/beadm-rs/*/ | wc -l'
check "set to boot once" beadm-rs activate --once new
check_is "list marks what boots once" NT flags new
if [ -n "$LONG" ]; then finish reboot; else finish poweroff; fi
GUEST
) || return

[ -n "${BEADM_RS_LONG:-}" ] || return 0

stage once 600 < <(grub_job <<'GUEST'
check_is "new is the root, once" rpool/ROOT/new findmnt -no SOURCE /
check_is "that is noted" "" says once
check_is "debian boots next" R flags debian
finish reboot
GUEST
) || return

stage interrupted 1800 < <(grub_job <<'GUEST'
boots() { beadm-rs list -H | awk -F '\t' '$2 ~ /R/ { print $1 }'; }
agree() {
    [ "rpool/ROOT/$(boots)" = "$(zpool get -H -o value bootfs rpool)" ] &&
        beadm-rs status -H | grep -q '^unfinished.nothing$' &&
        [ -z "$(find /boot/efi/beadm-rs -name '*.new')" ] &&
        [ "$(find /boot/efi/beadm-rs -name 'menu-*.cfg')" = "/boot/efi/beadm-rs/menu-$(says menu).cfg" ]
}
check_is "debian is the root after one boot" rpool/ROOT/debian findmnt -no SOURCE /
# Its services put right what they find interrupted.
check "the boot is complete again" systemctl start beadm-rs-confirm.service
for place in promote:after stage-kernel:after stage-initramfs:before stage-menu:before stage-menu:after \
    commit:before commit:after bootfs:after tidy:before tidy:after finish:before; do
    BEADM_RS_FAIL=activate/$place=kill beadm-rs activate --no-trial new >/dev/null 2>&1
    check "killed at $place it is interrupted" sh -c 'beadm-rs status -H | grep -q "^unfinished.*interrupted"'
    beadm-rs recover >/dev/null 2>&1
    check "killed at $place the loader and the pool agree" agree
    beadm-rs activate --no-trial debian >/dev/null 2>&1
done
check_is "debian boots next" debian boots

# What the partition can be otherwise.
refused() { "$@" >/run/refused 2>&1; echo $?; }
mount -o remount,ro /boot/efi
check_is "a partition that is mounted read-only is refused" 3 refused beadm-rs activate --no-trial new
mount -o remount,rw /boot/efi
printf '\0' >>"/boot/initrd.img-$(uname -r)"
dd if=/dev/zero of=/boot/efi/full bs=1M >/dev/null 2>&1
check_is "a partition that is full is refused" 3 refused beadm-rs kernel-updated
rm /boot/efi/full
cp $block /root/block
sed -i 's/beadm_rs_tries=/beadm_rs_tries=x/; s/#$//' $block
check_is "a block that was edited by hand is refused" 3 refused beadm-rs activate --no-trial new
cp /root/block $block
check "kernel-updated" beadm-rs kernel-updated
image=$(sed -n 's/^# beadm-rs: .*"root":"rpool\/ROOT\/debian".*"image":"\([0-9a-f]*\)".*/\1/p' "/boot/efi/beadm-rs/menu-$(says menu).cfg")
check "what boots is what was installed" cmp "/boot/initrd.img-$(uname -r)" "/boot/efi/beadm-rs/$image/initrd"
umount /boot/grub
umount /boot/efi
check_is "a partition that is not mounted is no loader's" 3 refused beadm-rs activate new
mount /boot/efi
mount /boot/grub
check_is "debian boots next all the same" debian boots
finish reboot
GUEST
) || return

stage broken 600 < <(grub_job <<'GUEST'
check_is "debian is the root, with its newest initramfs" rpool/ROOT/debian findmnt -no SOURCE /
mkdir -p /etc/beadm-rs
printf '[boot]\ntries = 1\n' >/etc/beadm-rs/config.toml
check "create" beadm-rs create broken
beadm-rs mount broken /mnt/broken >/dev/null
# Debian's initramfs would take the shell for an init, dracut's systemd itself.
rm /mnt/broken/usr/sbin/init /mnt/broken/usr/bin/sh /mnt/broken/usr/lib/systemd/systemd
beadm-rs unmount broken
check "activate without a look" beadm-rs activate --no-check broken
check_is "it has one try" 1 says tries
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader_again
stage went-back 600 < <(grub_job <<'GUEST'
check_is "debian is the root, by itself" rpool/ROOT/debian findmnt -no SOURCE /
check_is "the try was made" 1 says done
check_is "list marks debian as running and next" NR flags debian
check_is "status says that broken did not work" 1 sh -c 'beadm-rs status -H | grep -c "^fell back.broken: "'
check_is "the trial is over" "-" zfs get -H -o value org.beadm-rs:trial rpool/ROOT
finish poweroff
GUEST
) || return
