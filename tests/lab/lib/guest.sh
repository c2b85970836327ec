# One emulated machine: how it is started, watched and stopped. Sourced.
# Serial port 0 is the guest's console (kernel, init); it goes to NAME.console in the log directory.
# Serial port 1 carries the job's output and nothing else; it goes to NAME.output and to stdout.
# shellcheck shell=bash

LAB_MEMORY=${BEADM_RS_LAB_MEMORY:-4096} # MiB
LAB_CPUS=2
LAB_LOGS=

# Without the mitigations of processor bugs the tests take two thirds of the time under emulation.
GUEST_CMDLINE="console=ttyS0 panic=-1 mitigations=off"

# open_logs: a log directory for this run; the last ten are kept.
open_logs() {
    LAB_LOGS=$LAB_CACHE/logs/$(date -u +%Y%m%dT%H%M%SZ)-$$
    mkdir -p "$LAB_LOGS"
    find "$LAB_CACHE/logs" -mindepth 1 -maxdepth 1 | sort | head -n -10 | xargs -r rm -rf
}

# Does KVM work? /dev/kvm may exist and its guest still die in the kernel's own decompression, so the
# kernel is really started, and its first console line looked for. Remembered for this boot of the host.
probe_kvm() {
    local kernel=$1 console
    [ -w /dev/kvm ] || return 1
    console=$(mktemp)
    timeout --foreground --kill-after=2 8 qemu-system-x86_64 -accel kvm -cpu host -m 512 -nodefaults \
        -display none -no-reboot -serial "file:$console" -kernel "$kernel" \
        -append "console=ttyS0 earlyprintk=ttyS0 panic=-1" >/dev/null 2>&1 || true
    local status=0
    grep -q 'Linux version' "$console" || status=1
    rm -f "$console"
    return $status
}

# guests: how many machines of one processor each the host has room for.
guests() {
    local cores memory
    cores=$(nproc)
    memory=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    # The emulator itself needs some, and the disks are files in memory while they are small.
    local room=$((memory / (LAB_MEMORY + 2048)))
    [ $room -ge 1 ] || room=1
    echo $((cores < room ? cores : room))
}

# accelerator KERNEL: the words for QEMU's command line.
accelerator() {
    local remembered
    remembered=$LAB_CACHE/accelerator-$(cat /proc/sys/kernel/random/boot_id)
    if ! [ -f "$remembered" ]; then
        rm -f "$LAB_CACHE"/accelerator-*
        if probe_kvm "$1"; then
            echo "-accel kvm -cpu host"
        else
            echo "-accel tcg,thread=multi -cpu max"
        fi >"$remembered"
    fi
    cat "$remembered"
}

# disk FILE FORMAT SERIAL [OPTION…]: one virtio disk, found in the guest as /dev/disk/by-id/virtio-SERIAL.
# cache=unsafe ignores the guest's flushes: right for everything but a test that cuts the power.
disk() {
    local file=$1 format=$2 serial=$3
    shift 3
    QEMU+=(-drive "$(printf '%s' "${@/%/,}")file=$file,format=$format,if=none,id=$serial,cache=unsafe,discard=unmap"
        -device "virtio-blk-pci,drive=$serial,serial=$serial")
}

# ext4_image DIR IMAGE SIZE LABEL: a directory as a file system, without mounting anything.
ext4_image() {
    rm -f "$2"
    truncate -s "$3" "$2" # mke2fs announces a file it has to create, even with -q
    mke2fs -q -t ext4 -O ^has_journal -L "$4" -d "$1" "$2"
}

# job_disk DIR IMAGE
job_disk() {
    local size
    size=$(($(du -sm --apparent-size "$1" | cut -f1) * 5 / 4 + 16))
    ext4_image "$1" "$2" "${size}M" lab-job
}

# machine KERNEL INITRD APPEND: begins the array QEMU, to which disk adds.
machine() {
    local accel
    read -ra accel <<<"$(accelerator "$1")"
    QEMU=(qemu-system-x86_64 -machine q35 "${accel[@]}" -smp "$LAB_CPUS" -m "$LAB_MEMORY" -nodefaults -display none
        -no-reboot -kernel "$1" -initrd "$2" -append "$GUEST_CMDLINE $3")
}

# take_result IMAGE DIR: the tar a job wrote straight to the disk; an untouched disk is a hole.
take_result() {
    if [ "$(stat -c %b "$1")" -gt 0 ]; then
        mkdir -p "$2"
        tar -C "$2" -xf "$1"
    fi
    rm -f "$1"
}

# spent CONSOLE BEGAN: what the guest's stamps say a round trip was spent on, in seconds. What is
# before the kernel's clock (emulator, firmware, the kernel's unpacking) and after it counts as rest.
spent() {
    awk -v all="$(echo "$(date +%s.%N) $2" | awk '{ print $1 - $2 }')" '
        match($0, /^\[ *[0-9.]+\] lab-stamp: /) {
            now = substr($0, 2) + 0
            what = substr($0, RLENGTH + 1)
            sub(/\r$/, "", what)
            line = line sprintf("%s %.1f, ", what, now - last)
            last = now
        }
        END { printf "%.1f s: %srest %.1f\n", all, line, all - last }
    ' "$1"
}

# boot NAME SECONDS: starts QEMU, copies the job's output to stdout while it comes, and returns the
# job's exit status; 124 when the guest was stopped for taking too long, 125 when it ended without
# finishing the job. In both cases the last console lines go to stderr. Files the job left in
# /run/lab/result are in NAME.result/ afterwards.
boot() {
    local name=$1 seconds=$2 pid ended=0 status began
    began=$(date +%s.%N)
    local console=$LAB_LOGS/$name.console output=$LAB_LOGS/$name.output
    : >"$console"
    : >"$output"
    truncate -s 1G "$LAB_LOGS/$name.img"
    disk "$LAB_LOGS/$name.img" raw result
    timeout --foreground --kill-after=5 "$seconds" "${QEMU[@]}" \
        -serial "file:$console" -serial "file:$output" </dev/null 2>"$LAB_LOGS/$name.qemu" &
    pid=$!
    echo "$pid" >"$LAB_LOGS/$name.pid"
    tail -n +1 -f -s 0.2 --pid="$pid" "$output" | sed -u '/^$/{N;/^\nlab-end /d;P;D};/^lab-end /d'
    wait "$pid" || ended=$?
    rm "$LAB_LOGS/$name.pid"
    take_result "$LAB_LOGS/$name.img" "$LAB_LOGS/$name.result"
    status=$(sed -n 's/^lab-end \([0-9]*\)$/\1/p' "$output" | tail -n 1)
    if [ -n "$status" ]; then
        spent "$console" "$began" | sed "s/^/lab: $name: /" >&2
        [ $ended -eq 0 ] || say "$name: the job ended, but the guest had to be stopped after $seconds s"
        return "$status"
    fi
    {
        if [ $ended -eq 124 ]; then
            echo "lab: $name: the guest was stopped: its job had not finished after $seconds s"
        else
            echo "lab: $name: the guest ended without finishing its job"
        fi
        echo "lab: the last lines of $console:"
        cat "$LAB_LOGS/$name.qemu"
        tail -n 25 "$console"
    } >&2
    [ $ended -eq 124 ] && return 124
    return 125
}
