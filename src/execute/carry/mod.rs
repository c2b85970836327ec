//! Files of one environment written into another, and put back.
//!
//! Everything that takes space is made beside its place first; then names
//! change. Every directory is opened one component at a time from the root of
//! its dataset, and none through a symbolic link, so that nothing planted in an
//! environment leads out of it.

mod file;
mod journal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use cap_std_ext::cap_std::fs::Dir;
use tracing::warn;

use self::file::Made;
use self::journal::{Entry, Journal, temporary};
use super::Cause;
use super::failpoint::{self, When};
use crate::diff::Watch;
use crate::diff::tree::{DIRECTORY, Located, Tree, below, open_at};
use crate::host::Host;
use crate::intent::OpId;
use crate::os::{self, Object};
use crate::sync::change::{Carry, Change, Contents, Resolve, TakeBack};
use crate::sync::decide::Kind;
use crate::sync::read::{Opened, told};
use crate::sync::version::{Seen, descend, open_file, read};
use crate::zfs::DatasetName;

/// Ends a reading that nobody wants any more.
struct Until<'a>(&'a AtomicBool);

impl Watch for Until<'_> {
    fn looked_at(&self, _path: &[u8]) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// Decides once more, from the snapshots, which nobody changes any more, and writes
/// what comes of it: what was written between the look and the snapshot would else
/// be in the next base without ever having been carried.
///
/// # Errors
/// Where something got into conflict meanwhile, or cannot be written.
pub fn carry(host: &Host, carry: &Carry, interrupted: &AtomicBool) -> Result<(), Cause> {
    let looked = &carry.looked;
    let opened = Opened::open(host, &looked.sides, &looked.list)?;
    let decided = opened
        .decide(
            &looked.list,
            &looked.shared,
            &looked.verdicts,
            &Until(interrupted),
        )
        .map_err(|error| failed("decide from the snapshots", error))?;
    let refused = decided.refused.iter().map(|refused| &refused.path);
    let in_the_way = decided
        .conflicts()
        .map(|row| &row.path)
        .chain(refused)
        .next();
    if let Some(path) = in_the_way {
        let path = String::from_utf8_lossy(path);
        return Err(os::Error::Busy {
            attempted: "carry the files".to_owned(),
            detail: format!("/{path} was changed since it was looked at, and is in conflict now"),
        }
        .into());
    }
    let changes = decided.changes();
    if changes.is_empty() {
        return Ok(());
    }
    let mut entries = Vec::new();
    let mut parts: BTreeMap<&DatasetName, Vec<Work<'_>>> = BTreeMap::new();
    for (number, change) in changes.into_iter().enumerate() {
        let (place, dataset) = carry
            .target
            .iter()
            .find(|(place, _)| *place == change.part)
            .ok_or_else(|| {
                failed(
                    "carry the files",
                    told(&change.path, io::Error::other("it lies in no dataset")),
                )
            })?;
        let path = below(place, &change.path).unwrap_or_default();
        entries.push(Entry {
            dataset: dataset.clone(),
            path: path.to_owned(),
            was: change.was.as_ref().map(Seen::digest),
            to: change.to.as_ref().map(Seen::digest),
        });
        parts.entry(dataset).or_default().push(Work {
            change,
            path,
            temporary: temporary(carry.id, number),
        });
    }
    let Some((_, root)) = carry.target.iter().find(|(place, _)| place.is_empty()) else {
        return Ok(());
    };
    let journal = Journal::new(carry.id, entries);
    on(host, root, &mut |root| journal::write(root, &journal))?;
    for (dataset, works) in &parts {
        on(host, dataset, &mut |root| {
            works.iter().try_for_each(|work| {
                if interrupted.load(Ordering::Relaxed) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                work.stage(root, &|path| opened.find_source(path))
                    .map_err(|error| told(&work.change.path, error))
            })
        })?;
    }
    failpoint::reached("sync", "stage", When::After)?;
    for (dataset, works) in &parts {
        on(host, dataset, &mut |root| {
            works.iter().try_for_each(|work| {
                work.apply(root)
                    .map_err(|error| told(&work.change.path, error))?;
                failpoint::reached("sync", "apply", When::After).map_err(io::Error::other)
            })
        })?;
    }
    Ok(())
}

fn failed(attempted: &str, cause: io::Error) -> Cause {
    if cause.kind() == io::ErrorKind::Interrupted {
        return Cause::Interrupted;
    }
    os::Error::io::<io::Error>(attempted)(cause).into()
}

