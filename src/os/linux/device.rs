//! `/dev`, `/sys`, `/run` and `/tmp` for a command inside an environment: what
//! a program needs, and nothing through which it could reach the machine's
//! disks or firmware.

use std::io;
use std::os::linux::fs::MetadataExt as _;

use camino::Utf8Path;
use rustix::fs::{FileType, Mode};
use rustix::mount::MountAttrFlags;

use super::tree::{self, Tree};
use crate::os::{Error, Result};

/// For this program's own directories.
pub const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// For files shown inside, one of which is a script.
pub const SHOWN: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// The devices a program may expect anywhere, with their numbers
/// (Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// ZFS's control device. It can be opened, so that `zfs list`, `zpool status`
/// and what asks them work; it changes nothing, since every ioctl that does
/// wants `CAP_SYS_ADMIN` (`secpolicy_zfs`, `secpolicy_sys_config`), which the
/// command does not have.
const ZFS: &str = "zfs";

/// Mounts them.
pub fn mount(root: &Tree) -> Result<()> {
    let told = |place: &str| Error::io(format!("mount {place} inside"));
    dev(root).map_err(told("/dev"))?;
    let memory = |place: &str, mode: &str, flags| {
        let on = root.directory(Utf8Path::new(place))?;
        tree::attach(tree::new("tmpfs", &[("mode", mode)], flags)?, on)
    };
    // A sysfs of its own has nothing mounted in it: no efivarfs, no cgroups.
    let sys = || {
        let sys = tree::new("sysfs", &[], PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        tree::attach(sys, root.directory(Utf8Path::new("sys"))?)
    };
    sys().map_err(told("/sys"))?;
    let run = || {
        memory("run", "0755", SHOWN)?;
        let run = root.directory(Utf8Path::new("run"))?;
        rustix::fs::mkdirat(&run, "lock", Mode::from_raw_mode(0o755))?;
        rustix::fs::chmodat(&run, "lock", Mode::from_raw_mode(0o1777), none())?;
        Ok(())
    };
    run().map_err(told("/run"))?;
    memory("tmp", "1777", SHOWN).map_err(told("/tmp"))
}

fn none() -> rustix::fs::AtFlags {
    rustix::fs::AtFlags::empty()
}

fn dev(root: &Tree) -> io::Result<()> {
    // Not nodev: it is the one place with devices.
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("mode", "0755"), ("size", "16m")];
    let dev = tree::new("tmpfs", &options, flags)?;
    let device = |name: &str, number: u64| -> io::Result<()> {
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, number)?;
        // The mode above went through the umask.
        Ok(rustix::fs::chmodat(&dev, name, mode, none())?)
    };
    for (name, major, minor) in DEVICES {
        device(name, rustix::fs::makedev(major, minor))?;
    }
    // Its number is the kernel's choice.
    if let Ok(metadata) = std::fs::metadata(format!("/dev/{ZFS}")) {
        device(ZFS, metadata.st_rdev())?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    for name in ["pts", "shm"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    tree::attach(&dev, root.directory(Utf8Path::new("dev"))?)?;
    // Group 5 is tty wherever there is one; grantpt(3) relies on it.
    let options = [("mode", "0620"), ("gid", "5"), ("ptmxmode", "0666")];
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let pts = tree::new("devpts", &options, flags)?;
    tree::attach(pts, root.directory(Utf8Path::new("dev/pts"))?)?;
    let shm = tree::new("tmpfs", &[("mode", "1777")], SHOWN)?;
    tree::attach(shm, root.directory(Utf8Path::new("dev/shm"))?)
}
