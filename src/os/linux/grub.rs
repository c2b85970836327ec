//! GRUB's programs, and what they have to be told about this machine.

use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use super::Linux;
use super::loader::{self, VARIABLES};
use crate::os::grub::{
    CONFIGURATION, DIRECTORY, Firmware, GrubChange, GrubMachine, OTHER_INSTALL, PLACE, REMOVABLE,
    bind_in_fstab, fstab_binds,
};
use crate::os::{Error, Platform as _, Result};
use crate::sys::command;

/// There where the firmware is UEFI's (Documentation/ABI/stable/sysfs-firmware-efi-vars).
const UEFI: &str = "/sys/firmware/efi";

/// Where the kernel shows disks and their partitions.
const BLOCK: &str = "/sys/class/block";

/// What grub-install(8) writes to a partition, and once more where it has been
/// there (9 MB were seen for UEFI and BIOS together), bytes.
const ROOM: u64 = 16 << 20;
const ROOM_AGAIN: u64 = 4 << 20;

/// What GRUB's own program has in it, wherever it was installed to.
const GRUB: &[u8] = b"GRUB";

/// The programs that are run.
const PROGRAMS: [&str; 2] = ["grub-mkconfig", "grub-install"];

/// The longest program of a loader that is looked into, bytes.
const MAX_PROGRAM: u64 = 64 << 20;

fn io_other(text: String) -> io::Error {
    io::Error::other(text)
}

/// The disks that a device is a part of: those of all parts where it is made of
/// several (a mirror by md(4)).
fn disks(device: &Utf8Path, found: &mut Vec<Utf8PathBuf>) -> io::Result<()> {
    let name = device
        .file_name()
        .ok_or_else(|| io_other(format!("{device} is no device")))?;
    let shown = Utf8Path::new(BLOCK).join(name);
    let parts: Vec<String> = match shown.join("slaves").read_dir_utf8() {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
            .collect(),
        Err(_) => Vec::new(),
    };
    if !parts.is_empty() {
        return parts
            .iter()
            .try_for_each(|part| disks(&Utf8Path::new("/dev").join(part), found));
    }
    if !shown.join("partition").is_file() {
        return Err(io_other(format!("{device} is no partition of a disk")));
    }
    let place = shown.canonicalize_utf8()?;
    let disk = place
        .parent()
        .and_then(Utf8Path::file_name)
        .ok_or_else(|| io_other(format!("{device} has no disk")))?;
    let disk = Utf8Path::new("/dev").join(disk);
    if !found.contains(&disk) {
        found.push(disk);
    }
    Ok(())
}

/// Whether what the firmware starts without being told is GRUB, or free to be.
/// Where nothing can be told to the firmware it is all there is.
fn removable(partition: &Dir, variables: bool) -> io::Result<bool> {
    match partition.metadata(REMOVABLE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(!variables),
        Err(error) => Err(error),
        Ok(found) if found.is_file() && found.len() <= MAX_PROGRAM => {
            let program = partition.read(REMOVABLE)?;
            Ok(program.windows(GRUB.len()).any(|bytes| bytes == GRUB))
        }
        Ok(_) => Ok(false),
    }
}

