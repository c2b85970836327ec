//! What an environment has in the places of what is shared: links and mounts into
//! the shared dataset, or directories of its own; and how it gets the former.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use camino::Utf8Path;
use cap_std_ext::cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::Place;
use super::change::name;
use super::copy::{self, MAX_DEPTH};
use super::look::loose;
use super::record::{Entry, Form};
use super::switch::Names;
use crate::be::BootEnvironment;
use crate::diff;
use crate::diff::tree::{DIRECTORY, names, open_at, stat};
use crate::execute::mount::prepare;
use crate::host::Host;
use crate::intent::OpId;
use crate::os::{Error, Object, Result};
use crate::survey::Survey;
use crate::zfs::DatasetName;

/// What an environment has in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Has {
    /// The link, or the mount.
    Share,
    /// Nothing, or an empty directory.
    Nothing,
    /// A directory of its own.
    Own {
        /// When something in it was changed last, seconds since the epoch.
        changed: i64,
    },
    /// Something that is not made way: why.
    Other(String),
}

/// One shared directory in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// The operation that shared it.
    pub id: OpId,
    /// When that was, seconds since the epoch.
    pub at: i64,
    /// What is there.
    pub has: Has,
}

/// What an environment has in the places of some entries; `None` where its files
/// cannot be looked at.
///
/// # Errors
/// Where they cannot be read.
pub fn look(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    share: &DatasetName,
    entries: &[Entry],
) -> Result<Option<Vec<Found>>> {
    let locked = |dataset: &&crate::zfs::Dataset| !dataset.key_loaded;
    if environment.datasets().iter().any(locked) {
        return Ok(None);
    }
    let Some(side) = diff::side(host, survey, environment, None)? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    for entry in entries {
        let below = Utf8Path::new(entry.path.as_str().trim_start_matches('/'));
        let longest = side
            .parts
            .iter()
            .filter(|part| below.starts_with(&part.place) && below != part.place)
            .max_by_key(|part| part.place.components().count());
        let occupied = side.parts.iter().any(|part| part.place == *below);
        let Some(part) = longest else { continue };
        let place = Place {
            path: entry.path.clone(),
            home: part.object.dataset(),
            below: below.strip_prefix(&part.place).unwrap_or(below).to_owned(),
            share: share.clone(),
            name: entry.name.clone(),
            form: entry.form,
        };
        let told = || format!("look at {} of {}", entry.path, environment.name());
        let has = if occupied {
            Has::Other("a dataset of its own is mounted there".to_owned())
        } else {
            let root = environment.root.name.clone();
            let unit = host.platform.open_files(&Object::Dataset(root))?;
            let files = host
                .platform
                .open_files(&Object::Dataset(place.home.clone()))?;
            has(&unit.root, &files.root, &place).map_err(Error::io(told()))?
        };
        all.push(Found {
            place,
            id: entry.id,
            at: entry.at.timestamp(),
            has,
        });
    }
    Ok(Some(all))
}

fn has(root: &Dir, files: &Dir, place: &Place) -> io::Result<Has> {
    if let Some(loose) = loose(files, &place.below, &place.path)? {
        return Ok(Has::Other(loose));
    }
    let names = match Names::of(place, OpId::from_bits(0), files.as_fd()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Has::Nothing),
        names => names?,
    };
    let is_shared = match place.form {
        Form::Link => names.is_link_to(&names.leaf, place)?,
        Form::Bind => {
            let unit = format!("{}/{}", super::change::SYSTEM, place.unit());
            root.symlink_metadata(unit).is_ok() && names.is_directory(&names.leaf)?
        }
    };
    if is_shared {
        return Ok(Has::Share);
    }
    if !names.exists(&names.leaf)? {
        return Ok(Has::Nothing);
    }
    if !names.is_directory(&names.leaf)? {
        return Ok(Has::Other("it is no directory".to_owned()));
    }
    let mut changed = None;
    walk(
        open_at(names.parent.as_fd(), &names.leaf, DIRECTORY)?,
        0,
        &mut changed,
    )?;
    Ok(match changed {
        None => Has::Nothing,
        Some(changed) => Has::Own { changed },
    })
}

