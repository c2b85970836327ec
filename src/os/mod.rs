//! What the operating system knows and does beside ZFS: which dataset is `/`,
//! what is mounted where, mounting, the lock.
//!
//! [`linux`] is the real one; the simulator ([`crate::zfs::sim`]) is its own.

pub mod container;
mod error;
pub mod firmware;
pub mod grub;
pub mod inside;
pub mod label;
pub mod linux;
pub mod loader;
mod lock;
pub mod log;
mod mirror;
mod mount;
pub mod mountinfo;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;
use serde::Serialize;

use crate::zfs::{DatasetName, PoolName, SnapshotName};
use container::{Container, Running};
pub use error::{Error, Result};
use firmware::{Boots, Extent};
use grub::{GrubChange, GrubMachine};
use inside::{Ended, Inside, NotRun, Program, Surroundings};
use label::{Label, Vendor};
use loader::{LoaderChange, LoaderPartition};
pub use lock::{Lock, LockKind};
pub use mount::{Mount, MountRequest, Namespace};

/// What has files: a dataset as it is now, or as it was in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// As it is now.
    Dataset(DatasetName),
    /// As it was.
    Snapshot(SnapshotName),
}

impl Object {
    /// The dataset it is, or is a snapshot of.
    #[must_use]
    pub fn dataset(&self) -> DatasetName {
        match self {
            Self::Dataset(name) => name.clone(),
            Self::Snapshot(name) => name.dataset(),
        }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dataset(name) => name.fmt(f),
            Self::Snapshot(name) => name.fmt(f),
        }
    }
}

/// The files of one dataset or snapshot, for as long as this lives.
#[derive(Debug)]
pub struct Files {
    /// Their root; nothing of another dataset is below it.
    pub root: Dir,
    /// Where they were copied to, in a simulation in memory.
    pub scratch: Option<tempfile::TempDir>,
}

/// A process that uses something below a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its command name.
    pub command: String,
    /// The service it belongs to.
    pub service: Option<String>,
    /// How it uses what: "has /var/mail/a open".
    pub what: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)?;
        if let Some(service) = &self.service {
            write!(f, " of {service}")?;
        }
        write!(f, " {}", self.what)
    }
}

/// What is done while datasets are mounted on directories.
pub type MountedWork<'a> = dyn FnMut(&[Utf8PathBuf]) + Send + 'a;

/// What is done with a dataset's files while they are at hand.
pub type FileWork<'a> = dyn FnMut(&Dir) -> std::io::Result<()> + Send + 'a;

/// What is done with the files of several datasets, in the order they were
/// named.
pub type EachWork<'a> = dyn FnMut(&[Dir]) -> std::io::Result<()> + Send + 'a;

/// What the running machine says of itself: its kernel and its firmware.
#[derive(Debug, Default)]
pub struct Facts {
    /// The hostid that pools are imported with; `None` where it has none.
    pub hostid: Option<u32>,
    /// The kernel's command line.
    pub command_line: String,
    /// The firmware starts what is signed and nothing else.
    pub secure_boot: bool,
    /// What is mounted on `/boot`, `/efi` and `/boot/efi` and is no dataset,
    /// without the leading slash.
    pub boot: Vec<(Utf8PathBuf, Dir)>,
}

impl Facts {
    /// The dataset the kernel was told to take for its root, if one was named.
    #[must_use]
    pub fn root(&self) -> Option<DatasetName> {
        crate::check::root_of(&self.command_line)
    }
}

/// What a boot leaves for others to see until the next one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Booted {
    /// There are records of this program: its units have something to do.
    pub records: bool,
    /// What runs is being tried, and has not been confirmed.
    pub trial: bool,
    /// What is to be told to whoever logs in.
    pub message: Option<String>,
}

/// The operating system.
pub trait Platform: Send + Sync {
    /// The dataset `/` is mounted from; `None` where it is something else.
    ///
    /// # Errors
    /// Where the mount table cannot be read.
    fn root_dataset(&self) -> Result<Option<DatasetName>>;

    /// The running system's files as it sees them itself, with all that is mounted;
    /// in a simulation those of its root dataset. `None` where `/` is no dataset.
    ///
    /// # Errors
    /// Where they cannot be opened.
    fn running_files(&self) -> Result<Option<Files>> {
        self.root_dataset()?
            .map(|root| self.open_files(&Object::Dataset(root)))
            .transpose()
    }

    /// The directories of this namespace on which anything is mounted, of whatever
    /// type.
    ///
    /// # Errors
    /// Where the mount table cannot be read.
    fn occupied(&self) -> Result<Vec<Utf8PathBuf>> {
        let mounts = self.mounts(false)?.into_iter();
        Ok(mounts.map(|mount| mount.directory).collect())
    }

