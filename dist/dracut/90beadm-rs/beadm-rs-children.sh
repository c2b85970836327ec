#!/bin/sh
# shellcheck disable=SC3043 # dracut asks for a shell with "local"
# A dracut hook (mount): the child datasets of the root that was mounted, with canmount=on or noauto,
# parents first, and no others. What fstab mounts, and what lies below that, is left to it; what
# cannot be mounted is told, and the boot goes on.

beadm_rs_children() {
    # Sourced by dracut, whose own variables have names like these.
    local own='' source directory type tab place canmount key dataset
    # The last mount on a directory is the one that is seen.
    while read -r source directory type _; do
        if [ "$directory" = "$NEWROOT" ]; then
            own=''
            [ "$type" != zfs ] || own=$source
        fi
    done </proc/self/mounts
    # A pool's own dataset has all of the pool below it, which is not its alone.
    case $own in
        */*) own=$(printf '%b' "$own") ;;
        *) return 0 ;;
    esac
    tab=$(printf '\t')
    zfs list -H -r -t filesystem -s mountpoint -o mountpoint,canmount,keystatus,name "$own" |
        while IFS=$tab read -r place canmount key dataset; do
            case $place in
                /?*) ;;
                *) continue ;;
            esac
            [ "$dataset" != "$own" ] && [ "$canmount" != off ] || continue
            if [ "$key" = unavailable ]; then
                warn "beadm-rs: the key of $dataset is not loaded: it is not mounted on $place"
                continue
            fi
            beadm_rs_fstab "$place" && continue
            beadm_rs_mounted "$NEWROOT$place" && continue
            # A symbolic link could lead out of the new root.
            [ -d "$NEWROOT$place" ] && [ "$(readlink -f "$NEWROOT$place")" = "$NEWROOT$place" ] || {
                warn "beadm-rs: $place is no directory: $dataset is not mounted"
                continue
            }
            mount -t zfs -o zfsutil "$dataset" "$NEWROOT$place" ||
                warn "beadm-rs: $dataset is not mounted on $place"
        done
}

# beadm_rs_fstab PLACE: does the root's fstab mount it, or something above it?
beadm_rs_fstab() {
    local device directory
    [ -f "$NEWROOT/etc/fstab" ] || return 1
    while read -r device directory _; do
        case $device in '' | '#'*) continue ;; esac
        directory=${directory%/}
        [ -n "$directory" ] || continue
        case $1/ in "$directory"/*) return 0 ;; esac
    done <"$NEWROOT/etc/fstab"
    return 1
}

# beadm_rs_mounted DIRECTORY: is anything mounted on it?
beadm_rs_mounted() {
    local directory
    while read -r _ directory _; do
        [ "$(printf '%b' "$directory")" != "$1" ] || return 0
    done </proc/self/mounts
    return 1
}

[ -z "$NEWROOT" ] || beadm_rs_children
