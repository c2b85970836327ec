//! A tree copied with everything: owner, mode, access control lists, extended
//! attributes, holes, hard links, times, links and special files by name.
//!
//! Both trees may belong to somebody who changes them meanwhile and is not root:
//! each step is one component of an open directory, and none follows a link.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use camino::Utf8Path;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, SeekFrom, Statx, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use crate::diff::entry::{self, Aspect, Buffers, grown};
use crate::diff::tree::{self, DIRECTORY, Located, join, names, open_at, stat};

/// How many directories deep a tree is followed: each holds two open files.
pub const MAX_DEPTH: usize = 200;

/// How much is copied at a time, bytes: by the kernel, and through memory, where
/// what was written is read again while it is in the processor's cache.
const CHUNK: usize = 4 << 20;
const PIECE: usize = 1 << 20;

/// Whether ZFS clones blocks here (zfs(4)): a copy takes no space then. Releases
/// before 2.2 have no such parameter.
const CLONING: &str = "/sys/module/zfs/parameters/zfs_bclone_enabled";

/// How long a file has to be at rest for its inode's time to tell whether it was
/// written meanwhile, seconds: the kernel's clock for that stands for a tick.
const AT_REST: i64 = 2;

/// A directory of an opened one, and the name in it that a path ends with.
/// Nothing on the way may be a link.
///
/// # Errors
/// Whatever the system says; also where a component is no directory.
pub fn parent_of(root: BorrowedFd<'_>, path: &Utf8Path) -> io::Result<(OwnedFd, Vec<u8>)> {
    let leaf = path
        .file_name()
        .ok_or_else(|| io::Error::other("the root of a dataset is not copied"))?;
    let mut directory = open_at(root, b".", DIRECTORY)?;
    for component in path.parent().into_iter().flat_map(Utf8Path::components) {
        directory = open_at(directory.as_fd(), component.as_str().as_bytes(), DIRECTORY)
            .map_err(|errno| told(component.as_str().as_bytes(), errno.into()))?;
    }
    Ok((directory, leaf.as_bytes().to_owned()))
}

/// A directory that was opened to be looked into, to be listed.
///
/// # Errors
/// Whatever the system says.
pub fn listable(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(open_at(directory, b".", DIRECTORY)?)
}

/// An error with the name it is about.
fn told(path: &[u8], error: io::Error) -> io::Error {
    let name = crate::diff::summary::escaped(path);
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// Is told of bytes; `false` ends the copy.
pub type Advance<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Copies what is at a name to another name, where nothing is, and looks at both
/// afterwards. The copy is root's alone until it is complete. What it leaves on a
/// failure is for the caller to remove.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`] where `advance` ended it; where something
/// cannot be copied, or was changed meanwhile.
pub fn copy(
    (from, from_name): (BorrowedFd<'_>, &[u8]),
    (to, to_name): (BorrowedFd<'_>, &[u8]),
    advance: Advance<'_>,
) -> io::Result<()> {
    let mut copier = Copier {
        root: (to, to_name),
        advance,
        seen: HashMap::new(),
        read_back: HashSet::new(),
        clones: std::fs::read(CLONING).is_ok_and(|text| text.starts_with(b"1")),
        started: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0)),
        buffers: [Vec::new(), Vec::new()],
    };
    copier.entry((from, from_name), (to, to_name), b"", 0)?;
    let read_back = std::mem::take(&mut copier.read_back);
    let pair = [(from, from_name), (to, to_name)];
    match difference(pair, Depth::Contents(&read_back))? {
        None => Ok(()),
        Some(what) => Err(io::Error::other(format!(
            "{what}: it was changed while it was copied"
        ))),
    }
}

struct Copier<'a> {
    root: (BorrowedFd<'a>, &'a [u8]),
    advance: Advance<'a>,
    /// Files with several names, and the first of them in the copy.
    seen: HashMap<u64, Vec<u8>>,
    /// Files of the copy of which all that was written was read back and was the
    /// same, and what they were made of was not changed meanwhile.
    read_back: HashSet<u64>,
    /// Blocks are cloned where they can be.
    clones: bool,
    /// When, seconds since the epoch.
    started: i64,
    buffers: [Vec<u8>; 2],
}

