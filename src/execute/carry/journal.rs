//! What a synchronization is going to do to the target, written there before
//! anything of it is done: whoever takes it back has to know its own work from
//! what somebody else did meanwhile.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::diff::tree::optional;
use crate::intent::OpId;
use crate::sync::version::open_file;
use crate::zfs::DatasetName;

/// The version of the format.
const VERSION: u32 = 1;

/// The largest that is read, bytes: hundreds of thousands of files.
const MAX_BYTES: u64 = 256 << 20;

/// One path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The dataset it is in.
    pub dataset: DatasetName,
    /// From that dataset's root.
    pub path: Vec<u8>,
    /// The digest of what was there.
    pub was: Option<String>,
    /// The digest of what is to be there.
    pub to: Option<String>,
}

/// All of them; the number of one is in the name of its temporary file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    v: u32,
    id: OpId,
    pub entries: Vec<Entry>,
}

impl Journal {
    pub(super) fn new(id: OpId, entries: Vec<Entry>) -> Self {
        Self {
            v: VERSION,
            id,
            entries,
        }
    }
}

/// Its name in the root of the target.
fn name(id: OpId) -> String {
    format!(".beadm-rs-sync.{id}")
}

/// The name it is written under.
fn unfinished(id: OpId) -> String {
    format!(".beadm-rs-sync.{id}.new")
}

/// The name of the file that is written beside an entry's.
pub(super) fn temporary(id: OpId, number: usize) -> String {
    format!(".beadm-rs-sync.{id}.{number}")
}

/// Writes it. What is read is whole: it gets its name when it is on the disk.
pub(super) fn write(root: BorrowedFd<'_>, journal: &Journal) -> io::Result<()> {
    let new = unfinished(journal.id);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(root, new.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(fd);
    let text = serde_json::to_vec(journal)?;
    file.write_all(&text)?;
    file.sync_all()?;
    rustix::fs::renameat(root, new.as_str(), root, name(journal.id).as_str())?;
    Ok(rustix::fs::fsync(root)?)
}

/// Reads it; `None` where there is none: nothing was begun.
pub(super) fn read(root: BorrowedFd<'_>, id: OpId) -> io::Result<Option<Journal>> {
    let Some(file) = open_file(root, name(id).as_bytes())? else {
        return Ok(None);
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    let journal: Journal = serde_json::from_slice(&text)?;
    if journal.v != VERSION || journal.id != id {
        return Err(io::Error::other(format!(
            "/{} is of another operation, or of a newer beadm-rs",
            name(id)
        )));
    }
    Ok(Some(journal))
}

/// Takes it away, and what a writing of it that did not end left.
pub(super) fn remove(root: BorrowedFd<'_>, id: OpId) -> io::Result<()> {
    for name in [name(id), unfinished(id)] {
        let gone = rustix::fs::unlinkat(root, name.as_str(), AtFlags::empty());
        optional(gone)?;
    }
    Ok(rustix::fs::fsync(root)?)
}
