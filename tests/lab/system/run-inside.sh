# A kernel package's hooks, boot loaders' installers and worse, run inside an environment on a machine
# with UEFI firmware: its ESP, firmware variables, first sectors and pool stay as they are.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

SCENARIO_FIRMWARE=uefi
stage boot-1 300 <<'GUEST' || return
disk=/dev/disk/by-id/virtio-system
variables=/sys/firmware/efi/efivars
mountpoint -q $variables || mount -t efivarfs efivarfs $variables
mkdir -p /boot/efi/EFI/BOOT /boot/efi/loader/entries
echo "the machine's own" >/boot/efi/EFI/BOOT/BOOTX64.EFI
echo "title debian" >/boot/efi/loader/entries/debian.conf
everything() {
    sync
    sha256sum $disk-part1
    dd if=$disk bs=1M count=1 status=none | sha256sum
    (cd $variables && sha256sum ./*)
    zpool get -H -o value bootfs rpool
    zfs list -H -o name -t all -r rpool
    findmnt -rno TARGET,SOURCE
}
# A clone, with what a vendor's package might do after a kernel.
beadm-rs create new >/dev/null
beadm-rs mount new /mnt/new >/dev/null
cat >/mnt/new/etc/kernel/postinst.d/zz-vendor <<'HOOK'
#!/bin/sh
mkdir -p /boot/efi/EFI/vendor
cp "$2" /boot/efi/EFI/vendor/
echo "default vendor" >/boot/efi/loader/loader.conf
rm /boot/efi/EFI/BOOT/BOOTX64.EFI
cat /proc/cmdline >/boot/efi/loader/entries/vendor.conf
efibootmgr --create --disk /dev/vda --part 1 --label vendor --loader '\EFI\vendor\x.efi'
exit 0
HOOK
cat >/mnt/new/usr/local/bin/worse <<'WORSE'
#!/bin/sh
try() { if "$@" >/dev/null 2>&1; then echo "succeeded: $*"; fi; }
try grub-install --target=i386-pc /dev/vda
try grub-install --target=i386-pc --force /dev/disk/by-id/virtio-system
try grub-install --target=x86_64-efi --efi-directory=/boot/efi
try grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram
try efibootmgr --create --disk /dev/vda --part 1 --label worse --loader '\x'
try efibootmgr --bootnext 0001
try mount -t efivarfs efivarfs /sys/firmware/efi/efivars
try mount -t devtmpfs devtmpfs /mnt
try mknod /root/disk b 254 0
try zfs snapshot rpool/ROOT/debian@worse
try zfs set org.example:worse=1 rpool/ROOT/debian
try zfs destroy -r rpool/home
try zpool set bootfs=rpool/ROOT/new rpool
try zpool export -f rpool
try modprobe softdog
# systemctl says that it is in a chroot, and ends well; the machine is still there.
reboot -f >/dev/null 2>&1
try sh -c 'echo b >/proc/sysrq-trigger'
kill -9 -1
WORSE
chmod +x /mnt/new/etc/kernel/postinst.d/zz-vendor /mnt/new/usr/local/bin/worse
beadm-rs unmount new
everything >/run/before
service=$(systemctl show -p MainPID --value dbus)

kernel() { beadm-rs run new -- env INITRD=No sh /var/lib/dpkg/info/linux-image-"$(uname -r)".postinst configure "$(uname -r)"; }
check "a kernel package's hooks run" sh -c "$(declare -f kernel); kernel >/run/lab/result/kernel 2>&1"
check "what they did to the ESP is told" grep -qx '  removed /boot/efi/EFI/BOOT/BOOTX64.EFI' /run/lab/result/kernel
check "and all of it" grep -qx '  created /boot/efi/loader/entries/vendor.conf' /run/lab/result/kernel
check "bootctl installs into a private copy" sh -c 'beadm-rs run new -- bootctl install --esp-path=/boot/efi >/run/lab/result/bootctl 2>&1; grep -q "created /boot/efi/EFI/systemd/systemd-bootx64.efi" /run/lab/result/bootctl'
check "the installers are there" beadm-rs run new -- sh -c 'for i in grub-install efibootmgr bootctl; do command -v $i || exit 1; done'
check_is "nothing worse succeeds" "" sh -c 'beadm-rs run new worse 2>/dev/null'
check_is "ZFS can be asked inside" ONLINE sh -c 'beadm-rs run new -- zpool list -H -o health rpool 2>/dev/null'
check "the command line names the environment" sh -c 'beadm-rs run new -- cat /proc/cmdline | grep -q "root=ZFS=rpool/ROOT/new"'
check "systemctl knows it must not start anything" beadm-rs run new -- systemctl restart dbus
check "a package is removed inside" beadm-rs run new -- dpkg --purge nano
check "and not outside" test -x /usr/bin/nano
check_is "no service was restarted" "$service" systemctl show -p MainPID --value dbus
check_is "ESP, variables, first sectors, pool and mounts are as before" "" sh -c "$(declare -f everything); disk=$disk variables=$variables; everything | diff /run/before - >/run/lab/result/difference; cat /run/lab/result/difference"
check "nothing keeps the environment in use" beadm-rs destroy -y new
finish poweroff
GUEST
