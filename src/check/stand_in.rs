//! The smallest set of files that a check takes for a system: for
//! demonstrations and tests, on pools that hold no system.

use std::io::{self, Write as _};

use cap_std_ext::cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};

/// The version of the kernel that is none.
pub const KERNEL: &str = "6.12.0-stand-in";

/// What the files that stand for programs and images say.
const NOTE: &[u8] = b"this stands for a file of a real system\n";

/// An archive as in an initramfs, not compressed: regular files, by name.
#[must_use]
pub fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let trailer: (&str, &[u8]) = ("TRAILER!!!", &[]);
    for (name, contents) in files.iter().chain([&trailer]) {
        let mut numbers = [0; 13];
        for (index, value) in [
            (1, 0o100_644),
            (4, 1),
            (6, contents.len()),
            (11, name.len() + 1),
        ] {
            if let Some(number) = numbers.get_mut(index) {
                *number = value;
            }
        }
        archive.extend(b"070701");
        for number in numbers {
            archive.extend(format!("{number:08x}").bytes());
        }
        archive.extend(name.bytes());
        archive.push(0);
        pad(&mut archive);
        archive.extend(*contents);
        pad(&mut archive);
    }
    archive
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn write(root: &Dir, path: &str, contents: &[u8], mode: u32) -> io::Result<()> {
    if let Some((parent, _)) = path.rsplit_once('/') {
        root.create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(mode);
    root.open_with(path, &options)?.write_all(contents)
}

/// Writes a kernel and an initramfs with a zfs module, for a machine of that
/// hostid, into a directory that is `/boot`.
///
/// # Errors
/// Where they cannot be written.
pub fn write_boot(boot: &Dir, hostid: Option<u32>) -> io::Result<()> {
    let module = format!("usr/lib/modules/{KERNEL}/extra/zfs.ko");
    let hostid = hostid.map(u32::to_ne_bytes);
    let mut files: Vec<(&str, &[u8])> = vec![(&module, NOTE)];
    if let Some(bytes) = &hostid {
        files.push(("etc/hostid", bytes));
    }
    write(boot, &format!("vmlinuz-{KERNEL}"), NOTE, 0o644)?;
    write(boot, &format!("initrd.img-{KERNEL}"), &cpio(&files), 0o644)
}

/// Writes a whole system: [`write_root`], and [`write_boot`] into its `/boot`.
///
/// # Errors
/// Where it cannot be written.
pub fn write_system(root: &Dir, hostid: Option<u32>) -> io::Result<()> {
    write_root(root, hostid)?;
    root.create_dir_all("boot")?;
    write_boot(&root.open_dir("boot")?, hostid)
}

/// Writes everything else into a directory that is the root: init, the modules
/// of the kernel, the machine's identities, the program.
///
/// # Errors
/// Where they cannot be written.
pub fn write_root(root: &Dir, hostid: Option<u32>) -> io::Result<()> {
    let modules = format!("usr/lib/modules/{KERNEL}");
    write(root, &format!("{modules}/extra/zfs.ko"), NOTE, 0o644)?;
    write(
        root,
        &format!("{modules}/modules.dep"),
        b"extra/zfs.ko:\n",
        0o644,
    )?;
    for program in ["usr/sbin/init", "usr/sbin/beadm-rs"] {
        write(root, program, NOTE, 0o755)?;
    }
    for name in ["sbin", "lib"] {
        // One that is there already serves as well.
        match root.symlink(format!("usr/{name}"), name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    if !root.try_exists("etc/machine-id")? {
        let machine_id = b"00000000000000000000000000000001\n";
        write(root, "etc/machine-id", machine_id, 0o644)?;
    }
    match hostid {
        Some(hostid) => write(root, "etc/hostid", &hostid.to_ne_bytes(), 0o644),
        None => Ok(()),
    }
}
