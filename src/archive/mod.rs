//! Trees of datasets as one file or through one pipe.
//!
//! Everything here is pure or works on what reads and writes: no ZFS, no
//! processes, no names of files. Whatever is read was written by others.
//!
//! - [`manifest`]: what is in an archive, said before it comes; [`policy`]: which
//!   properties travel.
//! - [`record`]: the pieces of an archive; [`write`], [`read`]: all of it.
//! - [`stream`]: ZFS's own streams, as far as it takes to know where one ends;
//!   [`replay`]: their records; [`package`]: what `zfs send -R` puts around them, with
//!   [`nvlist`].
//! - [`resume`]: the rest of a stream of which a part is there already, from the point
//!   that a [`token`] names; [`native`] and [`fletcher`]: lists and checksums as the
//!   kernel makes them. [`simulated`]: streams of the simulated machine.
//! - [`input`]: what it is that comes in; [`offer`]: what can be had from it.
//!
//! The format, version 1. Numbers are little-endian.
//!
//! ```text
//! "beadm-rs archive 1\n"
//! record 0           MANI   the manifest, JSON
//! for each dataset   DATA … a part of its stream, at most 1 MiB (4 are read)
//!                    DEND   how long the stream is
//! the last record    DONE   SHA-256 over the checksums of all records before it
//! ```
//!
//! A record is a header of 64 bytes and what it announces: four letters, the
//! dataset's number (`u32`), the record's number (`u64`), bytes that follow
//! (`u32`), bytes they are unpacked (`u32`), how they are packed (`u8`: 0 not, 1
//! zstd), seven zeros, and SHA-256 over these 32 bytes and what follows.

pub mod fletcher;
pub mod input;
pub mod manifest;
pub mod native;
pub mod nvlist;
pub mod offer;
pub mod package;
pub mod policy;
pub mod read;
pub mod record;
pub mod replay;
pub mod resume;
pub mod simulated;
pub mod stream;
pub mod token;
pub mod write;

#[cfg(test)]
mod tests;

use std::io;

pub use input::Input;
pub use manifest::Manifest;
pub use offer::Offer;
pub use read::Reader;
pub use write::Writer;

/// Why an archive or a stream is not read or written to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not go on where it should.
    #[error("it ends too early, {0}")]
    Truncated(String),
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It is whole, and not to be trusted or not understood.
    #[error("{0}")]
    Refused(String),
    /// It does not have the point from which it was to go on.
    #[error("it does not go on where it broke off: {0}")]
    Point(String),
    /// The file or the pipe.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Somebody ended it.
    #[error("interrupted")]
    Interrupted,
}

/// What everything here returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn damaged(why: impl ToString) -> Self {
        Self::Damaged(why.to_string())
    }

    pub(crate) fn refused(why: impl ToString) -> Self {
        Self::Refused(why.to_string())
    }
}

/// As an error of what reads or writes, to go through what knows only those.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            other => Self::other(other),
        }
    }
}

/// What [`From`] made of it, back.
#[must_use]
pub fn unwrapped(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::Io(error),
    }
}

/// Reads exactly so much; says where it ended if it does not.
pub(crate) fn fill(input: &mut (impl io::Read + ?Sized), into: &mut [u8], at: &str) -> Result<()> {
    input.read_exact(into).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Error::Truncated(at.to_owned())
        } else {
            unwrapped(error)
        }
    })
}