type At<'a> = (BorrowedFd<'a>, &'a [u8]);

fn os(name: &[u8]) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(name)
}

impl Copier<'_> {
    fn entry(&mut self, from: At<'_>, to: At<'_>, path: &[u8], depth: usize) -> io::Result<()> {
        let found = stat(from.0, from.1)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            .map_err(|error| told(path, error))?;
        let kind = FileType::from_raw_mode(u32::from(found.stx_mode));
        if kind != FileType::Directory && found.stx_nlink > 1 {
            if let Some(first) = self.seen.get(&found.stx_ino) {
                let first = join(self.root.1, first);
                rustix::fs::linkat(self.root.0, os(&first), to.0, os(to.1), AtFlags::empty())?;
                return Ok(());
            }
            self.seen.insert(found.stx_ino, path.to_owned());
        }
        match kind {
            FileType::Directory => self.directory(from, to, path, depth),
            FileType::RegularFile => self.file(from, to),
            _ => special(from, to, &found, kind),
        }
        .map_err(|error| match error.kind() {
            // Told further down, or by the caller.
            io::ErrorKind::Interrupted => error,
            _ if kind == FileType::Directory && depth > 0 => error,
            _ => told(path, error),
        })
    }

    fn directory(&mut self, from: At<'_>, to: At<'_>, path: &[u8], depth: usize) -> io::Result<()> {
        if depth == MAX_DEPTH {
            return Err(io::Error::other("it is deeper than 200 directories"));
        }
        if !(self.advance)(0) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let source = open_at(from.0, from.1, DIRECTORY)?;
        rustix::fs::mkdirat(to.0, os(to.1), Mode::RWXU)?;
        let target = open_at(to.0, to.1, DIRECTORY)?;
        for name in names(source.as_fd(), false)? {
            let below = join(path, &name.name);
            self.entry(
                (source.as_fd(), &name.name),
                (target.as_fd(), &name.name),
                &below,
                depth + 1,
            )?;
        }
        finish(&source, &target)
    }

    fn file(&mut self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        let source = File::from(open_at(from.0, from.1, tree::FILE)?);
        if !source.metadata()?.is_file() {
            return Err(io::Error::other("it was changed while it was copied"));
        }
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to.0, os(to.1), flags, Mode::RUSR | Mode::WUSR)?;
        let target = File::from(target);
        let before = rustix::fs::fstat(&source)?;
        self.contents(&source, &target)?;
        let after = rustix::fs::fstat(&source)?;
        let changed =
            |found: &rustix::fs::Stat| (found.st_ctime, found.st_ctime_nsec, found.st_size);
        let at_rest = before.st_ctime.saturating_add(AT_REST) < self.started;
        if !self.clones && at_rest && changed(&before) == changed(&after) {
            let made = rustix::fs::fstat(&target)?;
            self.read_back.insert(made.st_ino);
        }
        finish(&source, &target)
    }

    /// The data between the holes.
    fn contents(&mut self, source: &File, target: &File) -> io::Result<()> {
        let size = source.metadata()?.len();
        let mut at = 0;
        while at < size {
            at = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => break,
                // A file system that knows no holes.
                Err(Errno::INVAL) => at,
                Err(errno) => return Err(errno.into()),
            };
            let end = match rustix::fs::seek(source, SeekFrom::Hole(at)) {
                Ok(hole) => hole,
                Err(Errno::INVAL | Errno::NXIO) => size,
                Err(errno) => return Err(errno.into()),
            };
            at = self.range(source, target, at, end)?;
        }
        target.set_len(size)
    }

    fn range(&mut self, from: &File, to: &File, mut at: u64, end: u64) -> io::Result<u64> {
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let copied = if self.clones {
                let (mut read, mut written) = (at, at);
                let (read, written) = (Some(&mut read), Some(&mut written));
                match rustix::fs::copy_file_range(from, read, to, written, most) {
                    Ok(copied) => copied,
                    Err(
                        Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::AGAIN,
                    ) => self.through_memory(from, to, at, most)?,
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                }
            } else {
                self.through_memory(from, to, at, most)?
            };
            if copied == 0 {
                // It is shorter than it was.
                return Ok(end);
            }
            at += copied as u64;
            if !(self.advance)(copied as u64) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(at)
    }

    /// What was written is read again at once, and has to be the same.
    fn through_memory(
        &mut self,
        from: &File,
        to: &File,
        at: u64,
        most: usize,
    ) -> io::Result<usize> {
        let [written, read] = &mut self.buffers;
        for buffer in [&mut *written, &mut *read] {
            buffer.resize(PIECE, 0);
        }
        let length = from.read_at(written.get_mut(..most.min(PIECE)).unwrap_or_default(), at)?;
        let written = written.get(..length).unwrap_or_default();
        let read = read.get_mut(..length).unwrap_or_default();
        to.write_all_at(written, at)?;
        to.read_exact_at(read, at)?;
        if written != read {
            return Err(io::Error::other(
                "what was written of its copy is not what is read there",
            ));
        }
        Ok(length)
    }
}

