//! Two things of the same name: in what they differ.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, SeekFrom, Statx};
use rustix::io::Errno;
use serde::Serialize;

use super::tree::Located;

/// In what two files differ. Times are no difference: every upgrade changes
/// them, and they decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// One is a file, the other a link, and so on.
    Type,
    /// What is in a file.
    Content,
    /// Where a symbolic link leads.
    Target,
    /// Which device a special file is.
    Device,
    /// Permissions.
    Mode,
    /// User or group.
    Owner,
    /// Access control lists.
    Acl,
    /// Extended attributes.
    Attributes,
    /// How many names a file has.
    Links,
}

impl Aspect {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Content => "content",
            Self::Target => "target",
            Self::Device => "device",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Acl => "acl",
            Self::Attributes => "attributes",
            Self::Links => "links",
        }
    }
}

/// How much of two files is compared at a time, bytes.
const CHUNK: usize = 256 << 10;

/// Where files are read into.
#[derive(Debug)]
pub struct Buffers(Vec<u8>, Vec<u8>);

impl Default for Buffers {
    fn default() -> Self {
        Self(vec![0; CHUNK], vec![0; CHUNK])
    }
}

/// Whether two are the same object of a common origin, changed by neither side.
///
/// The same number, made at the same instant, its inode last changed at the same
/// instant: what `zfs diff` itself takes for unchanged (`write_inuse_diffs_one`
/// compares generation and ctime). The time of a change of the inode cannot be
/// set by programs, and ZFS sets it for contents, attributes and lists alike.
#[must_use]
pub fn untouched(one: &Statx, other: &Statx) -> bool {
    let identity = |stat: &Statx| {
        (
            stat.stx_ino,
            (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
            stat.stx_size,
            stat.stx_mode,
            (stat.stx_uid, stat.stx_gid),
            stat.stx_nlink,
        )
    };
    identity(one) == identity(other)
}

/// In what two things differ.
///
/// # Errors
/// Where one of them cannot be read.
pub fn compare(from: &Located, to: &Located, buffers: &mut Buffers) -> io::Result<Vec<Aspect>> {
    compare_by(from, to, &mut |one, other| {
        contents_differ(from, to, one, other, buffers)
    })
}

/// The same, of the contents of files no more than their sizes.
///
/// # Errors
/// Where one of them cannot be read.
pub fn compare_unread(from: &Located, to: &Located) -> io::Result<Vec<Aspect>> {
    compare_by(from, to, &mut |one, other| {
        Ok(one.stx_size != other.stx_size)
    })
}

/// The same, of the contents of files what is a hole in one of them and data in
/// the other: all that a copy can have wrong whose data was read back.
///
/// # Errors
/// Where one of them cannot be read.
pub fn compare_holes(
    from: &Located,
    to: &Located,
    buffers: &mut Buffers,
) -> io::Result<Vec<Aspect>> {
    compare_by(from, to, &mut |one, other| {
        if one.stx_size != other.stx_size {
            return Ok(true);
        }
        let size = one.stx_size;
        let (Some(one), Some(other)) = (from.open()?, to.open()?) else {
            return Ok(true);
        };
        holes_differ(&one, &other, size, buffers)
    })
}

fn holes_differ(one: &File, other: &File, size: u64, buffers: &mut Buffers) -> io::Result<bool> {
    let Buffers(left, right) = buffers;
    let mut at = 0;
    while at < size {
        let (first, second) = match (data_from(one, at)?, data_from(other, at)?) {
            (None, None) => return Ok(false),
            (first, second) => (first.unwrap_or(u64::MAX), second.unwrap_or(u64::MAX)),
        };
        let data = first.min(second);
        if first == second {
            at = hole_from(one, data)?.min(hole_from(other, data)?);
            continue;
        }
        // No further than to where both have data.
        let most = usize::try_from(first.max(second) - data).unwrap_or(CHUNK);
        let most = most.min(CHUNK);
        let length = read_at(one, left.get_mut(..most).unwrap_or_default(), data)?;
        let theirs = read_at(other, right.get_mut(..most).unwrap_or_default(), data)?;
        if length != theirs || left.get(..length) != right.get(..length) {
            return Ok(true);
        }
        if length == 0 {
            return Ok(false);
        }
        at = data + length as u64;
    }
    Ok(false)
}

fn hole_from(file: &File, at: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Hole(at)) {
        Ok(found) => Ok(found),
        Err(Errno::NXIO | Errno::INVAL) => Ok(file.metadata()?.len()),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut file = file;
    file.seek(io::SeekFrom::Start(at))?;
    fill(&mut file, buffer)
}

fn compare_by(
    from: &Located,
    to: &Located,
    contents: &mut dyn FnMut(&Statx, &Statx) -> io::Result<bool>,
) -> io::Result<Vec<Aspect>> {
    let kind = from.kind();
    if kind != to.kind() {
        return Ok(vec![Aspect::Type]);
    }
    let (Some(one), Some(other)) = (&from.stat, &to.stat) else {
        // A directory only because of a place below it has nothing to compare.
        return Ok(Vec::new());
    };
    let mut aspects = Vec::new();
    let mut note = |differs: bool, aspect: Aspect| {
        if differs {
            aspects.push(aspect);
        }
    };
    match kind {
        FileType::RegularFile => {
            note(contents(one, other)?, Aspect::Content);
            note(one.stx_nlink != other.stx_nlink, Aspect::Links);
        }
        FileType::Symlink => note(from.target()? != to.target()?, Aspect::Target),
        FileType::BlockDevice | FileType::CharacterDevice => {
            let device = |stat: &Statx| (stat.stx_rdev_major, stat.stx_rdev_minor);
            note(device(one) != device(other), Aspect::Device);
        }
        _ => {}
    }
    // A link's permissions mean nothing.
    note(
        kind != FileType::Symlink && (one.stx_mode ^ other.stx_mode) & 0o7777 != 0,
        Aspect::Mode,
    );
    note(
        (one.stx_uid, one.stx_gid) != (other.stx_uid, other.stx_gid),
        Aspect::Owner,
    );
    let (before, after) = (attributes(from)?, attributes(to)?);
    if before != after {
        let lists = |all: &BTreeMap<Vec<u8>, Vec<u8>>, acl: bool| {
            let mut some = all.clone();
            some.retain(|name, _| is_acl(name) == acl);
            some
        };
        note(lists(&before, true) != lists(&after, true), Aspect::Acl);
        note(
            lists(&before, false) != lists(&after, false),
            Aspect::Attributes,
        );
    }
    aspects.sort_unstable();
    Ok(aspects)
}

fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_") || name.starts_with(b"system.nfs4_acl")
}

