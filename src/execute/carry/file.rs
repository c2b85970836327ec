//! One file of the target: made beside it, dressed, put in its place.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, StatxTimestamp, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::diff::entry::attributes_at;
use crate::diff::tree::{DIRECTORY, open_at, optional, stat};
use crate::sync::decide::{Kind, Metadata};
use crate::sync::version::{Seen, path_to};

/// What a file is made of.
pub(super) enum Made<'a> {
    /// A file that is there.
    File(File),
    /// These bytes.
    Bytes(&'a [u8]),
    /// Nothing but what its version says: a link.
    Nothing,
}

/// When a file was read and changed last.
pub(super) fn times(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Timestamps>> {
    let of = |time: StatxTimestamp| Timespec {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec.into(),
    };
    Ok(stat(directory, name)?.map(|stat| Timestamps {
        last_access: of(stat.stx_atime),
        last_modification: of(stat.stx_mtime),
    }))
}

/// Makes a file or link of a new name, on the disk with all that belongs to it.
pub(super) fn make(
    directory: BorrowedFd<'_>,
    name: &str,
    to: &Seen,
    made: Made<'_>,
    times: Option<&Timestamps>,
) -> io::Result<()> {
    if to.kind == Kind::Link {
        rustix::fs::symlinkat(OsStr::from_bytes(&to.content), directory, name)?;
        own(directory, name.as_bytes(), &to.metadata)?;
        attributes(&path_to(directory, name.as_bytes()), &to.metadata)?;
        if let Some(times) = times {
            rustix::fs::utimensat(directory, name, times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Nobody else's until it is whole: what is copied may be secret.
    let fd = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(fd);
    match made {
        Made::File(mut from) => drop(io::copy(&mut from, &mut file)?),
        Made::Bytes(bytes) => io::Write::write_all(&mut file, bytes)?,
        Made::Nothing => return Err(io::Error::other("there is nothing to make it of")),
    }
    own(directory, name.as_bytes(), &to.metadata)?;
    attributes(&path_to(directory, name.as_bytes()), &to.metadata)?;
    // After the owner and what is in it: either clears set-user-ID.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(to.metadata.mode))?;
    if let Some(times) = times {
        rustix::fs::futimens(&file, times)?;
    }
    file.sync_all()
}

/// Makes a directory.
pub(super) fn make_directory(directory: BorrowedFd<'_>, name: &[u8], to: &Seen) -> io::Result<()> {
    rustix::fs::mkdirat(directory, OsStr::from_bytes(name), Mode::RWXU)?;
    dress_directory(directory, name, to)
}

/// Gives a directory its owner, permissions and attributes.
pub(super) fn dress_directory(directory: BorrowedFd<'_>, name: &[u8], to: &Seen) -> io::Result<()> {
    let fd = open_at(directory, name, DIRECTORY)?;
    own(fd.as_fd(), b".", &to.metadata)?;
    attributes(&path_to(fd.as_fd(), b"."), &to.metadata)?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(to.metadata.mode))?;
    Ok(rustix::fs::fsync(&fd)?)
}

/// Puts what was made in its place. Where nothing was, nothing is replaced.
pub(super) fn place(
    directory: BorrowedFd<'_>,
    made: &str,
    name: &[u8],
    replaces: bool,
) -> io::Result<()> {
    let name = OsStr::from_bytes(name);
    if !replaces {
        match rustix::fs::renameat_with(directory, made, directory, name, RenameFlags::NOREPLACE) {
            // OpenZFS before 2.2 has no such renaming.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            other => return Ok(other?),
        }
    }
    Ok(rustix::fs::renameat(directory, made, directory, name)?)
}

/// Takes a name away; whether it was there.
pub(super) fn remove(directory: BorrowedFd<'_>, name: &[u8], kind: Kind) -> io::Result<bool> {
    let flags = match kind {
        Kind::Directory => AtFlags::REMOVEDIR,
        _ => AtFlags::empty(),
    };
    let gone = rustix::fs::unlinkat(directory, OsStr::from_bytes(name), flags);
    Ok(optional(gone)?.is_some())
}

/// Changes the owner where it is another one: who is not root, as in a
/// simulation, may not even name the one it has.
fn own(directory: BorrowedFd<'_>, name: &[u8], metadata: &Metadata) -> io::Result<()> {
    let Some(now) = stat(directory, name)? else {
        return Err(Errno::NOENT.into());
    };
    if (now.stx_uid, now.stx_gid) == (metadata.uid, metadata.gid) {
        return Ok(());
    }
    Ok(rustix::fs::chownat(
        directory,
        OsStr::from_bytes(name),
        Some(Uid::from_raw(metadata.uid)),
        Some(Gid::from_raw(metadata.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Sets the attributes, and takes away those it was born with: a directory's
/// default list is its files' own.
fn attributes(path: &[u8], metadata: &Metadata) -> io::Result<()> {
    let now = attributes_at(path)?;
    let path = OsStr::from_bytes(path);
    for name in now.keys() {
        if !metadata.xattrs.contains_key(name) {
            rustix::fs::lremovexattr(path, OsStr::from_bytes(name))?;
        }
    }
    for (name, value) in &metadata.xattrs {
        if now.get(name) != Some(value) {
            rustix::fs::lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty())?;
        }
    }
    Ok(())
}
