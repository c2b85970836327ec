//! The kernel's own file systems, each mounted for this process alone and nowhere:
//! it holds them as directories. So nothing of the initramfs under test is needed
//! or stands in its way, and they stay when that is left.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::prompt;

/// A command line is at most a few pages long, bytes.
const LONGEST: u64 = 64 << 10;

fn mounted(kind: &str) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(fsmount(&context, flags, MountAttrFlags::empty())?)
}

fn open(directory: &OwnedFd, file: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(directory, file, flags, Mode::empty())?.into())
}

fn read(directory: &OwnedFd, file: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(directory, file, OFlags::RDONLY)?
        .take(LONGEST)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What could be mounted.
#[derive(Debug, Default)]
pub struct Mounts {
    processes: Option<OwnedFd>,
    devices: Option<OwnedFd>,
    system: Option<OwnedFd>,
}

impl Mounts {
    /// Mounts all; what the kernel does not have is done without.
    pub fn new() -> Self {
        Self {
            processes: mounted("proc").ok(),
            devices: mounted("devtmpfs").ok(),
            system: mounted("sysfs").ok(),
        }
    }

    /// The kernel's command line.
    pub fn command_line() -> io::Result<String> {
        let bytes = read(&mounted("proc")?, "cmdline")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Opens a device for reading and writing.
    pub fn device(&self, name: &str) -> io::Result<File> {
        let devices = self.devices.as_ref().ok_or(io::ErrorKind::NotFound)?;
        open(devices, name, OFlags::RDWR)
    }

    /// The text of a file that tells of the hardware.
    pub fn attribute(&self, file: &str) -> io::Result<String> {
        let system = self.system.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let bytes = read(system, file)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Writes to one of the files that a process, or the kernel, is told something
    /// by.
    pub fn tell(&self, file: &str, text: &str) -> io::Result<()> {
        let processes = self.processes.as_ref().ok_or(io::ErrorKind::NotFound)?;
        open(processes, file, OFlags::WRONLY)?.write_all(text.as_bytes())
    }

    /// Whether init has left the initramfs: its root is another one than that of
    /// this process, which stays.
    pub fn has_left(&self) -> bool {
        let roots = self.processes.as_ref().and_then(|processes| {
            let own = statat(CWD, "/", AtFlags::empty()).ok()?;
            let of_init = statat(processes, "1/root", AtFlags::empty()).ok()?;
            Some((own.st_dev, of_init.st_dev))
        });
        roots.is_some_and(|(own, of_init)| own != of_init)
    }

    /// Whether any process asks a person for something.
    pub fn is_asked(&self) -> bool {
        let Some(processes) = &self.processes else {
            return false;
        };
        let Ok(directory) = Dir::read_from(processes) else {
            return false;
        };
        directory.flatten().any(|entry| {
            let name = entry.file_name().to_str().unwrap_or_default();
            name.bytes().all(|byte| byte.is_ascii_digit())
                && read(processes, &format!("{name}/cmdline"))
                    .is_ok_and(|arguments| prompt::asks(&arguments))
        })
    }
}
