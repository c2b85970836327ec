//! Mounts of datasets, as they are and as they are asked for.

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::zfs::DatasetName;

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

impl Mount {
    /// It is `/boot` of the running system.
    #[must_use]
    pub fn is_boot(&self) -> bool {
        self.namespace == Namespace::Own && self.directory == "/boot"
    }
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
