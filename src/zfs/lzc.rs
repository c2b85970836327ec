//! What libzfs_core does in place of a command: sending a stream, by libzetta, and making a
//! clone, by zfs-core, since libzetta has no call for that.
//!
//! Of libzetta 0.5.0 `ZfsLzc::new` and `ZfsLzc::send_full` are called, and of zfs-core 0.5.0
//! `Zfs::new` and `Zfs::clone_dataset`. ARCHITECTURE.md ("The engines") says which calls are
//! sound, and why the other sound ones are of no use here.

use std::io::PipeWriter;

use libzetta::zfs::{Error as LibraryError, SendFlags, ZfsEngine as _, ZfsLzc};
use nvpair::NvList;

use super::{CloneOf, Error, ErrorKind, Result, Transfer};

/// libzfs_core, opened.
pub(super) struct Library {
    libzetta: ZfsLzc,
    core: zfs_core::Zfs,
}

impl Library {
    /// Opens it; `None` where there is no `/dev/zfs`, of which `zfs` says more.
    pub(super) fn open() -> Option<Self> {
        Some(Self {
            libzetta: ZfsLzc::new().ok()?,
            core: zfs_core::Zfs::new().ok()?,
        })
    }

    /// Makes a clone without its settings.
    ///
    /// # Errors
    /// What the kernel says, as an errno and nothing else.
    pub(super) fn clone(&self, clone: &CloneOf) -> std::io::Result<()> {
        let mut none = NvList::try_new()?;
        let (target, snapshot) = (clone.target.as_str(), clone.snapshot.as_str());
        self.core.clone_dataset(target, snapshot, &mut none)
    }

    /// Sends the snapshot into a pipe, which is closed afterwards. It ends
    /// with an error at the next write once nobody reads the pipe.
    ///
    /// # Errors
    /// What the kernel says. Names pass through unchanged, whatever characters
    /// they have: this call checks none.
    pub(super) fn send(&self, transfer: &Transfer, into: PipeWriter) -> Result<()> {
        self.libzetta
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
