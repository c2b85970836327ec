//! Linux: `/proc` and mount(8).

mod device;
pub mod init;
mod private;
mod run;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

use super::inside::{Ended, Inside, NotRun, Program, Surroundings};
use super::{Error, FileWork, Lock, Mount, MountRequest, Namespace, Platform, Result};
use crate::sys::{command, lock};
use crate::zfs::DatasetName;

/// Where this program keeps what lasts until the next boot.
const RUN: &str = "/run/beadm-rs";

/// The platform.
#[derive(Debug, Clone)]
pub struct Linux {
    run: Utf8PathBuf,
    proc: Utf8PathBuf,
}

impl Default for Linux {
    fn default() -> Self {
        Self {
            run: RUN.into(),
            proc: "/proc".into(),
        }
    }
}

/// A line of mountinfo (proc_pid_mountinfo(5)) for a whole ZFS file system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    dataset: DatasetName,
    directory: Utf8PathBuf,
}

/// Space, tab, newline and backslash stand in mountinfo as three octal digits.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The ZFS mounts of a mountinfo, in its order; snapshots, which are mounted
/// by themselves under `.zfs`, are not datasets.
fn entries(text: &str) -> Vec<Entry> {
    text.lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            if after.next()? != "zfs" {
                return None;
            }
            Some(Entry {
                dataset: unescape(after.next()?).parse().ok()?,
                directory: unescape(before.split(' ').nth(4)?).into(),
            })
        })
        .collect()
}

impl Linux {
    fn read_own(&self) -> Result<Vec<Entry>> {
        let path = self.proc.join("self/mountinfo");
        fs::read_to_string(&path)
            .map(|text| entries(&text))
            .map_err(Error::io(format!("read {path}")))
    }

    /// The mounts of every other namespace, each looked at through the first
    /// process found in it. Processes come and go, and other users' cannot be
    /// read without being root: what cannot be read is left out.
    fn read_others(&self) -> Vec<Mount> {
        let mut seen = BTreeSet::new();
        seen.extend(fs::read_link(self.proc.join("self/ns/mnt")).ok());
        let mut pids: Vec<u32> = fs::read_dir(&self.proc)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        let mut mounts = Vec::new();
        for pid in pids {
            let directory = self.proc.join(pid.to_string());
            let Ok(namespace) = fs::read_link(directory.join("ns/mnt")) else {
                continue;
            };
            if !seen.insert(namespace) {
                continue;
            }
            let text = fs::read_to_string(directory.join("mountinfo")).unwrap_or_default();
            let command = fs::read_to_string(directory.join("comm")).unwrap_or_default();
            mounts.extend(entries(&text).into_iter().map(|entry| Mount {
                dataset: entry.dataset,
                directory: entry.directory,
                namespace: Namespace::Of {
                    pid,
                    command: command.trim().to_owned(),
                },
            }));
        }
        mounts
    }

    /// Makes a directory only root can write to.
    fn directory(&self, path: &Utf8Path) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(Error::io(format!("make {path}")))
    }

    /// Who has something open below a directory: up to three names.
    fn users(&self, directory: &Utf8Path) -> String {
        let mut found = Vec::new();
        let processes = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        for process in processes {
            let path = process.path();
            let is_inside = |link: &str| {
                fs::read_link(path.join(link)).is_ok_and(|target| target.starts_with(directory))
            };
            let open = fs::read_dir(path.join("fd"))
                .into_iter()
                .flatten()
                .flatten()
                .any(|fd| {
                    fs::read_link(fd.path()).is_ok_and(|target| target.starts_with(directory))
                });
            if is_inside("cwd") || is_inside("root") || open {
                let command = fs::read_to_string(path.join("comm")).unwrap_or_default();
                let pid = process.file_name();
                found.push(format!("{} ({})", pid.to_string_lossy(), command.trim()));
            }
            if found.len() == 3 {
                break;
            }
        }
        match found.as_slice() {
            [] => "it is in use".to_owned(),
            users => format!("in use by process {}", users.join(", ")),
        }
    }
}

