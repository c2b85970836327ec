//! An environment's datasets as one file tree.
//!
//! Each dataset is opened for itself (`Platform::open_files`), and a child
//! dataset is stepped into where its place is: nothing is mounted inside
//! anything, so it does not matter whether the directory is there, is a link,
//! or has something else mounted on it. Every step is one component, and none
//! follows a symbolic link: nothing planted in a tree leads out of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::side::Side;
use crate::host::Host;
use crate::os;
use crate::sys::close_together;

/// Directories are opened for reading, and only if they are directories.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Files are opened without waiting for the other end of a pipe, and without
/// making a terminal ours, should one have taken the file's place meanwhile.
pub(crate) const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// The root of a dataset or snapshot.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) root: Arc<OwnedFd>,
    // What the files lie in, where that has to be kept.
    _files: os::Files,
}

impl Root {
    pub(super) fn open(host: &Host, object: &os::Object) -> os::Result<Self> {
        let files = host.platform.open_files(object)?;
        // A directory of cap-std's can be looked into and not be listed.
        let root = open_at(files.root.as_fd(), b".", DIRECTORY)
            .map_err(os::Error::io(format!("read the files of {object}")))?;
        Ok(Self {
            root: Arc::new(root),
            _files: files,
        })
    }
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    parts: BTreeMap<Vec<u8>, Root>,
}

impl Drop for Tree {
    fn drop(&mut self) {
        close_together(std::mem::take(&mut self.parts).into_values());
    }
}

/// Something in a tree: the directory it lies in, and its name there.
#[derive(Debug, Clone)]
pub struct Located {
    /// The directory; `None` where only a place further down makes it one.
    directory: Option<Arc<OwnedFd>>,
    name: Vec<u8>,
    /// The place of the dataset it belongs to.
    pub part: Vec<u8>,
    /// What it is; `None` as with `directory`.
    pub stat: Option<Statx>,
}

/// A directory that can be listed.
#[derive(Debug, Clone)]
pub struct Directory {
    fd: Option<Arc<OwnedFd>>,
    /// The place of the dataset it belongs to.
    pub part: Vec<u8>,
    /// It is the root of that dataset.
    is_root: bool,
}

/// A path with one more component.
#[must_use]
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return name.to_owned();
    }
    [path, b"/", name].concat()
}

/// What is below `path` in `other`, if it is: `Some("")` for the same.
#[must_use]
pub fn below<'a>(path: &[u8], other: &'a [u8]) -> Option<&'a [u8]> {
    if path.is_empty() {
        return Some(other);
    }
    match other.strip_prefix(path)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

fn gone(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE
    )
}

/// `None` where it is not there.
pub(crate) fn optional<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(errno) if gone(errno) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// A name in a directory, with the object it leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The name.
    pub name: Vec<u8>,
    /// The object's number; 0 for a place that is not in the directory itself.
    pub inode: u64,
    /// Whether it is a directory, where the file system says so.
    pub directory: Option<bool>,
}

/// The names in a directory, sorted, without `.`, `..`, and ZFS's own control
/// directory, which is no part of the files (`snapdir=visible` lists it).
pub(crate) fn names(fd: BorrowedFd<'_>, is_root: bool) -> io::Result<Vec<Name>> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || (is_root && name == b".zfs") {
            continue;
        }
        found.push(Name {
            name: name.to_owned(),
            inode: entry.ino(),
            directory: match entry.file_type() {
                FileType::Unknown => None,
                kind => Some(kind == FileType::Directory),
            },
        });
    }
    found.sort();
    Ok(found)
}

/// What is at a name; links are not followed.
pub(crate) fn stat(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Statx>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    optional(rustix::fs::statx(
        directory,
        std::ffi::OsStr::from_bytes(name),
        flags,
        wanted,
    ))
}

pub(crate) fn open_at(
    directory: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        directory,
        std::ffi::OsStr::from_bytes(name),
        flags,
        Mode::empty(),
    )
}

