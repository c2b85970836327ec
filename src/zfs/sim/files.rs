//! The files of datasets and snapshots: one tree each, a directory below
//! `data/` or a map in memory.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::state::{Space, TreeId};

/// One file or symbolic link of a tree, for comparing trees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entry {
    path: PathBuf,
    /// Bytes.
    size: u64,
    /// When it was changed, in nanoseconds; in memory, what is in it.
    version: i128,
}

/// What is in a tree.
pub(super) type Listing = Vec<Entry>;

/// One file, directory or link of a tree in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A file with its mode.
    File(Arc<[u8]>, u32),
    /// A directory with its mode.
    Directory(u32),
    /// A symbolic link.
    Link(PathBuf),
}

/// A tree in memory: its nodes by their paths.
pub(super) type Tree = BTreeMap<Utf8PathBuf, Node>;

/// Where the trees are.
#[derive(Debug)]
pub(super) enum Files {
    /// A directory each, below this one.
    Directory(Utf8PathBuf),
    /// A map each.
    Memory(Mutex<BTreeMap<TreeId, Arc<Tree>>>),
}

/// Is told of bytes copied; says whether to go on.
pub(super) type Progress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Room a file takes: sectors of 512 bytes, as `du` counts.
fn room(size: u64) -> u64 {
    size.div_ceil(512).saturating_mul(512)
}