/// When anything in a tree was changed last, by inodes' times, which nobody sets;
/// not at all where it is empty.
fn walk(directory: OwnedFd, depth: usize, changed: &mut Option<i64>) -> io::Result<()> {
    for one in names(directory.as_fd(), false)? {
        let Some(found) = stat(directory.as_fd(), &one.name)? else {
            continue;
        };
        let time = found.stx_ctime.tv_sec;
        *changed = Some(changed.map_or(time, |other| other.max(time)));
        let is_directory =
            FileType::from_raw_mode(u32::from(found.stx_mode)) == FileType::Directory;
        // What is deeper than is followed anywhere is not told of.
        if is_directory && depth < MAX_DEPTH {
            let below = open_at(directory.as_fd(), &one.name, DIRECTORY)?;
            walk(below, depth + 1, changed)?;
        }
    }
    Ok(())
}

/// What was there is kept under the name that it would have had, had it been
/// shared in this environment; where that is taken, under another one.
pub(super) fn enter(place: &Place, [id, spare]: [OpId; 2], home: &Dir) -> io::Result<()> {
    let parent = place.below.parent().unwrap_or(Utf8Path::new(""));
    if !parent.as_str().is_empty() {
        prepare(home, parent, false)?;
    }
    let mut names = Names::of(place, id, home.as_fd())?;
    if names.exists(&names.kept)? && !names.is_link_to(&names.kept, place)? {
        // Halfway, the mount's directory is missing.
        if names.exists(&names.leaf)? {
            names = Names::of(place, spare, home.as_fd())?;
        }
    }
    match place.form {
        Form::Link => link(place, &names),
        Form::Bind => mount_directory(&names),
    }
}

fn is_empty(parent: BorrowedFd<'_>, leaf: &[u8]) -> io::Result<bool> {
    let directory = open_at(parent, leaf, DIRECTORY)?;
    Ok(names(directory.as_fd(), false)?.is_empty())
}

fn link(place: &Place, of: &Names) -> io::Result<()> {
    if of.is_link_to(&of.leaf, place)? {
        return Ok(());
    }
    let link = place.link();
    let make = |at: &[u8]| rustix::fs::symlinkat(link.as_str(), &of.parent, name(at));
    if !of.exists(&of.leaf)? {
        return Ok(make(&of.leaf)?);
    }
    if !of.is_directory(&of.leaf)? {
        return Err(io::Error::other("it is no directory"));
    }
    if !of.exists(&of.kept)? {
        make(&of.kept)?;
    }
    let (leaf, kept) = (name(&of.leaf), name(&of.kept));
    let unlink = |what, flags| rustix::fs::unlinkat(&of.parent, what, flags);
    match rustix::fs::renameat_with(&of.parent, leaf, &of.parent, kept, RenameFlags::EXCHANGE) {
        // A release of ZFS that cannot do that (it came with 2.2).
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            unlink(kept, AtFlags::empty())?;
            of.rename(&of.leaf, &of.kept)?;
            make(&of.leaf)?;
        }
        done => done?,
    }
    if is_empty(of.parent.as_fd(), &of.kept)? {
        unlink(kept, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

fn mount_directory(of: &Names) -> io::Result<()> {
    if of.exists(&of.leaf)? {
        if !of.is_directory(&of.leaf)? {
            return Err(io::Error::other("it is no directory"));
        }
        if is_empty(of.parent.as_fd(), &of.leaf)? {
            return Ok(());
        }
        of.rename(&of.leaf, &of.kept)?;
    }
    rustix::fs::mkdirat(&of.parent, name(&of.leaf), Mode::RWXU)?;
    let open = |what: &[u8]| open_at(of.parent.as_fd(), what, DIRECTORY);
    if of.is_directory(&of.kept)? {
        copy::finish(&open(&of.kept)?, &open(&of.leaf)?)?;
    }
    Ok(())
}
