//! What the operating system knows and does beside ZFS: which dataset is `/`,
//! what is mounted where, mounting, the lock.
//!
//! [`linux`] is the real one; the simulator ([`crate::zfs::sim`]) is its own.

pub mod inside;
pub mod linux;

use std::fs::File;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;
use serde::Serialize;

use crate::zfs::DatasetName;
use inside::{Ended, Inside, NotRun, Program, Surroundings};

/// Why the operating system did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, directory or mount.
    #[error("cannot {attempted}: {cause}")]
    Io {
        /// What was attempted, as a phrase.
        attempted: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// In use by something.
    #[error("cannot {attempted}: {detail}")]
    Busy {
        /// What was attempted, as a phrase.
        attempted: String,
        /// By what.
        detail: String,
    },
    /// Another process of this program holds the lock.
    #[error("another beadm-rs is at work{holder}")]
    Locked {
        /// " (pid 123: create new)", or nothing where it is not known.
        holder: String,
    },
    /// What was read is not what was expected.
    #[error("cannot {attempted}: {detail}")]
    Unexpected {
        /// What was attempted, as a phrase.
        attempted: String,
        /// What was found.
        detail: String,
    },
}

impl Error {
    /// For `map_err` on an `std::io` call.
    pub fn io<E: Into<std::io::Error>>(attempted: impl Into<String>) -> impl FnOnce(E) -> Self {
        let attempted = attempted.into();
        move |cause| Self::Io {
            attempted,
            cause: cause.into(),
        }
    }
}

/// What every call of a platform returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose mount it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// This process's own.
    Own,
    /// Another one; a process in it, and its name.
    Of {
        /// The process.
        pid: u32,
        /// Its command name, `/proc/<pid>/comm`.
        command: String,
    },
}

/// A dataset mounted somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The dataset.
    pub dataset: DatasetName,
    /// The directory.
    pub directory: Utf8PathBuf,
    /// In which mount namespace.
    pub namespace: Namespace,
}

/// A dataset to be mounted on a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountRequest {
    /// The dataset.
    pub dataset: DatasetName,
    /// The directory; it exists.
    pub directory: Utf8PathBuf,
    /// Read-only whatever its properties say.
    pub readonly: bool,
    /// Its mountpoint is `legacy`, so that mount(8) wants to be called differently.
    pub legacy: bool,
}

/// Lets go of the lock when dropped.
#[derive(Debug)]
pub struct Lock {
    /// The locked file; the lock ends with it.
    pub file: nix::fcntl::Flock<File>,
}

/// What is done with a dataset's files while they are at hand.
pub type FileWork<'a> = dyn FnMut(&Dir) -> std::io::Result<()> + Send + 'a;

/// The operating system.
pub trait Platform: Send + Sync {
    /// The dataset `/` is mounted from; `None` where it is something else.
    ///
    /// # Errors
    /// Where the mount table cannot be read.
    fn root_dataset(&self) -> Result<Option<DatasetName>>;

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

    /// A new empty directory to mount an environment on, that only root can
    /// have made.
    ///
    /// # Errors
    /// Whatever the system says.
    fn new_mount_directory(&self, name: &str) -> Result<Utf8PathBuf>;

    /// Whether a directory is one [`Platform::new_mount_directory`] made.
    fn is_own_mount_directory(&self, directory: &Utf8Path) -> bool;

    /// Takes the lock that every changing command holds, waiting for `patience`.
    /// `purpose` is left for others to read.
    ///
    /// # Errors
    /// [`Error::Locked`] where it is still held after that.
    fn lock(&self, purpose: &str, patience: Duration) -> Result<Lock>;

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

    /// Who holds the lock now: as in [`Error::Locked`]; `None` where nobody does.
    fn lock_holder(&self) -> Option<String>;
}
