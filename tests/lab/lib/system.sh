# The installed system under test: a scenario is a row of boots of one throw-away overlay. Sourced.
# shellcheck shell=bash

# start_scenario NAME DIR: DIR is where the overlay and the jobs live. What a scenario may set: a
# firmware, another initramfs than the installed system's, another root than the one the pool's bootfs
# names, further disks (further_disk), that /job/installed is to be what `make install` makes, that /job/source is to
# have what `make deb` needs but the sources of the program (SCENARIO_SOURCE), which /job/bin has with the feature
# libzetta where there is one, and that a stage is a rescue system's (SCENARIO_RESCUE): the workbench, which has the
# system's disks beside its own.
start_scenario() {
    SCENARIO=$1 SCENARIO_DIR=$2 SCENARIO_FIRMWARE='' SCENARIO_INITRD='' SCENARIO_ROOT='' SCENARIO_DISKS=() SCENARIO_INSTALL='' SCENARIO_SOURCE='' SCENARIO_RESCUE='' SCENARIO_BEGUN=''
    mkdir -p "$SCENARIO_DIR"
    own_disk_anew
}

# The disk of the installed system, as it was installed.
own_disk_anew() {
    qemu-img create -q -f qcow2 -F qcow2 -b "$IMAGES/installed.qcow2" "$SCENARIO_DIR/system.qcow2"
}

# further_disk SERIAL SIZE: an empty disk that is there in every stage.
further_disk() {
    qemu-img create -q -f qcow2 "$SCENARIO_DIR/$1.qcow2" "$2"
    SCENARIO_DISKS+=("$1")
}

# uefi: the machine gets UEFI firmware with variables of its own, which outlive a stage. It still
# starts the kernel it is handed, through the kernel's EFI stub.
uefi() {
    [ -f "$SCENARIO_DIR/variables" ] || cp /usr/share/OVMF/OVMF_VARS_4M.fd "$SCENARIO_DIR/variables"
    QEMU+=(-drive "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
        -drive "if=pflash,unit=1,format=raw,file=$SCENARIO_DIR/variables")
}

# own_disk: no kernel is handed in: a BIOS starts what it finds in the first sector of the system's
# disk. One processor: of two that the firmware has started the kernel has lost the first one's timer
# on a busy host.
own_disk() {
    local word kept=() passed=
    for word in "${QEMU[@]}"; do
        case $word in
            -kernel | -initrd | -append) passed=1 ;;
            -smp) kept+=(-smp 1) passed=1 ;;
            *) if [ -n "$passed" ]; then passed=; else kept+=("$word"); fi ;;
        esac
    done
    QEMU=("${kept[@]}")
}

# own_loader: the same with UEFI: it starts what it finds on the disk's own ESP, and the loader there
# starts what that decides.
own_loader() {
    own_disk
    uefi
}

# again: the machine may start itself again within a stage, as one that goes back does.
again() {
    local word kept=()
    for word in "${QEMU[@]}"; do [ "$word" = -no-reboot ] || kept+=("$word"); done
    QEMU=("${kept[@]}")
}
own_disk_again() { again && own_disk; }
own_loader_again() { again && own_loader; }

# own_loader_watched: the same, and the machine has a watchdog of hardware.
own_loader_watched() {
    own_loader_again
    QEMU+=(-device i6300esb -action watchdog=reset)
}

# The machine of a stage, with its disks.
assembled() {
    local serial
    if [ -n "$SCENARIO_RESCUE" ]; then
        machine "$IMAGES/kernel" "$IMAGES/workbench-initrd" ""
        disk "$IMAGES/workbench.img" raw root snapshot=on
    else
        machine "$IMAGES/kernel" "${SCENARIO_INITRD:-$IMAGES/initrd}" "root=${SCENARIO_ROOT:-zfs:AUTO} rw"
        [ -z "$SCENARIO_FIRMWARE" ] || "$SCENARIO_FIRMWARE"
    fi
    disk "$SCENARIO_DIR/system.qcow2" qcow2 system
    disk "$SCENARIO_DIR/job.img" raw job readonly=on
    for serial in "${SCENARIO_DISKS[@]}"; do disk "$SCENARIO_DIR/$serial.qcow2" qcow2 "$serial"; done
}

# stage NAME [SECONDS] < SCRIPT: boot the overlay, let SCRIPT be its job. The script is bash, has
# `beadm-rs` in its path and what guest/check defines, and ends with `finish reboot` or
# `finish poweroff`. Either ends the emulator; the next stage is the next boot of the same disk.
stage() {
    local name=$1 seconds=${2:-300} job=$SCENARIO_DIR/job status=0
    rm -rf "$job" && mkdir -p "$job/bin"
    cp "$BEADM_RS" "$job/bin/beadm-rs"
    [ -z "$SCENARIO_INSTALL" ] ||
        make -C "$PROJECT_DIR" --no-print-directory install DESTDIR="$job/installed" BINARY="$BEADM_RS"
    if [ -n "$SCENARIO_SOURCE" ]; then
        mkdir "$job/source"
        (cd "$PROJECT_DIR" && cp -r Makefile Cargo.toml ./*.md LICENSE-* man completions dist "$job/source/")
        cp "$PROJECT_DIR/${CARGO_TARGET_DIR:-target}/watch/beadm-rs-watch" "$job/bin/"
        [ -z "${libzetta:-}" ] || cp "$libzetta" "$job/bin/beadm-rs"
    fi
    {
        printf '%s\n' '#!/bin/bash' "SCENARIO=$SCENARIO" "LONG=${BEADM_RS_LONG:-}" \
            'PATH=/job/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin' 'export LC_ALL=C.UTF-8' \
            '. /usr/local/lib/lab/check'
        cat
    } >"$job/run"
    chmod +x "$job/run"
    job_disk "$job" "$SCENARIO_DIR/job.img"
    assembled
    boot "system-$SCENARIO-$name" "$seconds" || status=$?
    # Nothing of the program is in there yet: an emulated machine that does not come up then is no
    # failure of it.
    if [ $status -ge 2 ] && [ -z "$SCENARIO_BEGUN" ] && ! grep -q 'lab-stamp: job' "$LAB_LOGS/system-$SCENARIO-$name.console"; then
        echo "lab: system-$SCENARIO-$name did not come up at first" >&2
        status=0
        own_disk_anew
        assembled
        boot "system-$SCENARIO-$name" "$seconds" || status=$?
    fi
    SCENARIO_BEGUN=1
    if [ $status -ge 2 ]; then
        printf '\n%s\n' "test system::$SCENARIO::$name runs to its end ... FAILED"
        tail -n 5 "$LAB_LOGS/system-$SCENARIO-$name.console" | tr -cd '[:print:]\n' | sed 's/^/    /'
        return 1
    fi
}