pub(super) fn machine(linux: &Linux, partition: &Utf8Path) -> Result<GrubMachine> {
    let attempted = || format!("look how GRUB is installed with its files on {partition}");
    let firmware = if Utf8Path::new(UEFI).is_dir() {
        let variables = rustix::fs::statvfs(VARIABLES)
            .is_ok_and(|found| !found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
            && fs::read_dir(VARIABLES).is_ok_and(|mut entries| entries.next().is_some());
        let dir = loader::open_partition(partition)?;
        Firmware::Uefi {
            removable: removable(&dir, variables).map_err(Error::io(attempted()))?,
            variables,
        }
    } else {
        let source = loader::source_of(linux, partition)?;
        let mut found = Vec::new();
        let device = Utf8Path::new(&source)
            .canonicalize_utf8()
            .map_err(Error::io(attempted()))?;
        disks(&device, &mut found).map_err(Error::io(attempted()))?;
        Firmware::Bios { disks: found }
    };
    let bound = partition.join(DIRECTORY) == PLACE
        || match linux.running_files()? {
            Some(files) => fstab_binds(&files.root)?,
            None => false,
        };
    let modules = match firmware {
        Firmware::Uefi { .. } => "/usr/lib/grub/x86_64-efi",
        Firmware::Bios { .. } => "/usr/lib/grub/i386-pc",
    };
    let mut missing: Vec<&'static str> = PROGRAMS
        .into_iter()
        .filter(|program| command::find(program).is_none())
        .collect();
    let elsewhere = PROGRAMS.iter().all(|name| missing.contains(name))
        && command::find(OTHER_INSTALL).is_some();
    if !Utf8Path::new(modules).join("modinfo.sh").is_file() {
        missing.push(modules);
    }
    Ok(GrubMachine {
        firmware,
        missing,
        bound,
        elsewhere,
    })
}

/// Whether something is mounted on [`PLACE`].
fn is_mounted(linux: &Linux) -> Result<bool> {
    Ok(linux.occupied()?.iter().any(|place| place == PLACE))
}

fn bind(linux: &Linux, partition: &Utf8Path, off: bool) -> Result<()> {
    let change = GrubChange::Bind {
        partition: partition.to_owned(),
        off,
    };
    let told = || Error::io(change.to_string());
    let root = Dir::open_ambient_dir("/", ambient_authority()).map_err(told())?;
    if off {
        if is_mounted(linux)? {
            match nix::mount::umount2(PLACE, MntFlags::UMOUNT_NOFOLLOW) {
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(errno) => return Err(told()(errno.into())),
            }
        }
        return bind_in_fstab(&root, partition, true).map_err(told());
    }
    let directory = partition.join(DIRECTORY);
    fs::create_dir_all(&directory).map_err(told())?;
    root.create_dir_all(PLACE.trim_start_matches('/'))
        .map_err(told())?;
    // What mounts it at the next boot comes first: half of it is better there
    // than here.
    bind_in_fstab(&root, partition, false).map_err(told())?;
    if is_mounted(linux)? {
        return Ok(());
    }
    nix::mount::mount(
        Some(directory.as_std_path()),
        PLACE,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(io::Error::from)
    .map_err(told())
}

/// Out of space in the middle of it, grub-install(8) would leave half of what the
/// firmware starts.
fn room(partition: &Utf8Path, firmware: &Firmware) -> io::Result<()> {
    let found = rustix::fs::statvfs(partition.as_std_path())?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let modules = match firmware {
        Firmware::Uefi { .. } => "grub/x86_64-efi",
        Firmware::Bios { .. } => "grub/i386-pc",
    };
    let needed = if partition.join(modules).is_dir() {
        ROOM_AGAIN
    } else {
        ROOM
    };
    if free < needed {
        return Err(io_other(format!(
            "it needs {} MiB on {partition}, and {} MiB are free there",
            needed >> 20,
            free >> 20
        )));
    }
    Ok(())
}

pub(super) fn change(linux: &Linux, change: &GrubChange) -> Result<()> {
    let (GrubChange::Configure { partition }
    | GrubChange::Bind { partition, .. }
    | GrubChange::Install { partition, .. }) = change;
    if let GrubChange::Bind { off, .. } = change {
        return bind(linux, partition, *off);
    }
    if let GrubChange::Configure { .. } = change {
        let directory = partition.join(DIRECTORY);
        fs::create_dir_all(&directory).map_err(Error::io(format!("make {directory}")))?;
    }
    if let GrubChange::Install { firmware, .. } = change {
        room(partition, firmware).map_err(Error::io(change.to_string()))?;
    }
    for (program, arguments) in change.commands() {
        let attempted = format!("run {program} {}", arguments.join(" "));
        super::succeed(&attempted, program, &arguments)?;
    }
    let dir = loader::open_partition(partition)?;
    if let GrubChange::Configure { .. } = change {
        // A script of the distribution's may fail and the program not say so.
        let made = dir.metadata(CONFIGURATION);
        let made = made.map_err(Error::io(format!("find {}", partition.join(CONFIGURATION))))?;
        if made.len() == 0 {
            return Err(Error::Unexpected {
                attempted: change.to_string(),
                detail: "what it made is empty".to_owned(),
            });
        }
    }
    loader::make_durable(&dir)
}