impl Platform for Linux {
    fn root_dataset(&self) -> Result<Option<DatasetName>> {
        // The last mount on a directory is the one that is seen.
        let path = self.proc.join("self/mountinfo");
        let text = fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))?;
        let last = text
            .lines()
            .rfind(|line| line.split(' ').nth(4) == Some("/"))
            .unwrap_or_default();
        Ok(entries(last).pop().map(|entry| entry.dataset))
    }

    fn mounts(&self, all: bool) -> Result<Vec<Mount>> {
        let mut mounts: Vec<Mount> = self
            .read_own()?
            .into_iter()
            .map(|entry| Mount {
                dataset: entry.dataset,
                directory: entry.directory,
                namespace: Namespace::Own,
            })
            .collect();
        if all {
            mounts.extend(self.read_others());
        }
        Ok(mounts)
    }

    fn mount(&self, request: &MountRequest) -> Result<()> {
        let attempted = format!("mount {} on {}", request.dataset, request.directory);
        let program = command::find("mount").ok_or_else(|| Error::Unexpected {
            attempted: attempted.clone(),
            detail: "mount(8) is not installed".to_owned(),
        })?;
        // `zfsutil` makes mount.zfs apply the dataset's properties (exec,
        // setuid, atime …) and mount what has a mountpoint of its own.
        let options: Vec<&str> = [(!request.legacy, "zfsutil"), (request.readonly, "ro")]
            .into_iter()
            .filter_map(|(set, option)| set.then_some(option))
            .collect();
        let mut arguments = vec!["-t".to_owned(), "zfs".to_owned()];
        if !options.is_empty() {
            arguments.extend(["-o".to_owned(), options.join(",")]);
        }
        arguments.push(request.dataset.to_string());
        arguments.push(request.directory.to_string());
        let finished = command::run(&program, &arguments, None)
            .map_err(Error::io(format!("start {program}")))?;
        if finished.status.success() {
            Ok(())
        } else {
            Err(Error::Unexpected {
                attempted,
                detail: finished.stderr,
            })
        }
    }

    fn unmount(&self, directory: &Utf8Path, force: bool) -> Result<()> {
        let attempted = || format!("unmount {directory}");
        match nix::mount::umount2(directory.as_std_path(), MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => Ok(()),
            // Taken out of sight; ZFS lets go when the last file is closed.
            Err(nix::errno::Errno::EBUSY) if force => nix::mount::umount2(
                directory.as_std_path(),
                MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
            )
            .map_err(Error::io(attempted())),
            Err(nix::errno::Errno::EBUSY) => Err(Error::Busy {
                attempted: attempted(),
                detail: self.users(directory),
            }),
            Err(errno) => Err(Error::io(attempted())(errno)),
        }
    }

    /// In a mount namespace of its own, private to one thread: nobody sees the
    /// mount, and it ends with the thread or the process, however that ends.
    fn with_files(
        &self,
        dataset: &DatasetName,
        writable: bool,
        work: &mut FileWork<'_>,
    ) -> Result<()> {
        let directory = self.run.join("files");
        self.directory(&directory)?;
        let attempted = format!("work on the files of {dataset}");
        let told = |cause: io::Error| Error::Io {
            attempted: attempted.clone(),
            cause,
        };
        let body = || -> io::Result<()> {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
            let none = None::<&str>;
            nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            let mut flags =
                MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
            if !writable {
                flags |= MsFlags::MS_RDONLY;
            }
            nix::mount::mount(
                Some(dataset.as_str()),
                directory.as_std_path(),
                Some("zfs"),
                flags,
                none,
            )?;
            let done =
                Dir::open_ambient_dir(&directory, ambient_authority()).and_then(|root| work(&root));
            // Waits for the writes, which would else be reported to nobody.
            let unmounted = nix::mount::umount2(directory.as_std_path(), MntFlags::UMOUNT_NOFOLLOW);
            done.and(unmounted.map_err(io::Error::from))
        };
        std::thread::scope(|scope| scope.spawn(body).join())
            .map_err(|_| told(io::Error::other("the thread that did it panicked")))?
            .map_err(told)
    }

    fn new_mount_directory(&self, name: &str) -> Result<Utf8PathBuf> {
        let parent = self.run.join("mnt");
        self.directory(&parent)?;
        let plain = parent.join(name);
        match fs::DirBuilder::new().mode(0o755).create(&plain) {
            Ok(()) => return Ok(plain),
            // Left behind, as by a forced destroy.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mounted = self
                    .read_own()?
                    .iter()
                    .any(|entry| entry.directory == plain);
                let empty = plain
                    .read_dir_utf8()
                    .is_ok_and(|mut entries| entries.next().is_none());
                if empty && !mounted {
                    return Ok(plain);
                }
            }
            Err(error) => return Err(Error::io(format!("make {plain}"))(error)),
        }
        let made = tempfile::Builder::new()
            .prefix(&format!("{name}."))
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(&parent)
            .map_err(Error::io(format!("make a directory in {parent}")))?;
        Utf8PathBuf::from_path_buf(made.keep()).map_err(|path| Error::Unexpected {
            attempted: "make a mount directory".to_owned(),
            detail: format!("{} is not UTF-8", path.display()),
        })
    }

    fn is_own_mount_directory(&self, directory: &Utf8Path) -> bool {
        directory.parent() == Some(&self.run.join("mnt"))
    }

    fn lock(&self, purpose: &str, patience: Duration) -> Result<Lock> {
        self.directory(&self.run)?;
        lock::acquire(&self.run.join("lock"), purpose, patience)
    }

    fn surroundings(&self) -> Result<Surroundings> {
        run::surroundings(self)
    }

    fn run_inside(
        &self,
        inside: &Inside,
        program: &Program,
        interrupted: &AtomicBool,
        mounted: &mut (dyn FnMut() + Send),
    ) -> std::result::Result<Ended, NotRun> {
        run::run(self, inside, program, interrupted, mounted)
    }

    fn lock_holder(&self) -> Option<String> {
        lock::holder(&self.run.join("lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 0:20 / / rw,relatime shared:1 - zfs rpool/ROOT/de\\040bian rw,xattr,posixacl
23 22 0:21 / /var rw,relatime shared:2 - zfs rpool/ROOT/de\\040bian/var rw
24 22 0:22 / /home/a\\134b rw master:1 propagate_from:2 - zfs rpool/home rw
25 22 0:23 / /proc rw - proc proc rw
26 22 0:24 / /.zfs/snapshot/x ro - zfs rpool/ROOT/debian@x ro
27 22 8:1 / /boot/efi rw - vfat /dev/vda1 rw
";

    #[test]
    fn zfs_mounts_are_read_with_their_escapes() {
        let found: Vec<(String, String)> = entries(MOUNTINFO)
            .into_iter()
            .map(|entry| (entry.dataset.to_string(), entry.directory.to_string()))
            .collect();
        assert_eq!(
            found,
            [
                ("rpool/ROOT/de bian", "/"),
                ("rpool/ROOT/de bian/var", "/var"),
                ("rpool/home", "/home/a\\b"),
            ]
            .map(|(dataset, directory)| (dataset.to_owned(), directory.to_owned()))
        );
    }

    #[test]
    fn rubbish_in_mountinfo_is_passed_over() {
        for text in [
            "",
            "x",
            "a b c d e - zfs",
            " - ",
            "\\",
            "1 2 3 4 /\\9 - zfs p/\\777 rw",
        ] {
            let _ = entries(text);
        }
        assert_eq!(unescape("a\\040b\\"), "a b\\");
        assert_eq!(unescape("\\04"), "\\04");
    }
}