/// Works on the root of one dataset, which is written to.
fn on(
    host: &Host,
    dataset: &DatasetName,
    work: &mut (dyn FnMut(BorrowedFd<'_>) -> io::Result<()> + Send),
) -> Result<(), Cause> {
    let done = host.platform.with_files(dataset, true, &mut |dir: &Dir| {
        work(open_at(dir.as_fd(), b".", DIRECTORY)?.as_fd())
    });
    match done {
        Err(os::Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::Interrupted => {
            Err(Cause::Interrupted)
        }
        done => Ok(done?),
    }
}

/// The directory a path lies in, and its name there; `None` where there is no
/// such directory that can be reached without a symbolic link.
fn parent<'a>(root: BorrowedFd<'_>, path: &'a [u8]) -> io::Result<Option<(OwnedFd, &'a [u8])>> {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (above, name) = match at {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (&[] as &[u8], path),
    };
    let name = match name {
        // The root of a dataset.
        b"" => b".",
        b"." | b".." => return Ok(None),
        name => name,
    };
    Ok(descend(root, above)?.map(|directory| (directory, name)))
}

/// What the source has at a path.
type Source<'a> = dyn Fn(&[u8]) -> io::Result<Option<Located>> + Sync + 'a;

/// One change, in its dataset.
struct Work<'a> {
    change: &'a Change,
    /// From the dataset's root.
    path: &'a [u8],
    /// What it is called until it is whole.
    temporary: String,
}

impl Work<'_> {
    fn parent(&self, root: BorrowedFd<'_>) -> io::Result<(OwnedFd, &[u8])> {
        parent(root, self.path)?.ok_or_else(|| {
            io::Error::other("its directory is not there, or behind a symbolic link")
        })
    }

    /// Makes what it is to be, beside it.
    fn stage(&self, root: BorrowedFd<'_>, source: &Source<'_>) -> io::Result<()> {
        let Some(to) = &self.change.to else {
            return Ok(());
        };
        let (directory, name) = self.parent(root)?;
        let directory = directory.as_fd();
        if to.kind == Kind::Directory {
            return match self.change.was {
                None => file::make_directory(directory, name, to),
                Some(_) => Ok(()),
            };
        }
        let replaced = || io::Error::other("it was replaced meanwhile");
        let (made, times) = match &self.change.contents {
            Contents::Made(bytes) => (Made::Bytes(bytes), None),
            Contents::Target => (
                match to.kind {
                    Kind::File => Made::File(open_file(directory, name)?.ok_or_else(replaced)?),
                    _ => Made::Nothing,
                },
                file::times(directory, name)?,
            ),
            Contents::Source | Contents::SourceAt(_) => {
                let path = match &self.change.contents {
                    Contents::SourceAt(path) => path,
                    _ => &self.change.path,
                };
                let found = source(path)?;
                let Some((from, name)) = found.as_ref().and_then(|found| found.at()) else {
                    return Err(replaced());
                };
                (
                    match to.kind {
                        Kind::File => Made::File(open_file(from, name)?.ok_or_else(replaced)?),
                        _ => Made::Nothing,
                    },
                    file::times(from, name)?,
                )
            }
        };
        file::make(directory, &self.temporary, to, made, times.as_ref())
    }

    /// Puts it in its place.
    fn apply(&self, root: BorrowedFd<'_>) -> io::Result<()> {
        let (directory, name) = self.parent(root)?;
        let directory = directory.as_fd();
        let Change { was, to, .. } = self.change;
        let made = was.is_none() && to.as_ref().is_some_and(|to| to.kind == Kind::Directory);
        if made {
            return Ok(rustix::fs::fsync(directory)?);
        }
        if read(directory, name)? != *was {
            return Err(io::Error::other(
                "it was changed in the target since it was looked at",
            ));
        }
        match (was, to) {
            (Some(was), None) => {
                file::remove(directory, name, was.kind)?;
            }
            (None, None) => {}
            (_, Some(to)) if to.kind == Kind::Directory => {
                file::dress_directory(directory, name, to)?;
            }
            (was, Some(_)) => file::place(directory, &self.temporary, name, was.is_some())?,
        }
        Ok(rustix::fs::fsync(directory)?)
    }
}

