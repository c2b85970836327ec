//! Linux: `/proc` and mount(8).

pub mod ancestry;
mod booted;
mod container;
mod device;
mod facts;
mod grub;
mod holders;
pub mod init;
mod loader;
mod namespace;
mod private;
mod run;
mod tree;
mod watch;

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

use super::container::{Container, Running};
use super::firmware::{Boots, Extent};
use super::grub::{GrubChange, GrubMachine};
use super::inside::{Ended, Inside, NotRun, Program, Surroundings};
use super::loader::LoaderPartition;
use super::mountinfo::{self, Entry};
use super::{
    Booted, EachWork, Error, Facts, FileWork, Files, Holder, Lock, LockKind, Mount, MountRequest,
    MountedWork, Namespace, Object, Platform, Result, log,
};
use crate::sys::{command, lock};
use crate::zfs::DatasetName;

/// Where this program keeps what lasts until the next boot.
const RUN: &str = "/run/beadm-rs";

/// Where it keeps what long commands say.
const LOGS: &str = "/var/log/beadm-rs";

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

fn unexpected(attempted: &str) -> impl FnOnce(mountinfo::MountinfoError) -> Error {
    let attempted = attempted.to_owned();
    move |error| Error::Unexpected {
        attempted,
        detail: error.to_string(),
    }
}

impl Linux {
    fn mountinfo(&self) -> Result<Vec<u8>> {
        let path = self.proc.join("self/mountinfo");
        fs::read(&path).map_err(Error::io(format!("read {path}")))
    }

    fn read_own(&self) -> Result<Vec<Entry>> {
        mountinfo::entries(&self.mountinfo()?).map_err(unexpected("read the mounts"))
    }

    /// The mounts of every other namespace, each looked at through the first
    /// process found in it. Processes come and go, and other users' cannot be
    /// read without being root: what cannot be read is left out.
    fn read_others(&self) -> Result<Vec<Mount>> {
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
            let text = fs::read(directory.join("mountinfo")).unwrap_or_default();
            let entries = mountinfo::entries(&text)
                .map_err(unexpected(&format!("read the mounts of process {pid}")))?;
            let command = fs::read(directory.join("comm")).unwrap_or_default();
            mounts.extend(entries.into_iter().map(|entry| Mount {
                dataset: entry.dataset,
                directory: entry.directory,
                namespace: Namespace::Of {
                    pid,
                    command: String::from_utf8_lossy(&command).trim().to_owned(),
                },
            }));
        }
        Ok(mounts)
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

/// Runs a program of the system's, which has to succeed.
fn succeed(attempted: &str, program: &str, arguments: &[String]) -> Result<()> {
    let failed = |detail: String| Error::Unexpected {
        attempted: attempted.to_owned(),
        detail,
    };
    let path =
        command::find(program).ok_or_else(|| failed(format!("{program} is not installed")))?;
    let finished =
        command::run(&path, arguments, None).map_err(Error::io(format!("start {path}")))?;
    if finished.status.success() {
        return Ok(());
    }
    Err(failed(if finished.stderr.is_empty() {
        format!("{program} ended with {}", finished.status)
    } else {
        finished.stderr
    }))
}

impl Platform for Linux {
    fn root_dataset(&self) -> Result<Option<DatasetName>> {
        Ok(mountinfo::root(&self.mountinfo()?))
    }

    fn running_files(&self) -> Result<Option<Files>> {
        if self.root_dataset()?.is_none() {
            return Ok(None);
        }
        let root = Dir::open_ambient_dir("/", ambient_authority()).map_err(Error::io("open /"))?;
        Ok(Some(Files {
            root,
            scratch: None,
        }))
    }

    fn occupied(&self) -> Result<Vec<Utf8PathBuf>> {
        Ok(mountinfo::directories(&self.mountinfo()?))
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
            mounts.extend(self.read_others()?);
        }
        Ok(mounts)
    }

