# The guests' images, made from the root tree without mounting anything on the host. Sourced.
# An images directory holds: kernel, initrd (the installed system's), initrd-dracut (the same by dracut),
# workbench-initrd, workbench.img (ext4 root) and installed.qcow2 (ESP and rpool). All are only ever read.
# shellcheck shell=bash

# workbench_initrd TREE OUT
workbench_initrd() {
    local tree=$1 out=$2 dir kernel
    dir=$(mktemp -d)
    kernel=$(basename "$tree"/lib/modules/*)
    mkdir -p "$dir"/{bin,dev,root}
    cp "$tree/usr/bin/busybox" "$dir/bin/"
    xz -dc "$tree/lib/modules/$kernel/kernel/drivers/block/virtio_blk.ko.xz" >"$dir/virtio_blk.ko"
    install -m 755 "$LAB_DIR/guest/workbench-initrd" "$dir/init"
    (cd "$dir" && find . | cpio --quiet -o -H newc -R 0:0) >"$out"
    rm -rf "$dir"
}

# dracut_initrd TREE OUT: made here and not in a guest, where it would take minutes. The tree has dracut
# instead of initramfs-tools afterwards.
dracut_initrd() {
    local tree=$1 out=$2
    {
        in_tree "$tree" dpkg --force-depends --remove zfs-initramfs initramfs-tools
        in_tree "$tree" sh -c 'dpkg --install /usr/local/lib/lab/dracut/*.deb'
        in_tree "$tree" dracut --force --no-hostonly --zstd --kver "$(basename "$tree"/lib/modules/*)" /boot/initrd-dracut
    } >"$LAB_LOGS/dracut" 2>&1 || {
        tail -n 30 "$LAB_LOGS/dracut" >&2
        die "making an initramfs with dracut failed; the whole log is $LAB_LOGS/dracut"
    }
    cp "$tree/boot/initrd-dracut" "$out"
}

# build_images OUT ROOT_TAR
build_images() {
    local out=$1 tree=$1/tree
    mkdir -p "$tree"
    tar -C "$tree" -xf "$2"
    cp "$tree"/boot/vmlinuz-* "$out/kernel"
    cp "$tree"/boot/initrd.img-* "$out/initrd"
    workbench_initrd "$tree" "$out/workbench-initrd"

    mkdir -p "$tree/job" "$tree/usr/local/lib/lab"
    install -m 755 "$LAB_DIR"/guest/{job,workbench-init,check} "$tree/usr/local/lib/lab/"
    install -m 644 "$LAB_DIR/guest/lab-job.service" "$tree/etc/systemd/system/"
    mkdir -p "$tree/etc/systemd/system/multi-user.target.wants"
    ln -sf ../lab-job.service "$tree/etc/systemd/system/multi-user.target.wants/"
    ext4_image "$tree" "$out/workbench.img" 2G workbench
    dracut_initrd "$tree" "$out/initrd-dracut"
    rm -rf "$tree"
    install_system "$out"
}

# install_system OUT: partition, pool and contents are the workbench's job.
install_system() {
    local out=$1 job
    job=$(mktemp -d)
    cp "$LAB_DIR/guest/install-system" "$job/run"
    job_disk "$job" "$out/job.img"
    qemu-img create -q -f qcow2 "$out/installed.qcow2" 8G
    machine "$out/kernel" "$out/workbench-initrd" ""
    disk "$out/workbench.img" raw root snapshot=on
    disk "$out/job.img" raw job readonly=on
    disk "$out/installed.qcow2" qcow2 system
    boot install 600 >/dev/null || {
        tail -n 20 "$LAB_LOGS/install.output" >&2
        die "installing the system failed; see $LAB_LOGS/install.*"
    }
    rm -rf "$job" "$out/job.img"
    chmod a-w "$out"/*
}
