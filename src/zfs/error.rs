//! What can go wrong between this program and ZFS.

use std::fmt;

use nix::errno::Errno;

/// The class of a failure; the same on every engine (the differential test
/// compares these).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The pool, dataset or snapshot is not there.
    NotFound,
    /// Something of that name is there already.
    Exists,
    /// Mounted, being sent or received, or otherwise in use.
    Busy,
    /// Snapshots hang on it, or clones hang on the snapshot.
    HasDependents,
    /// No space, or a quota is reached.
    NoSpace,
    /// The pool is imported read-only.
    ReadOnly,
    /// The pool is suspended or its devices fail.
    Io,
    /// Not root, or not delegated.
    PermissionDenied,
    /// The encryption key is not loaded, or the operation would break its root.
    Key,
    /// The name or value is not one ZFS takes.
    Invalid,
    /// Not what this object or this engine can do.
    Unsupported,
    /// `zfs` or `zpool` is not installed, or the kernel module not loaded.
    Missing,
    /// The program printed what this one does not understand.
    Unexpected,
    /// The user asked to stop.
    Interrupted,
    /// Anything else; the detail says what.
    Other,
}

impl ErrorKind {
    /// The class of an errno out of the ZFS kernel module.
    #[must_use]
    pub fn from_errno(errno: i32) -> Self {
        match Errno::from_raw(errno) {
            Errno::ENOENT | Errno::ESRCH => Self::NotFound,
            Errno::EEXIST => Self::Exists,
            Errno::EBUSY => Self::Busy,
            Errno::ENOSPC | Errno::EDQUOT => Self::NoSpace,
            Errno::EROFS => Self::ReadOnly,
            Errno::EIO | Errno::EAGAIN => Self::Io,
            Errno::EPERM => Self::PermissionDenied,
            Errno::EACCES => Self::Key,
            Errno::EINVAL | Errno::ENAMETOOLONG | Errno::E2BIG => Self::Invalid,
            Errno::ENOTSUP | Errno::EXDEV => Self::Unsupported,
            _ => Self::Other,
        }
    }
}

/// One failed call of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The class.
    pub kind: ErrorKind,
    /// What was attempted and on what, as a phrase: "promote rpool/ROOT/a".
    pub attempted: String,
    /// What ZFS said, one line or a few.
    pub detail: String,
    /// Operations before it in the same transaction were done and stay done.
    pub partial: bool,
}

impl Error {
    /// An error out of its three parts.
    pub fn new(kind: ErrorKind, attempted: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self {
            kind,
            attempted: attempted.to_string(),
            detail: detail.to_string(),
            partial: false,
        }
    }

    /// The same, with whether operations before it stay done.
    #[must_use]
    pub fn partial(mut self, partial: bool) -> Self {
        self.partial = partial;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.attempted, self.detail)
    }
}

impl std::error::Error for Error {}

/// What every call of an engine returns.
pub type Result<T> = std::result::Result<T, Error>;
