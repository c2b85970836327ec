# A unified kernel image that names its environment: tried, confirmed, left again. With --long only.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0

# What the stages share. unify BE: its kernel and initramfs become one image, whose command line
# names a root; nothing of the two is left beside it.
unified_job() {
    cat <<'GUEST'
flags() { beadm-rs list -H | awk -F '\t' -v be="$1" '$1 == be { print $2 }'; }
stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub
unify() {
    local tree line=$2 version begin offset=0 parts=() name file
    version=$(uname -r)
    tree=$(beadm-rs mount "$1")
    printf '%s' "$line" >/run/cmdline
    printf '%s' "$version" >/run/uname
    # Behind the last section of the stub, each where the one before has ended.
    begin=$(objdump -h -w "$stub" | sed -n 's/^ *[0-9][0-9]* *[^ ]* *\([0-9a-f]*\) *\([0-9a-f]*\) .*/0x\1 0x\2/p' |
        while read -r size at; do echo $((size + at)); done | sort -n | tail -n 1)
    for name in osrel cmdline uname linux initrd; do
        case $name in
            osrel) file=$tree/usr/lib/os-release ;;
            cmdline | uname) file=/run/$name ;;
            linux) file=$tree/boot/vmlinuz-$version ;;
            initrd) file=$tree/boot/initrd.img-$version ;;
        esac
        offset=$(((begin + 4095) / 4096 * 4096))
        parts+=(--add-section ".$name=$file" --change-section-vma ".$name=$offset")
        begin=$((offset + $(stat -c %s "$file")))
    done
    mkdir -p "$tree/boot/EFI/Linux"
    objcopy "${parts[@]}" "$stub" "$tree/boot/EFI/Linux/$1.efi"
    rm "$tree"/boot/vmlinuz-* "$tree"/boot/initrd.img-*
    beadm-rs unmount "$1"
}
GUEST
    cat
}

SCENARIO_FIRMWARE=uefi SCENARIO_INSTALL=1
stage install 600 < <(unified_job <<'GUEST'
cp -r /job/installed/. /
check "init" beadm-rs init -y
systemd_boot_by_hand /boot/efi
finish reboot
GUEST
) || return

SCENARIO_FIRMWARE=own_loader
stage made 600 < <(unified_job <<'GUEST'
beadm-rs create foreign
unify foreign "root=ZFS=rpool/ROOT/debian rw console=ttyS0 mitigations=off"
check_is "an image that names another root is refused" 3 sh -c 'beadm-rs activate --no-sync foreign >/dev/null 2>&1; echo $?'
check "by what check finds" sh -c 'beadm-rs check foreign 2>&1 | grep -q unified-image-other-root'
check "create" beadm-rs create new
unify new "root=ZFS=rpool/ROOT/new rw console=ttyS0 mitigations=off lab.unified"
check "activate on trial" beadm-rs activate --no-sync new
check_is "it boots next" R flags new
check_is "its entry starts the image, with three tries" 1 sh -c 'cat /boot/efi/loader/entries/*+3.conf | grep -c "^efi /beadm-rs/"'
finish reboot
GUEST
) || return

stage tried 600 < <(unified_job <<'GUEST'
check_is "new is the root" rpool/ROOT/new findmnt -no SOURCE /
check_is "by the command line of the image" 1 grep -c lab.unified /proc/cmdline
check "by the image's own stub" sh -c 'ls /sys/firmware/efi/efivars | grep -q ^StubInfo-'
check "the boot is confirmed" systemctl start beadm-rs-confirm.service
check_is "list marks it as running and next" NR flags new
check_is "its entry has no counter any more" 0 sh -c 'ls /boot/efi/loader/entries | grep -c +'
check "failback" beadm-rs failback --no-sync
check_is "debian boots next" R flags debian
finish reboot
GUEST
) || return

stage back 600 < <(unified_job <<'GUEST'
check_is "debian is the root" rpool/ROOT/debian findmnt -no SOURCE /
check "destroy" beadm-rs destroy -y new
check_is "no image is left" "" grep -l '^efi ' -r /boot/efi/loader/entries
finish poweroff
GUEST
) || return
