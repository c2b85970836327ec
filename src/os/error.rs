//! Why the operating system did not do something.

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
