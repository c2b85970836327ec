//! Why the simulated machine did not do it, before it is known what was
//! attempted: what a check function of the kernel returns.

use nix::errno::Errno;

use crate::os;
use crate::zfs::{Error, ErrorKind};

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The class, the same as the real engine's.
    pub(super) kind: ErrorKind,
    /// The reason, for a person.
    pub(super) why: String,
}

/// What a rule returns.
pub(super) type Ruled<T> = std::result::Result<T, Refusal>;

/// The refusal a kernel function expresses by that errno.
pub(super) fn refusal(errno: Errno, why: impl Into<String>) -> Refusal {
    Refusal {
        kind: ErrorKind::from_errno(errno as i32),
        why: why.into(),
    }
}

/// A refusal as the result of a rule.
pub(super) fn refuse<T>(errno: Errno, why: impl Into<String>) -> Ruled<T> {
    Err(refusal(errno, why))
}

impl Refusal {
    /// One that is the simulation's own and no rule of ZFS.
    pub(super) fn other(why: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Other,
            why: why.into(),
        }
    }

    /// The engine's error.
    pub(super) fn attempting(self, attempted: impl std::fmt::Display) -> Error {
        Error::new(self.kind, attempted, self.why)
    }

    /// The platform's error.
    pub(super) fn platform(self, attempted: impl Into<String>) -> os::Error {
        let attempted = attempted.into();
        match self.kind {
            ErrorKind::Busy => os::Error::Busy {
                attempted,
                detail: self.why,
            },
            _ => os::Error::Unexpected {
                attempted,
                detail: self.why,
            },
        }
    }
}

/// For `map_err` on a call for the simulator's own files.
pub(super) fn file_error(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Refusal {
    let what = what.into();
    move |error| Refusal::other(format!("{what}: {error}"))
}