/// Owner, mode, attributes and times. The owner comes first: changing it takes
/// set-user-ID and capabilities away; the times last.
pub(super) fn finish(from: &impl std::os::fd::AsFd, to: &impl std::os::fd::AsFd) -> io::Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let found = rustix::fs::fstat(from)?;
    rustix::fs::fchown(
        to,
        Some(Uid::from_raw(found.st_uid)),
        Some(Gid::from_raw(found.st_gid)),
    )?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(found.st_mode))?;
    attributes(
        &mut |buffer| rustix::fs::flistxattr(from, buffer),
        &mut |name, buffer| rustix::fs::fgetxattr(from, name, buffer),
        &mut |name, value| rustix::fs::fsetxattr(to, name, value, XattrFlags::empty()),
    )?;
    let times = times(&rustix::fs::statx(
        from,
        "",
        AtFlags::EMPTY_PATH,
        rustix::fs::StatxFlags::BASIC_STATS,
    )?);
    Ok(rustix::fs::futimens(to, &times)?)
}

fn times(found: &Statx) -> Timestamps {
    let time = |time: rustix::fs::StatxTimestamp| Timespec {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec.into(),
    };
    Timestamps {
        last_access: time(found.stx_atime),
        last_modification: time(found.stx_mtime),
    }
}

type Sized<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, Errno>;
type Get<'a> = &'a mut dyn FnMut(&std::ffi::OsStr, &mut [u8]) -> Result<usize, Errno>;
type Set<'a> = &'a mut dyn FnMut(&std::ffi::OsStr, &[u8]) -> Result<(), Errno>;

/// Every attribute, access control lists among them.
fn attributes(list: Sized<'_>, get: Get<'_>, set: Set<'_>) -> io::Result<()> {
    let all = match grown(list) {
        Ok(all) => all,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for name in all.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = os(name);
        let value = match grown(&mut |buffer| get(name, buffer)) {
            Ok(value) => value,
            // Taken away meanwhile; what is compared afterwards tells.
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno.into()),
        };
        set(name, &value).map_err(|errno| {
            io::Error::other(format!(
                "its attribute {} cannot be kept: {}",
                name.to_string_lossy(),
                io::Error::from(errno)
            ))
        })?;
    }
    Ok(())
}