/// The copy was stopped.
pub(super) fn is_stop(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

fn advance(progress: Progress<'_>, bytes: u64) -> io::Result<()> {
    if progress(bytes) {
        Ok(())
    } else {
        Err(io::ErrorKind::Interrupted.into())
    }
}

impl Files {
    /// Where a tree is, where it is a directory.
    pub(super) fn path(&self, tree: TreeId) -> Option<Utf8PathBuf> {
        match self {
            Self::Directory(data) => Some(data.join(tree.to_string())),
            Self::Memory(_) => None,
        }
    }

    /// The trees in memory; `None` where they are directories.
    pub(super) fn memory(&self) -> Option<std::sync::MutexGuard<'_, BTreeMap<TreeId, Arc<Tree>>>> {
        match self {
            Self::Directory(_) => None,
            Self::Memory(trees) => Some(trees.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Makes an empty tree.
    pub(super) fn create(&self, tree: TreeId) -> io::Result<()> {
        if let Some(mut trees) = self.memory() {
            trees.insert(tree, Arc::default());
        } else if let Some(path) = self.path(tree) {
            std::fs::create_dir(&path)?;
            // As the root of a new file system.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Copies a tree.
    pub(super) fn copy(&self, from: TreeId, to: TreeId, progress: Progress<'_>) -> io::Result<()> {
        if let Self::Memory(_) = self {
            let tree = self.memory().and_then(|trees| trees.get(&from).cloned());
            let tree = tree.unwrap_or_default();
            for node in tree.values() {
                if let Node::File(contents, _) = node {
                    advance(progress, room(contents.len() as u64))?;
                }
            }
            if let Some(mut trees) = self.memory() {
                trees.insert(to, tree);
            }
            return Ok(());
        }
        self.create(to)?;
        match (self, self.path(from), self.path(to)) {
            (Self::Directory(data), Some(from), Some(to)) => {
                let copied = copy_directory(data, from.as_std_path(), to.as_std_path(), progress);
                if copied.is_err() {
                    let _ = std::fs::remove_dir_all(&to);
                }
                copied
            }
            _ => Ok(()),
        }
    }

    /// Removes what a process left behind that was killed before it saved, or
    /// a change that failed: trees after the last that is known.
    pub(super) fn sweep(&self, last: TreeId) -> io::Result<()> {
        let mut tree = last + 1;
        while self.path(tree).is_some_and(|path| path.exists()) {
            self.remove(tree)?;
            tree += 1;
        }
        Ok(())
    }

    /// Removes a tree; one that is not there is no error.
    pub(super) fn remove(&self, tree: TreeId) -> io::Result<()> {
        if let Some(mut trees) = self.memory() {
            trees.remove(&tree);
            return Ok(());
        }
        match self.path(tree).map(std::fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What is in a tree.
    pub(super) fn list(&self, tree: TreeId) -> io::Result<Listing> {
        let mut listing = Listing::new();
        if let Some(trees) = self.memory() {
            for (path, node) in trees.get(&tree).into_iter().flat_map(|tree| tree.iter()) {
                let mut hasher = DefaultHasher::new();
                let size = match node {
                    Node::File(contents, mode) => {
                        (contents, mode).hash(&mut hasher);
                        contents.len() as u64
                    }
                    Node::Link(target) => {
                        target.hash(&mut hasher);
                        0
                    }
                    Node::Directory(_) => continue,
                };
                listing.push(Entry {
                    path: path.into(),
                    size,
                    version: hasher.finish().into(),
                });
            }
        } else if let (Self::Directory(data), Some(path)) = (self, self.path(tree)) {
            let root = path.as_std_path();
            list_directory(data, root, root, &mut listing)?;
        }
        Ok(listing)
    }

    /// The sizes of `tree`, compared with those of `before`.
    ///
    /// Where it still is what `known` says, `before` is not looked at.
    pub(super) fn measure(
        &self,
        tree: TreeId,
        before: Option<TreeId>,
        known: Space,
    ) -> io::Result<Space> {
        let listing = self.list(tree)?;
        let stamp = stamp(&listing);
        if stamp == known.stamp {
            return Ok(known);
        }
        let total = |listing: &[Entry]| listing.iter().map(|entry| room(entry.size)).sum::<u64>();
        let referenced = total(&listing);
        let Some(before) = before else {
            return Ok(Space {
                referenced,
                written: referenced,
                freed: 0,
                stamp,
            });
        };
        let before = self.list(before)?;
        let kept: std::collections::HashSet<&Entry> = before.iter().collect();
        let same: u64 = listing
            .iter()
            .filter(|entry| kept.contains(entry))
            .map(|entry| room(entry.size))
            .sum();
        Ok(Space {
            referenced,
            written: referenced.saturating_sub(same),
            freed: total(&before).saturating_sub(same),
            stamp,
        })
    }
}

/// The same for the same files, whatever their order.
fn stamp(listing: &[Entry]) -> u64 {
    listing
        .iter()
        .map(|entry| {
            let mut hasher = DefaultHasher::new();
            entry.hash(&mut hasher);
            hasher.finish()
        })
        .fold(0, u64::wrapping_add)
}

/// Whether a symbolic link stands for a mount: it leads to another tree.
fn is_mount(data: &Utf8Path, target: &Path) -> bool {
    target.starts_with(data)
}

fn list_directory(
    data: &Utf8Path,
    root: &Path,
    directory: &Path,
    listing: &mut Listing,
) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list_directory(data, root, &path, listing)?;
            continue;
        }
        if kind.is_symlink() && is_mount(data, &std::fs::read_link(&path)?) {
            continue;
        }
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Somebody works in it right now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        listing.push(Entry {
            path: path.strip_prefix(root).unwrap_or(&path).to_path_buf(),
            size: if kind.is_file() { metadata.len() } else { 0 },
            version: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        });
    }
    Ok(())
}

/// Owner (for root), mode and time of `to` as those of `from`.
fn copy_attributes(metadata: &std::fs::Metadata, to: &Path) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    if !metadata.is_symlink() {
        // After the owner: changing that one clears set-user-ID.
        std::fs::set_permissions(to, metadata.permissions())?;
    }
    utimensat(
        nix::fcntl::AT_FDCWD,
        to,
        &TimeSpec::new(metadata.atime(), metadata.atime_nsec()),
        &TimeSpec::new(metadata.mtime(), metadata.mtime_nsec()),
        UtimensatFlags::NoFollowSymlink,
    )?;
    Ok(())
}

/// Copies what is in `from` into the existing `to`. Special files are skipped,
/// a mount becomes the empty directory below it.
fn copy_directory(
    data: &Utf8Path,
    from: &Path,
    to: &Path,
    progress: Progress<'_>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            std::fs::create_dir(&target)?;
            copy_directory(data, &source, &target, progress)?;
        } else if metadata.is_symlink() {
            let link = std::fs::read_link(&source)?;
            if is_mount(data, &link) {
                std::fs::create_dir(&target)?;
                continue;
            }
            std::os::unix::fs::symlink(link, &target)?;
            copy_attributes(&metadata, &target)?;
        } else if metadata.is_file() {
            std::fs::copy(&source, &target)?;
            copy_attributes(&metadata, &target)?;
            advance(progress, room(metadata.len()))?;
        }
    }
    copy_attributes(&std::fs::symlink_metadata(from)?, to)
}

/// Writes a tree of memory into an empty directory.
pub(super) fn write_out(tree: &Tree, directory: &Utf8Path) -> io::Result<()> {
    // Parents come before children in the order of paths.
    for (path, node) in tree {
        let target = directory.join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match node {
            Node::Directory(_) => std::fs::create_dir_all(&target)?,
            Node::Link(link) => std::os::unix::fs::symlink(link, &target)?,
            Node::File(contents, mode) => {
                std::fs::write(&target, contents)?;
                std::fs::set_permissions(&target, std::fs::Permissions::from_mode(*mode))?;
            }
        }
    }
    // Last, and the deepest first: a mode may forbid writing.
    for (path, node) in tree.iter().rev() {
        if let Node::Directory(mode) = node {
            std::fs::set_permissions(directory.join(path), std::fs::Permissions::from_mode(*mode))?;
        }
    }
    Ok(())
}

/// Reads a directory into a tree of memory.
pub(super) fn read_in(root: &Utf8Path, directory: &Utf8Path, tree: &mut Tree) -> io::Result<()> {
    for entry in directory.read_dir_utf8()? {
        let path = entry?.into_path();
        let metadata = path.symlink_metadata()?;
        let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_dir() {
            tree.insert(relative, Node::Directory(mode));
            read_in(root, &path, tree)?;
        } else if metadata.is_symlink() {
            tree.insert(relative, Node::Link(path.as_std_path().read_link()?));
        } else if metadata.is_file() {
            tree.insert(relative, Node::File(std::fs::read(&path)?.into(), mode));
        }
    }
    Ok(())
}