    /// Every mount of a ZFS dataset: this namespace's in the order they were
    /// made, and with `all` those of every other mount namespace that can be
    /// seen (a container, a service with a private `/tmp`), which keep a
    /// dataset busy just as well.
    ///
    /// # Errors
    /// Where the mount table cannot be read.
    fn mounts(&self, all: bool) -> Result<Vec<Mount>>;

    /// Mounts one dataset.
    ///
    /// # Errors
    /// Whatever the system says.
    fn mount(&self, request: &MountRequest) -> Result<()>;

    /// Unmounts what is mounted last on a directory.
    ///
    /// # Errors
    /// [`Error::Busy`] where something in it is open and `force` is not set.
    fn unmount(&self, directory: &Utf8Path, force: bool) -> Result<()>;

    /// Mounts a dataset where the running system is to have it.
    ///
    /// # Errors
    /// Whatever the system says.
    fn mount_in_place(&self, request: &MountRequest) -> Result<()> {
        self.mount(request)
    }

    /// The processes that use what is in a directory of the running system:
    /// `below` in a dataset, by the path `directory`. That all of it is mounted on
    /// `bound` is no use of it.
    ///
    /// # Errors
    /// Where the processes cannot be listed.
    fn holders(
        &self,
        _dataset: &DatasetName,
        _below: &Utf8Path,
        _directory: &Utf8Path,
        _bound: Option<&Utf8Path>,
    ) -> Result<Vec<Holder>> {
        Ok(Vec::new())
    }

    /// Mounts a directory of the running system on another one, and has its init
    /// read the unit that does so at the next boot; with `off` the reverse.
    ///
    /// # Errors
    /// Whatever the system says.
    fn bind(&self, _from: &Utf8Path, _on: &Utf8Path, _off: bool) -> Result<()> {
        Ok(())
    }

    /// Shows what is mounted on a directory of the running system on another one too: that
    /// mount alone, and with `readonly` nothing in it can be changed there.
    ///
    /// # Errors
    /// Whatever the system says.
    fn show(&self, from: &Utf8Path, on: &Utf8Path, _readonly: bool) -> Result<()> {
        Err(Error::Unexpected {
            attempted: format!("show {from} on {on}"),
            detail: "this is a simulated machine, which has no other mounts".to_owned(),
        })
    }

    /// Makes the files of one dataset (not of those below it) available to
    /// `work` where nobody else sees them, and takes them away again, also
    /// when this process is killed.
    ///
    /// # Errors
    /// Whatever the system or `work` says.
    fn with_files(
        &self,
        dataset: &DatasetName,
        writable: bool,
        work: &mut FileWork<'_>,
    ) -> Result<()>;

    /// Opens the files of one dataset or snapshot for reading: not those of the
    /// datasets below it, and nothing that is mounted on it. Nobody sees it, and
    /// it ends with what is returned or with this process, however that ends.
    ///
    /// # Errors
    /// Whatever the system says.
    fn open_files(&self, object: &Object) -> Result<Files>;

    /// Has the datasets mounted while `work` runs, which is told where, and so
    /// have the child processes it starts; nobody else sees it, and it ends with
    /// `work` or with this process, however that ends. Where one is mounted
    /// already, that is its directory.
    ///
    /// # Errors
    /// Whatever the system says; [`Error::Unexpected`] in a simulation, where
    /// there is no other program to see them.
    fn with_mounted(&self, _datasets: &[DatasetName], _work: &mut MountedWork<'_>) -> Result<()> {
        Err(Error::Unexpected {
            attempted: "run zfs diff".to_owned(),
            detail: "this is a simulated machine".to_owned(),
        })
    }

    /// Makes the files of several datasets available to `work`, read-only, each
    /// by itself and in the order they were named; else as
    /// [`Platform::with_files`].
    ///
    /// # Errors
    /// Whatever the system or `work` says.
    fn with_each(&self, datasets: &[DatasetName], work: &mut EachWork<'_>) -> Result<()> {
        nested(self, datasets, &mut Vec::new(), work)
    }

    /// What the running machine says of itself. What cannot be read is as if it
    /// were not there.
    fn facts(&self) -> Facts {
        Facts::default()
    }