/// A link, a pipe, a device or a socket's name: whoever opens a socket's copy is
/// refused, as after a reboot, until its service makes it anew.
fn special(from: At<'_>, to: At<'_>, found: &Statx, kind: FileType) -> io::Result<()> {
    if kind == FileType::Symlink {
        let target = rustix::fs::readlinkat(from.0, os(from.1), Vec::new())?;
        rustix::fs::symlinkat(target, to.0, os(to.1))?;
    } else {
        let device = rustix::fs::makedev(found.stx_rdev_major, found.stx_rdev_minor);
        rustix::fs::mknodat(to.0, os(to.1), kind, Mode::RUSR | Mode::WUSR, device)?;
    }
    let owner = (Uid::from_raw(found.stx_uid), Gid::from_raw(found.stx_gid));
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(to.0, os(to.1), Some(owner.0), Some(owner.1), nofollow)?;
    let path = |at: At<'_>| {
        let mut path = format!("/proc/self/fd/{}/", at.0.as_raw_fd()).into_bytes();
        path.extend(at.1);
        path
    };
    let (source, target) = (path(from), path(to));
    if kind != FileType::Symlink {
        // The directory it lies in is root's alone until all is done.
        let mode = Mode::from_raw_mode(u32::from(found.stx_mode) & 0o7777);
        rustix::fs::chmodat(CWD, os(&target), mode, AtFlags::empty())?;
    }
    attributes(
        &mut |buffer| rustix::fs::llistxattr(os(&source), buffer),
        &mut |name, buffer| rustix::fs::lgetxattr(os(&source), name, buffer),
        &mut |name, value| rustix::fs::lsetxattr(os(&target), name, value, XattrFlags::empty()),
    )?;
    Ok(rustix::fs::utimensat(
        to.0,
        os(to.1),
        &times(found),
        nofollow,
    )?)
}

/// How closely two trees are looked at.
pub enum Depth<'a> {
    /// Everything; of the contents of files with these numbers in the second, whose
    /// data was read back as it was written, the holes.
    Contents(&'a HashSet<u64>),
    /// All but contents: times and sizes tell whether somebody wrote.
    Times,
}