    fn mount(&self, request: &MountRequest) -> Result<()> {
        let attempted = format!("mount {} on {}", request.dataset, request.directory);
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
        succeed(&attempted, "mount", &arguments)
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

    fn holders(
        &self,
        dataset: &DatasetName,
        below: &Utf8Path,
        directory: &Utf8Path,
        bound: Option<&Utf8Path>,
    ) -> Result<Vec<Holder>> {
        self.find_holders(dataset, below, directory, bound)
    }

    fn bind(&self, from: &Utf8Path, on: &Utf8Path, off: bool) -> Result<()> {
        let attempted = format!("mount {from} on {on}");
        let mounted = self.occupied()?.iter().any(|other| other == on);
        if off && mounted {
            self.unmount(on, false)?;
        } else if !off && !mounted {
            let none = None::<&str>;
            let from = Some(from.as_std_path());
            nix::mount::mount(from, on.as_std_path(), none, MsFlags::MS_BIND, none)
                .map_err(Error::io(attempted))?;
        }
        // sd_booted(3): elsewhere there is nothing to tell.
        if Utf8Path::new("/run/systemd/system").is_dir() {
            succeed(
                "have systemd read its units",
                "systemctl",
                &["daemon-reload".to_owned()],
            )?;
        }
        Ok(())
    }

    fn show(&self, from: &Utf8Path, on: &Utf8Path, readonly: bool) -> Result<()> {
        let none = None::<&str>;
        let mount = |from: Option<&Utf8Path>, flags| {
            let from = from.map(Utf8Path::as_std_path);
            nix::mount::mount(from, on.as_std_path(), none, flags, none)
                .map_err(Error::io(format!("mount {on}")))
        };
        mount(Some(from), MsFlags::MS_BIND)?;
        if !readonly {
            return Ok(());
        }
        // A new bind mount has the flags of the old one (mount(2), "Creating a bind mount").
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let closed = mount(None, flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        if closed.is_err() {
            let _ = self.unmount(on, true);
        }
        closed
    }

    fn with_files(
        &self,
        dataset: &DatasetName,
        writable: bool,
        work: &mut FileWork<'_>,
    ) -> Result<()> {
        self.privately(std::slice::from_ref(dataset), writable, &mut |dirs| {
            dirs.iter().try_for_each(&mut *work)
        })
    }

    fn with_each(&self, datasets: &[DatasetName], work: &mut EachWork<'_>) -> Result<()> {
        self.privately(datasets, false, work)
    }

    fn facts(&self) -> Facts {
        self.known()
    }

    fn open_files(&self, object: &Object) -> Result<Files> {
        self.opened(object)
    }

    fn with_mounted(&self, datasets: &[DatasetName], work: &mut MountedWork<'_>) -> Result<()> {
        self.mounted(datasets, work)
    }

    fn leave(&self, booted: &Booted) -> Result<()> {
        Self::leave(self, booted)
    }

    fn tell(&self, message: Option<&str>) -> Result<()> {
        self.tell_of_files(message)
    }

    fn reboot(&self) -> Result<()> {
        booted::reboot()
    }

    fn partitions(
        &self,
        root: &Utf8Path,
        named: Option<&Utf8Path>,
    ) -> Result<Vec<LoaderPartition>> {
        loader::partitions(self, root, named)
    }

    fn open_partition(&self, directory: &Utf8Path) -> Result<Dir> {
        loader::open_partition(directory)
    }

    fn make_durable(&self, partition: &Dir) -> Result<()> {
        loader::make_durable(partition)
    }

    fn watch_program(&self) -> Result<Option<Vec<u8>>> {
        watch::program()
    }

    fn has_watchdog(&self) -> bool {
        watch::has_watchdog("/sys/class/watchdog".into())
    }

    fn is_watched(&self) -> bool {
        Self::is_watched(self)
    }

    fn end_watch(&self) -> Result<bool> {
        self.end_switch()
    }

    fn variable(&self, name: &str) -> Option<String> {
        loader::variable(name)
    }

    fn set_variable(&self, name: &str, value: Option<&str>) -> Result<()> {
        loader::set_variable(name, value)
    }

    fn firmware(&self) -> Result<Option<Boots>> {
        loader::firmware()
    }

    fn set_firmware(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        loader::set_firmware(name, value)
    }

    fn extent(&self, partition: &Utf8Path) -> Result<Extent> {
        loader::extent(self, partition)
    }

    fn grub_machine(&self, partition: &Utf8Path) -> Result<GrubMachine> {
        grub::machine(self, partition)
    }

    fn change_grub(&self, change: &GrubChange) -> Result<()> {
        grub::change(self, change)
    }

    fn new_mount_directory(&self, name: &str) -> Result<Utf8PathBuf> {
        // An older environment has older programs with set-user-ID, which
        // nobody else is to run while it is mounted.
        let parent = self.run.join("mnt");
        self.directory(&parent)?;
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o700))
            .map_err(Error::io(format!("close {parent} to others")))?;
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

    fn lock(&self, kind: LockKind, purpose: &str, patience: Duration) -> Result<Lock> {
        self.directory(&self.run)?;
        lock::acquire(&self.run.join(kind.file()), purpose, patience)
    }

    fn lock_holder(&self, kind: LockKind) -> Option<String> {
        lock::holder(&self.run.join(kind.file()))
    }

    fn enable(&self, units: &[(String, Vec<String>)], off: bool) -> Result<()> {
        let verb = if off { "disable" } else { "enable" };
        let names: Vec<&str> = units.iter().map(|(name, _)| name.as_str()).collect();
        let attempted = format!("{verb} {}", names.join(", "));
        let arguments: Vec<String> = ["--quiet", verb, "--"]
            .into_iter()
            .chain(names)
            .map(str::to_owned)
            .collect();
        succeed(&attempted, "systemctl", &arguments)
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

    fn contain(&self, container: &Container) -> Result<u8> {
        container::start(container)
    }

    fn contained(&self) -> Result<Vec<Running>> {
        container::list()
    }

    fn end_contained(&self, running: &Running) -> Result<()> {
        container::end(running)
    }

    fn new_log(&self, name: &str) -> Result<(Utf8PathBuf, fs::File)> {
        log::create(Utf8Path::new(LOGS), name)
    }

    fn volatile(&self, name: &str) -> Result<Utf8PathBuf> {
        let path = self.run.join(name);
        self.directory(&path)?;
        Ok(path)
    }

    fn is_whole(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let root = |path: &Utf8Path| {
            let found = fs::metadata(path).ok()?;
            Some((found.dev(), found.ino()))
        };
        let own = root(Utf8Path::new("/"));
        // Both file system and directory: a container's root is one of its own.
        own.is_some()
            && own == root(&self.proc.join("1/root"))
            && !Utf8Path::new("/run/systemd/container").exists()
    }
}
