#!/bin/sh
# A dracut hook (mount): the child datasets of the root that was mounted, with canmount=on or noauto,
# parents first, and no others. What fstab mounts, and what lies below that, is left to it; what
# cannot be mounted is told, and the boot goes on.

beadm_rs_children() {
    # The last mount on a directory is the one that is seen.
    root=''
    while read -r source directory type _; do
        if [ "$directory" = "$NEWROOT" ]; then
            root=''
            [ "$type" != zfs ] || root=$source
        fi
    done </proc/self/mounts
    # A pool's own dataset has all of the pool below it, which is not its alone.
    case $root in
        */*) root=$(printf '%b' "$root") ;;
        *) return 0 ;;
    esac
    tab=$(printf '\t')
    zfs list -H -r -t filesystem -o mountpoint,canmount,keystatus,name "$root" | LC_ALL=C sort |
        while IFS=$tab read -r place canmount key dataset; do
            case $place in
                /?*) ;;
                *) continue ;;
            esac
            [ "$dataset" != "$root" ] && [ "$canmount" != off ] || continue
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
    while read -r _ directory _; do
        [ "$(printf '%b' "$directory")" != "$1" ] || return 0
    done </proc/self/mounts
    return 1
}

[ -z "$NEWROOT" ] || beadm_rs_children
