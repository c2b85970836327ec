//! What one file is, read without following a symbolic link.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, OFlags, Statx};
use sha2::{Digest as _, Sha256};

use super::decide::{Content, Kind, Metadata, Version};
use crate::diff::entry::attributes_at;
use crate::diff::tree::{open_at, optional, stat};

/// Opened without waiting for the other end of a pipe, should one have taken the
/// file's place.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// What is at a path, with what its contents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What kind of thing.
    pub kind: Kind,
    /// The SHA-256 of a file's contents, a link's target; empty for others.
    pub content: Vec<u8>,
    /// Bytes of a regular file; 0 for others.
    pub size: u64,
    /// The rest.
    pub metadata: Metadata,
}

/// A path to a name in an open directory, for calls that take no directory.
pub(crate) fn path_to(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend(name);
    path
}

/// Opens a regular file; `None` where it is gone or something else by now.
pub(crate) fn open_file(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<File>> {
    let Some(fd) = optional(open_at(directory, name, FILE))? else {
        return Ok(None);
    };
    let file = File::from(fd);
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Where a symbolic link leads.
pub(crate) fn link_target(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let target = rustix::fs::readlinkat(directory, OsStr::from_bytes(name), Vec::new());
    Ok(optional(target)?.map(std::ffi::CString::into_bytes))
}

/// What kind of thing it is.
pub(crate) fn kind_of(stat: &Statx) -> Kind {
    match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Special,
    }
}

/// What is at a name; `None` where nothing is.
///
/// # Errors
/// Where it cannot be read, or is replaced while it is.
pub fn read(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Seen>> {
    match stat(directory, name)? {
        Some(found) => seen(directory, name, &found).map(Some),
        None => Ok(None),
    }
}

/// What is at a name that was looked at.
///
/// # Errors
/// As [`read`].
pub fn seen(directory: BorrowedFd<'_>, name: &[u8], stat: &Statx) -> io::Result<Seen> {
    let replaced = || io::Error::other("it was replaced while it was read");
    let kind = kind_of(stat);
    let content = match kind {
        Kind::File => hash(open_file(directory, name)?.ok_or_else(replaced)?)?,
        Kind::Link => link_target(directory, name)?.ok_or_else(replaced)?,
        Kind::Directory | Kind::Special => Vec::new(),
    };
    let xattrs = match kind {
        Kind::Special => BTreeMap::new(),
        _ => attributes_at(&path_to(directory, name))?,
    };
    Ok(Seen {
        kind,
        content,
        size: if kind == Kind::File { stat.stx_size } else { 0 },
        metadata: Metadata {
            // A link's permissions mean nothing.
            mode: match kind {
                Kind::Link => 0,
                _ => u32::from(stat.stx_mode) & 0o7777,
            },
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            xattrs,
        },
    })
}

fn hash(mut file: File) -> io::Result<Vec<u8>> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().to_vec()),
            Ok(length) => hasher.update(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The content identity of bytes that no file has yet.
#[must_use]
pub fn content_of(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

impl Seen {
    /// As it is decided about.
    #[must_use]
    pub fn version(&self) -> Version {
        Version {
            kind: self.kind,
            content: Content::new(self.content.clone()),
            size: self.size,
            metadata: self.metadata.clone(),
        }
    }

    /// A short text that is the same for the same and for nothing else.
    #[must_use]
    pub fn digest(&self) -> String {
        use std::fmt::Write as _;
        let mut hasher = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        field(format!("{:?}", self.kind).as_bytes());
        field(&self.content);
        let Metadata {
            mode,
            uid,
            gid,
            xattrs,
        } = &self.metadata;
        for number in [mode, uid, gid] {
            field(&number.to_be_bytes());
        }
        for (name, value) in xattrs {
            field(name);
            field(value);
        }
        hasher
            .finalize()
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}

/// Opens a directory below another, one component at a time; `None` where one
/// of them is missing, or is no directory.
///
/// # Errors
/// Whatever the system says.
pub(crate) fn descend(
    root: BorrowedFd<'_>,
    path: &[u8],
) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let mut at = open_at(root, b".", DIRECTORY)?;
    for name in path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        if matches!(name, b"." | b".." | b".zfs") {
            return Ok(None);
        }
        match optional(open_at(at.as_fd(), name, DIRECTORY))? {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

const DIRECTORY: OFlags = crate::diff::tree::DIRECTORY;