/// The extended attributes, access control lists among them.
fn attributes(located: &Located) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    match located.path() {
        Some(path) => attributes_at(&path),
        None => Ok(BTreeMap::new()),
    }
}

/// The same of what is at a path; a link is not followed.
pub(crate) fn attributes_at(path: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let path = std::ffi::OsStr::from_bytes(path);
    let none = |errno: Errno| {
        matches!(
            errno,
            Errno::NOTSUP | Errno::NODATA | Errno::NOENT | Errno::PERM | Errno::ACCESS
        )
    };
    let list = match grown(&mut |buffer| rustix::fs::llistxattr(path, buffer)) {
        Ok(list) => list,
        Err(errno) if none(errno) => return Ok(found),
        Err(errno) => return Err(errno.into()),
    };
    for name in list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let key = std::ffi::OsStr::from_bytes(name);
        match grown(&mut |buffer| rustix::fs::lgetxattr(path, key, buffer)) {
            Ok(value) => {
                found.insert(name.to_owned(), value);
            }
            Err(errno) if none(errno) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}

/// Calls with a buffer that is large enough: attributes are small, and at most
/// 64 KiB (xattr(7)).
pub(crate) fn grown(
    call: &mut dyn FnMut(&mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => Ok(small.get(..length).unwrap_or_default().to_owned()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; 64 << 10];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}

fn contents_differ(
    from: &Located,
    to: &Located,
    one: &Statx,
    other: &Statx,
    buffers: &mut Buffers,
) -> io::Result<bool> {
    if one.stx_size != other.stx_size {
        return Ok(true);
    }
    if one.stx_size == 0 {
        return Ok(false);
    }
    let (Some(mut one), Some(mut other)) = (from.open()?, to.open()?) else {
        // It was replaced between two looks at the running system.
        return Ok(true);
    };
    let mut at = 0;
    loop {
        // A hole on both sides is not read: a sparse file may have exabytes.
        at = match (data_from(&one, at)?, data_from(&other, at)?) {
            (None, None) => return Ok(false),
            (Some(one), Some(other)) => one.min(other),
            (Some(data), None) | (None, Some(data)) => data,
        };
        one.seek(io::SeekFrom::Start(at))?;
        other.seek(io::SeekFrom::Start(at))?;
        let Buffers(left, right) = buffers;
        let length = fill(&mut one, left)?;
        if length != fill(&mut other, right)? || left.get(..length) != right.get(..length) {
            return Ok(true);
        }
        if length < CHUNK {
            return Ok(false);
        }
        at += length as u64;
    }
}

/// Where there is data from a position on; `None` where there is none to the end.
fn data_from(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => Ok(Some(at)),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
