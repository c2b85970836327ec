//! What libzetta does in place of a command: sending a stream.
//!
//! Of libzetta 0.5.0 `ZfsLzc::new` and `ZfsLzc::send_full` are called, and
//! nothing else. ARCHITECTURE.md ("The engines") says which of its calls are
//! sound, and why the other sound ones are of no use here.

use std::io::PipeWriter;

use libzetta::zfs::{Error as LibraryError, SendFlags, ZfsEngine as _, ZfsLzc};

use super::{Error, ErrorKind, Result, Transfer};

/// libzfs_core, opened.
pub(super) struct Library(ZfsLzc);

impl Library {
    /// Opens it; `None` where there is no `/dev/zfs`, of which `zfs` says more.
    pub(super) fn open() -> Option<Self> {
        ZfsLzc::new().ok().map(Self)
    }

    /// Sends the snapshot into a pipe, which is closed afterwards. It ends
    /// with an error at the next write once nobody reads the pipe.
    ///
    /// # Errors
    /// What the kernel says. Names pass through unchanged, whatever characters
    /// they have: this call checks none.
    pub(super) fn send(&self, transfer: &Transfer, into: PipeWriter) -> Result<()> {
        self.0
            .send_full(transfer.snapshot.as_str(), into, flags(transfer))
            .map_err(|error| failed(transfer, &error))
    }
}

/// Those of `zfs send` and `zfs send -w` (`zfs_do_send` in `zfs_main.c`).
fn flags(transfer: &Transfer) -> SendFlags {
    if transfer.raw {
        SendFlags::LZC_SEND_FLAG_RAW
            | SendFlags::LZC_SEND_FLAG_COMPRESS
            | SendFlags::LZC_SEND_FLAG_EMBED_DATA
            | SendFlags::LZC_SEND_FLAG_LARGE_BLOCK
    } else {
        SendFlags::empty()
    }
}

fn failed(transfer: &Transfer, error: &LibraryError) -> Error {
    let attempted = format!("send {} to {}", transfer.snapshot, transfer.target);
    let errno = match error {
        LibraryError::Io(error) => error.raw_os_error(),
        _ => None,
    };
    let Some(errno) = errno else {
        return Error::new(ErrorKind::Other, attempted, format!("libzetta: {error:?}"));
    };
    let snapshot = &transfer.snapshot;
    match ErrorKind::from_errno(errno) {
        kind @ ErrorKind::NotFound => {
            Error::new(kind, attempted, format!("{snapshot} does not exist"))
        }
        kind @ ErrorKind::Key => Error::new(
            kind,
            attempted,
            format!("the key of {} is not loaded", snapshot.dataset()),
        ),
        kind => Error::new(kind, attempted, std::io::Error::from_raw_os_error(errno)),
    }
}
