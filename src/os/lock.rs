//! What goes on alone on a machine.

use std::fs::File;

/// A kind of work of which there is one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Anything that changes something.
    Change,
    /// An upgrade, from its beginning to its end, while other commands may change
    /// something.
    Upgrade,
    /// An export, likewise: what it is sent to may be a command that changes something.
    Export,
}

impl LockKind {
    /// What its file is called.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Change => "lock",
            Self::Upgrade => "upgrade.lock",
            Self::Export => "export.lock",
        }
    }
}

/// Lets go of the lock when dropped.
#[derive(Debug)]
pub struct Lock {
    /// The locked file; the lock ends with it.
    pub file: nix::fcntl::Flock<File>,
}