impl Located {
    /// What is at a name in an open directory; `None` where nothing is.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn in_directory(directory: &Arc<OwnedFd>, name: &[u8]) -> io::Result<Option<Self>> {
        Ok(stat(directory.as_fd(), name)?.map(|stat| Self {
            directory: Some(Arc::clone(directory)),
            name: name.to_owned(),
            part: Vec::new(),
            stat: Some(stat),
        }))
    }

    /// What kind of thing it is.
    #[must_use]
    pub fn kind(&self) -> FileType {
        match &self.stat {
            Some(stat) => FileType::from_raw_mode(u32::from(stat.stx_mode)),
            None => FileType::Directory,
        }
    }

    /// The directory it lies in and its name there; `None` where only a place
    /// further down makes it one.
    pub(crate) fn at(&self) -> Option<(BorrowedFd<'_>, &[u8])> {
        let directory = self.directory.as_ref()?;
        Some((directory.as_fd(), &self.name))
    }

    /// Opens a regular file; `None` where it is gone or something else by now.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(&self) -> io::Result<Option<File>> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        let Some(fd) = optional(open_at(directory.as_fd(), &self.name, FILE))? else {
            return Ok(None);
        };
        let file = File::from(fd);
        Ok(file.metadata()?.is_file().then_some(file))
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn target(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        let name = std::ffi::OsStr::from_bytes(&self.name);
        let target = optional(rustix::fs::readlinkat(directory, name, Vec::new()))?;
        Ok(target.map(std::ffi::CString::into_bytes))
    }

    /// A path to it for system calls that take no directory; it leads through
    /// the open directory, not through the tree.
    #[must_use]
    pub fn path(&self) -> Option<Vec<u8>> {
        use std::os::fd::AsRawFd as _;
        let directory = self.directory.as_ref()?;
        let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        path.extend(&self.name);
        Some(path)
    }

    /// Opens it as a directory that can be listed, where it is one.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn enter_if_directory(&self) -> io::Result<Option<Arc<OwnedFd>>> {
        if self.kind() != FileType::Directory {
            return Ok(None);
        }
        Ok(self.enter()?.and_then(|directory| directory.fd))
    }

    /// Opens it as a directory; `None` where it is none (any more).
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn enter(&self) -> io::Result<Option<Directory>> {
        let (fd, is_root) = match &self.directory {
            None => (None, false),
            Some(directory) if self.name == b"." => (Some(Arc::clone(directory)), true),
            Some(directory) => match optional(open_at(directory.as_fd(), &self.name, DIRECTORY))? {
                Some(fd) => (Some(Arc::new(fd)), false),
                None => return Ok(None),
            },
        };
        Ok(Some(Directory {
            fd,
            part: self.part.clone(),
            is_root,
        }))
    }
}

impl Tree {
    /// Opens every dataset of a side.
    ///
    /// # Errors
    /// Where one cannot be mounted.
    pub fn open(host: &Host, side: &Side) -> os::Result<Self> {
        let mut parts = BTreeMap::new();
        for part in &side.parts {
            let opened = Root::open(host, &part.object)?;
            parts.insert(part.place.as_str().as_bytes().to_owned(), opened);
        }
        Ok(Self { parts })
    }

    /// The root of the tree.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn root(&self) -> io::Result<Option<Located>> {
        self.place(b"")
    }

    /// The root of the dataset at a place.
    fn place(&self, path: &[u8]) -> io::Result<Option<Located>> {
        let Some(part) = self.parts.get(path) else {
            return Ok(None);
        };
        Ok(Some(Located {
            directory: Some(Arc::clone(&part.root)),
            name: b".".to_vec(),
            part: path.to_owned(),
            stat: stat(part.root.as_fd(), b".")?,
        }))
    }

    /// The place of the dataset a path lies in, whether it is there or not.
    #[must_use]
    pub fn part_of(&self, path: &[u8]) -> Vec<u8> {
        let places = self.parts.keys();
        places
            .filter(|place| below(place, path).is_some())
            .max_by_key(|place| place.len())
            .cloned()
            .unwrap_or_default()
    }

    /// Whether a dataset's place is below a path.
    #[must_use]
    pub fn has_places_below(&self, path: &[u8]) -> bool {
        self.parts
            .keys()
            .any(|place| below(path, place).is_some_and(|rest| !rest.is_empty()))
    }

    /// What is at a name in a directory whose path is known.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn locate(
        &self,
        directory: &Directory,
        path: &[u8],
        name: &[u8],
    ) -> io::Result<Option<Located>> {
        let full = join(path, name);
        if let Some(place) = self.place(&full)? {
            return Ok(Some(place));
        }
        let found = match &directory.fd {
            Some(fd) => stat(fd.as_fd(), name)?.map(|stat| (Arc::clone(fd), stat)),
            None => None,
        };
        match found {
            Some((fd, stat)) => Ok(Some(Located {
                directory: Some(fd),
                name: name.to_owned(),
                part: directory.part.clone(),
                stat: Some(stat),
            })),
            None => Ok(self.has_places_below(&full).then(|| Located {
                directory: None,
                name: name.to_owned(),
                part: directory.part.clone(),
                stat: None,
            })),
        }
    }

    /// The names in a directory, with those that only places make.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn names(&self, directory: &Directory, path: &[u8]) -> io::Result<Vec<Name>> {
        let mut found = match &directory.fd {
            Some(fd) => names(fd.as_fd(), directory.is_root)?,
            None => Vec::new(),
        };
        for name in self.places_in(path) {
            if let Err(at) = found.binary_search_by(|other| other.name.cmp(&name)) {
                found.insert(
                    at,
                    Name {
                        name,
                        inode: 0,
                        directory: Some(true),
                    },
                );
            }
        }
        Ok(found)
    }

    /// The names in a directory that lead to places of datasets.
    #[must_use]
    pub fn places_in(&self, path: &[u8]) -> Vec<Vec<u8>> {
        self.parts
            .keys()
            .filter_map(|place| below(path, place))
            .filter_map(|rest| rest.split(|byte| *byte == b'/').next())
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_owned)
            .collect()
    }

    /// What is at a path, from the root of the tree.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn find(&self, path: &[u8]) -> io::Result<Option<Located>> {
        let Some(mut found) = self.root()? else {
            return Ok(None);
        };
        let mut at = Vec::new();
        for name in path.split(|byte| *byte == b'/') {
            let Some(directory) = found.enter()? else {
                return Ok(None);
            };
            let Some(next) = self.locate(&directory, &at, name)? else {
                return Ok(None);
            };
            at = join(&at, name);
            found = next;
        }
        Ok(Some(found))
    }
}