    /// Leaves word of this boot: files below `/run`, and the message of the day.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn leave(&self, _booted: &Booted) -> Result<()> {
        Ok(())
    }

    /// Leaves a message about the files of this boot for whoever logs in, beside that of
    /// [`Platform::leave`]; `None` takes it away.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn tell(&self, _message: Option<&str>) -> Result<()> {
        Ok(())
    }

    /// Reboots the machine, as its administrator would; returns at once.
    ///
    /// # Errors
    /// Whatever init says; [`Error::Unexpected`] in a simulation.
    fn reboot(&self) -> Result<()> {
        Err(Error::Unexpected {
            attempted: "reboot the machine".to_owned(),
            detail: "it is a simulated one; 'beadm-rs demo --reboot' does it".to_owned(),
        })
    }

    /// The loader's partitions that are mounted: in their usual places below a
    /// root, or in the one place that is named. None where there is no firmware
    /// that reads one.
    ///
    /// # Errors
    /// Where one is there and cannot be read.
    fn partitions(
        &self,
        _root: &Utf8Path,
        _named: Option<&Utf8Path>,
    ) -> Result<Vec<LoaderPartition>> {
        Ok(Vec::new())
    }

    /// The files of one of them, by where it is mounted.
    ///
    /// # Errors
    /// Whatever the system says.
    fn open_partition(&self, directory: &Utf8Path) -> Result<Dir> {
        Err(Error::Unexpected {
            attempted: format!("open {directory}"),
            detail: "there is no such partition".to_owned(),
        })
    }

    /// What was written to a partition is on the disk afterwards.
    ///
    /// # Errors
    /// Whatever the system says.
    fn make_durable(&self, _partition: &Dir) -> Result<()> {
        Ok(())
    }

    /// A variable of the Boot Loader Interface in the firmware; `None` where
    /// there is none.
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    /// Sets such a variable, or takes it away.
    ///
    /// # Errors
    /// Whatever the system says.
    fn set_variable(&self, name: &str, _value: Option<&str>) -> Result<()> {
        Err(Error::Unexpected {
            attempted: format!("change the EFI variable {name}"),
            detail: "there is no such firmware".to_owned(),
        })
    }

    /// What the firmware boots by options; `None` where it is none that does.
    ///
    /// # Errors
    /// Where its variables cannot be read.
    fn firmware(&self) -> Result<Option<Boots>> {
        Ok(None)
    }

    /// Sets a variable of the firmware's own, or takes it away.
    ///
    /// # Errors
    /// Whatever the system says.
    fn set_firmware(&self, name: &str, _value: Option<&[u8]>) -> Result<()> {
        Err(Error::Unexpected {
            attempted: format!("change the EFI variable {name}"),
            detail: "there is no such firmware".to_owned(),
        })
    }

    /// Where the firmware finds the partition that is mounted on a directory.
    ///
    /// # Errors
    /// Where that cannot be told, or it is on more than one disk.
    fn extent(&self, partition: &Utf8Path) -> Result<Extent> {
        Err(Error::Unexpected {
            attempted: format!("find the partition that is mounted on {partition}"),
            detail: "there is no such partition".to_owned(),
        })
    }

    /// Whose loader reads the labels of this machine's pools; `None` where none does.
    fn label_vendor(&self) -> Option<Vendor> {
        Vendor::here()
    }

    /// What the labels of a pool say to that loader.
    ///
    /// # Errors
    /// Where there is none, or they cannot be read or understood.
    fn pool_label(&self, pool: &PoolName) -> Result<Label> {
        match self.label_vendor() {
            Some(vendor) => vendor.read(pool),
            None => Err(label::nothing_reads(pool)),
        }
    }

    /// Has something boot once by the labels of a pool, or nothing.
    ///
    /// # Errors
    /// As for [`Platform::pool_label`], or where they cannot be written.
    fn set_pool_label(&self, pool: &PoolName, once: Option<&str>) -> Result<()> {
        match self.label_vendor() {
            Some(vendor) => vendor.write(pool, once),
            None => Err(label::nothing_reads(pool)),
        }
    }

    /// The program of the dead man's switch, as it is installed; `None` where it is
    /// not.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn watch_program(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// The dead man's switch of this boot is there.
    fn is_watched(&self) -> bool {
        false
    }

    /// Ends the dead man's switch of this boot; whether there was one.
    ///
    /// # Errors
    /// Where it is still there.
    fn end_watch(&self) -> Result<bool> {
        Ok(false)
    }

    /// There is a hardware watchdog that can be stopped again.
    fn has_watchdog(&self) -> bool {
        false
    }

    /// Makes one change of a loader's files or variables.
    ///
    /// # Errors
    /// Whatever the system says; what is in use is whole either way.
    fn change_loader(&self, change: &LoaderChange) -> Result<()> {
        loader::perform(self, change)
    }

    /// How GRUB is installed on this machine, with its files on the loader's
    /// partition that is mounted there.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn grub_machine(&self, partition: &Utf8Path) -> Result<GrubMachine> {
        Err(Error::Unexpected {
            attempted: format!("look how GRUB is installed with its files on {partition}"),
            detail: "there is no such loader".to_owned(),
        })
    }

    /// Has GRUB's programs do something, or makes their place.
    ///
    /// # Errors
    /// Whatever they say.
    fn change_grub(&self, change: &GrubChange) -> Result<()> {
        Err(Error::Unexpected {
            attempted: change.to_string(),
            detail: "there is no such loader".to_owned(),
        })
    }

    /// A new empty directory to mount an environment on, that only root can
    /// have made.
    ///
    /// # Errors
    /// Whatever the system says.
    fn new_mount_directory(&self, name: &str) -> Result<Utf8PathBuf>;

    /// Whether a directory is one [`Platform::new_mount_directory`] made.
    fn is_own_mount_directory(&self, directory: &Utf8Path) -> bool;

    /// Takes the lock of a kind of work, waiting for `patience`. `purpose` is left for
    /// others to read.
    ///
    /// # Errors
    /// [`Error::Locked`] where it is still held after that.
    fn lock(&self, kind: LockKind, purpose: &str, patience: Duration) -> Result<Lock>;

    /// Who holds it now: as in [`Error::Locked`]; `None` where nobody does.
    fn lock_holder(&self, kind: LockKind) -> Option<String>;

    /// Has the running system start units at its boots, or not any more. Those it
    /// already does that with stay as they are.
    ///
    /// # Errors
    /// Whatever the system says.
    fn enable(&self, units: &[(String, Vec<String>)], off: bool) -> Result<()>;

    /// What of the running machine a command inside an environment is shown a
    /// version of.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn surroundings(&self) -> Result<Surroundings>;

    /// Runs a command inside an environment, in namespaces of its own, with
    /// nothing of the running machine's disks, firmware and loader in reach.
    /// `mounted` is called when everything is mounted. When this returns, and
    /// when this process is killed, nothing of it runs or is mounted any more.
    ///
    /// # Errors
    /// Why the command did not run.
    fn run_inside(
        &self,
        inside: &Inside,
        program: &Program,
        interrupted: &AtomicBool,
        mounted: &mut (dyn FnMut() + Send),
    ) -> std::result::Result<Ended, NotRun>;

    /// Starts an environment that is mounted as a contained system: with a command, on the
    /// caller's terminal, whose exit status is returned when it has ended; without one it
    /// boots, and goes on when this returns.
    ///
    /// # Errors
    /// Why it did not start.
    fn contain(&self, container: &Container) -> Result<u8> {
        Err(Error::Unexpected {
            attempted: format!("start {} as a contained system", container.root),
            detail: "this is a simulated machine, which starts none".to_owned(),
        })
    }

    /// The contained systems that run now.
    ///
    /// # Errors
    /// Where the system does not say.
    fn contained(&self) -> Result<Vec<Running>> {
        Ok(Vec::new())
    }

    /// Ends a contained system, and waits until it has.
    ///
    /// # Errors
    /// Where it does not end.
    fn end_contained(&self, _running: &Running) -> Result<()> {
        Ok(())
    }

    /// A new file that only root can read, for what a command says; and where it
    /// is. It outlives the machine's next boot.
    ///
    /// # Errors
    /// There is such a file, or who could change it is not root.
    fn new_log(&self, name: &str) -> Result<(Utf8PathBuf, std::fs::File)>;

    /// A directory of root's own that is empty after each boot, made where it is
    /// not there.
    ///
    /// # Errors
    /// Whatever the system says.
    fn volatile(&self, name: &str) -> Result<Utf8PathBuf>;

    /// This process sees the whole machine: it is in no container, and its root is
    /// that of process 1.
    fn is_whole(&self) -> bool {
        true
    }
}

/// One dataset's files after the other's, until all are at hand.
fn nested<P: Platform + ?Sized>(
    platform: &P,
    datasets: &[DatasetName],
    dirs: &mut Vec<Dir>,
    work: &mut EachWork<'_>,
) -> Result<()> {
    let Some((first, rest)) = datasets.split_first() else {
        return work(dirs).map_err(Error::io("work with the files of several datasets"));
    };
    let mut done = Ok(());
    platform.with_files(first, false, &mut |dir| {
        dirs.push(dir.try_clone()?);
        done = nested(platform, rest, dirs, work);
        dirs.pop();
        Ok(())
    })?;
    done
}