/// Refuses a copy whose original was changed after it was made.
///
/// # Errors
/// What was changed, or that one cannot be read.
pub fn unchanged(pair: [At<'_>; 2]) -> io::Result<()> {
    match difference(pair, Depth::Times)? {
        None => Ok(()),
        Some(what) => Err(io::Error::other(format!(
            "{what}: it was changed after it was copied"
        ))),
    }
}

/// The first thing in which two trees differ, by its path and aspect; `None`
/// where they are the same.
///
/// # Errors
/// Where one cannot be read.
pub fn difference(pair: [At<'_>; 2], depth: Depth<'_>) -> io::Result<Option<String>> {
    let mut comparison = Comparison {
        depth,
        numbers: HashMap::new(),
        back: HashMap::new(),
        buffers: Buffers::default(),
    };
    let [one, other] = pair;
    let one_directory = Arc::new(open_at(one.0, b".", DIRECTORY)?);
    let other_directory = Arc::new(open_at(other.0, b".", DIRECTORY)?);
    let found = comparison.entry((&one_directory, one.1), (&other_directory, other.1), b"")?;
    Ok(found.map(|(path, what)| format!("{} ({what})", crate::diff::summary::escaped(&path))))
}

struct Comparison<'a> {
    depth: Depth<'a>,
    /// Which file of the second tree each of the first's with several names is.
    numbers: HashMap<u64, u64>,
    /// And the other way round.
    back: HashMap<u64, u64>,
    buffers: Buffers,
}

type Differs = Option<(Vec<u8>, &'static str)>;

impl Comparison<'_> {
    fn entry(
        &mut self,
        one: (&Arc<OwnedFd>, &[u8]),
        other: (&Arc<OwnedFd>, &[u8]),
        path: &[u8],
    ) -> io::Result<Differs> {
        let differs = |what| Ok(Some((path.to_owned(), what)));
        let found = (
            Located::in_directory(one.0, one.1)?,
            Located::in_directory(other.0, other.1)?,
        );
        let (Some(one), Some(other)) = found else {
            return differs("it is not there");
        };
        let (Some(was), Some(is)) = (&one.stat, &other.stat) else {
            return differs("it is not there");
        };
        let number = is.stx_ino;
        let aspects = match &self.depth {
            Depth::Times => entry::compare_unread(&one, &other)?,
            Depth::Contents(read_back) if read_back.contains(&number) => {
                entry::compare_holes(&one, &other, &mut self.buffers)?
            }
            Depth::Contents(_) => entry::compare(&one, &other, &mut self.buffers)?,
        };
        // How many names a file has: some may lie outside of what is copied.
        let mut aspects = aspects.iter().filter(|aspect| **aspect != Aspect::Links);
        if let Some(aspect) = aspects.next() {
            return differs(aspect.as_str());
        }
        let time = |stat: &Statx| (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
        if time(was) != time(is) {
            return differs("time");
        }
        let Some(directory) = one.enter_if_directory()? else {
            let several = was.stx_nlink > 1 || is.stx_nlink > 1;
            let number = *self.numbers.entry(was.stx_ino).or_insert(is.stx_ino);
            let back = *self.back.entry(is.stx_ino).or_insert(was.stx_ino);
            if several && (number, back) != (is.stx_ino, was.stx_ino) {
                return differs("links");
            }
            return Ok(None);
        };
        let Some(counterpart) = other.enter_if_directory()? else {
            return differs("type");
        };
        let listed = names(directory.as_fd(), false)?;
        let here: Vec<&Vec<u8>> = listed.iter().map(|name| &name.name).collect();
        let there = names(counterpart.as_fd(), false)?;
        if !here.iter().copied().eq(there.iter().map(|name| &name.name)) {
            return differs("names");
        }
        for name in here {
            let found = self.entry((&directory, name), (&counterpart, name), &join(path, name))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with a hole in a file, copied.
    fn copied(between: impl FnOnce(&std::path::Path)) -> io::Result<()> {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("one")).unwrap();
        let file = File::create(scratch.path().join("one/file")).unwrap();
        file.set_len(9 << 20).unwrap();
        file.write_all_at(&[7; 3 << 20], 5 << 20).unwrap();
        let root = File::open(scratch.path()).unwrap();
        let mut between = Some(between);
        let mut told = 0;
        copy(
            (root.as_fd(), b"one"),
            (root.as_fd(), b"other"),
            &mut |bytes| {
                told += bytes;
                if bytes > 0
                    && let Some(between) = between.take()
                {
                    between(scratch.path());
                }
                true
            },
        )
        .map(|()| {
            let other = std::fs::read(scratch.path().join("other/file")).unwrap();
            assert_eq!(other.len(), 9 << 20);
            assert!(other == std::fs::read(scratch.path().join("one/file")).unwrap());
        })
    }

    #[test]
    fn a_copy_is_read_back_and_what_changes_meanwhile_is_found() {
        copied(|_| {}).unwrap();
        // In what was copied already, and in the copy's hole.
        for at in [5 << 20, 0] {
            for name in ["one", "other"] {
                let changed = copied(|root| {
                    let path = root.join(name).join("file");
                    let file = File::options().write(true).open(path).unwrap();
                    file.write_all_at(b"x", at).unwrap();
                });
                assert!(changed.is_err(), "{name} {at}");
            }
        }
    }

    #[test]
    fn of_what_was_read_back_the_holes_are_compared() {
        let scratch = tempfile::tempdir().unwrap();
        let known = |read_back: u64| {
            let root = File::open(scratch.path()).unwrap();
            let pair = [(root.as_fd(), b"a".as_slice()), (root.as_fd(), b"b")];
            difference(pair, Depth::Contents(&HashSet::from([read_back]))).unwrap()
        };
        let make = |name: &str, at: u64| {
            let file = File::create(scratch.path().join(name)).unwrap();
            file.set_len(8 << 20).unwrap();
            file.write_all_at(&[1; 4096], at).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
            rustix::fs::fstat(&file).unwrap().st_ino
        };
        make("a", 1 << 20);
        assert_eq!(known(make("b", 1 << 20)), None);
        assert_eq!(known(make("b", 4 << 20)), Some(" (content)".to_owned()));
    }
}
