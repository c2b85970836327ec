//! A command run inside an environment that the machine does not run from: what
//! is asked of the operating system, and what it answers.

use std::ffi::OsString;
use std::fs::File;

use camino::Utf8PathBuf;
use serde::Serialize;

use super::Error;
use crate::zfs::DatasetName;

/// A file system of the running machine that belongs to its loader, or to all
/// environments: mounted on or below `/boot`, `/efi` or `/var/share`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderMount {
    /// The directory.
    pub directory: Utf8PathBuf,
    /// The file system's type: `vfat`, `ext4`, `zfs`.
    pub kind: String,
    /// The device or dataset.
    pub source: String,
}

/// Where what all environments share is mounted. The running machine works on
/// it, so that a command inside gets a version of its own.
pub const SHARED: &str = "/var/share";

/// What of the running machine an environment is shown a version of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// The kernel's command line.
    pub command_line: String,
    /// What its loader's files, and what environments share, lie on, in the order
    /// they were mounted.
    pub loader: Vec<LoaderMount>,
}

/// A dataset of the environment and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The dataset.
    pub dataset: DatasetName,
    /// The place below the environment's root, without the leading slash; empty
    /// for the root itself.
    pub below: Utf8PathBuf,
    /// Its mountpoint is `legacy`.
    pub legacy: bool,
}

/// How a private version of a loader's file system comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Every file copied into memory: overlayfs does not take FAT as its lower
    /// layer (`ovl_dentry_weird`, fs/overlayfs/util.c).
    Copied,
    /// An overlay in memory over the running machine's, which is only read.
    Overlaid,
    /// Nothing is mounted there in the running machine.
    Empty,
}

/// A place that shows a private version of what the running machine has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Private {
    /// The place, from the environment's root, with the leading slash.
    pub place: Utf8PathBuf,
    /// How it comes about.
    pub origin: Origin,
}

/// What is mounted for a command inside an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Its datasets in the order they are mounted, the root first.
    pub datasets: Vec<Placed>,
    /// The loader's places.
    pub private: Vec<Private>,
    /// What `/proc/cmdline` says inside.
    pub command_line: String,
}

/// Where what a command writes goes, and who is there to be asked.
#[derive(Debug)]
pub enum Output {
    /// The caller's terminal, or whatever it has instead.
    Callers,
    /// The same, but all of it to standard error.
    StandardError,
    /// This file or pipe. Nobody is there to be asked: standard input is empty.
    /// A signal that asks this program to end asks the command; the second one
    /// kills it, with everything it started.
    To(File),
}

/// The command.
#[derive(Debug)]
pub struct Program {
    /// It and its arguments; empty for root's shell.
    pub words: Vec<OsString>,
    /// Where what it writes goes.
    pub output: Output,
    /// What its environment has besides.
    pub environment: Vec<(&'static str, &'static str)>,
}

/// What happened to a file of a private place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It was not there before.
    Created,
    /// Its content is another one.
    Changed,
    /// It is not there any more.
    Removed,
}

impl What {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// A change in a private place, which is thrown away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The file, from the environment's root. Bytes that are no UTF-8 are
    /// replaced.
    pub path: Utf8PathBuf,
    /// What happened to it.
    pub what: What,
}

/// How the command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, or 128 and the number of the signal that killed it.
    pub status: u8,
    /// What it changed in private places.
    pub changes: Vec<Change>,
    /// What could not be provided inside, one sentence each.
    pub notes: Vec<String>,
}

/// Why the command did not run.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// The environment could not be made ready.
    #[error(transparent)]
    Os(#[from] Error),
    /// There is no such command in it.
    #[error("{0}")]
    NotFound(String),
    /// It is there and cannot be executed.
    #[error("{0}")]
    NotExecutable(String),
    /// A signal came while it was made ready.
    #[error("interrupted before the command was started")]
    Interrupted,
}