/// Puts back what was there before, where it still is what was put there;
/// whatever somebody changed meanwhile stays.
///
/// # Errors
/// Where a file cannot be put back. It can be tried again.
pub fn take_back(host: &Host, back: &TakeBack) -> Result<(), Cause> {
    let Some(root) = back.roots.first() else {
        return Ok(());
    };
    let mut journal = None;
    host.platform.with_files(root, false, &mut |dir| {
        let root = open_at(dir.as_fd(), b".", DIRECTORY)?;
        journal = journal::read(root.as_fd(), back.id)?;
        Ok(())
    })?;
    let mut parts: BTreeMap<&DatasetName, Vec<(usize, &Entry)>> = BTreeMap::new();
    let entries = journal.iter().flat_map(|journal| &journal.entries);
    for (number, entry) in entries.enumerate() {
        // What is written in an environment does not say what else is touched.
        if back.roots.iter().any(|root| entry.dataset.is_within(root)) {
            parts
                .entry(&entry.dataset)
                .or_default()
                .push((number, entry));
        }
    }
    for (dataset, entries) in parts {
        let before = dataset
            .snapshot(&back.snapshot)
            .map_err(|error| Cause::Recovery(error.to_string()))?;
        let before = host.platform.open_files(&Object::Snapshot(before))?;
        on(host, dataset, &mut |root| {
            entries.iter().rev().try_for_each(|(number, entry)| {
                put_back(
                    root,
                    before.root.as_fd(),
                    entry,
                    &temporary(back.id, *number),
                )
                .map_err(|error| told(&entry.path, error))
            })
        })?;
    }
    forget(host, root, back.id)
}

/// Ends a conflict that waited: what is to be there, then what was kept goes.
///
/// # Errors
/// Where a file cannot be written, or was changed meanwhile.
pub fn resolve(host: &Host, work: &Resolve) -> Result<(), Cause> {
    let tree = Tree::open(host, &work.side)?;
    for (number, change) in work.changes.iter().enumerate() {
        let lost = || told(&change.path, io::Error::other("it lies in no dataset"));
        let part = work
            .side
            .parts
            .iter()
            .rfind(|part| part.place.as_str().as_bytes() == change.part)
            .ok_or_else(|| failed("settle the conflict", lost()))?;
        let path = below(&change.part, &change.path).unwrap_or_default();
        let one = Work {
            change,
            path,
            temporary: temporary(work.id, number),
        };
        on(host, &part.object.dataset(), &mut |root| {
            let done = one
                .stage(root, &|path| tree.find(path))
                .and_then(|()| one.apply(root));
            if done.is_err()
                && let Some((directory, _)) = parent(root, path)?
            {
                file::remove(directory.as_fd(), one.temporary.as_bytes(), Kind::File)?;
            }
            done.map_err(|error| told(&change.path, error))
        })?;
    }
    Ok(())
}

/// Takes away the note of what was changed.
///
/// # Errors
/// Where the dataset cannot be mounted or written to.
pub fn forget(host: &Host, root: &DatasetName, id: OpId) -> Result<(), Cause> {
    on(host, root, &mut |root| journal::remove(root, id))
}

fn put_back(
    root: BorrowedFd<'_>,
    before: BorrowedFd<'_>,
    entry: &Entry,
    temporary: &str,
) -> io::Result<()> {
    let Some((directory, name)) = parent(root, &entry.path)? else {
        // Never made, or gone with all that is in it.
        return Ok(());
    };
    let directory = directory.as_fd();
    file::remove(directory, temporary.as_bytes(), Kind::File)?;
    let now = read(directory, name)?;
    let is = now.as_ref().map(Seen::digest);
    if is == entry.was {
        return Ok(());
    }
    if is != entry.to {
        let path = String::from_utf8_lossy(&entry.path);
        warn!(path = %path, "changed by somebody else meanwhile; it stays");
        return Ok(());
    }
    let old = parent(before, &entry.path)?;
    let was = match &old {
        Some((directory, name)) => read(directory.as_fd(), name)?,
        None => None,
    };
    match (now, was, old) {
        (Some(now), None, _) => match file::remove(directory, name, now.kind) {
            // Somebody put something into it.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            other => drop(other?),
        },
        (None, None, _) | (_, Some(_), None) => {}
        (now, Some(was), Some(_)) if was.kind == Kind::Directory => match now {
            None => file::make_directory(directory, name, &was)?,
            Some(_) => file::dress_directory(directory, name, &was)?,
        },
        (now, Some(was), Some((from, old))) => {
            let from = from.as_fd();
            let made = match (was.kind, open_file(from, old)?) {
                (Kind::File, Some(file)) => Made::File(file),
                _ => Made::Nothing,
            };
            let times = file::times(from, old)?;
            file::make(directory, temporary, &was, made, times.as_ref())?;
            file::place(directory, temporary, name, now.is_some())?;
        }
    }
    Ok(rustix::fs::fsync(directory)?)
}
