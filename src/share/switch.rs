//! How a directory of an environment gives way to what is shared, and comes back:
//! renames, each of which can be repeated, in an order that can stop anywhere.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::change::name;
use super::copy::{self, Depth, parent_of};
use super::record::Form;
use super::{Place, aside, out};
use crate::diff::tree::{DIRECTORY as DIRECTORY_FLAGS, open_at, optional, stat};
use crate::host::Host;
use crate::intent::OpId;
use crate::os::{Error, Object};

/// The names an operation uses beside a directory of an environment.
pub(super) struct Names {
    pub(super) parent: OwnedFd,
    pub(super) leaf: Vec<u8>,
    /// What was there before, or what is to be there.
    pub(super) kept: Vec<u8>,
    /// The link, before it is in its place.
    new: Vec<u8>,
}

impl Names {
    pub(super) fn of(place: &Place, id: OpId, home: BorrowedFd<'_>) -> io::Result<Self> {
        let (parent, leaf) = parent_of(home, &place.below)?;
        let kept = aside(place.below.file_name().unwrap_or_default(), id).into_bytes();
        let new = [kept.as_slice(), b".new"].concat();
        Ok(Self {
            parent,
            leaf,
            kept,
            new,
        })
    }

    pub(super) fn exists(&self, what: &[u8]) -> io::Result<bool> {
        Ok(stat(self.parent.as_fd(), what)?.is_some())
    }

    pub(super) fn is_directory(&self, what: &[u8]) -> io::Result<bool> {
        let found = stat(self.parent.as_fd(), what)?;
        Ok(found.is_some_and(|found| {
            FileType::from_raw_mode(u32::from(found.stx_mode)) == FileType::Directory
        }))
    }

    pub(super) fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(
            &self.parent,
            name(from),
            &self.parent,
            name(to),
            RenameFlags::NOREPLACE,
        )?)
    }

    pub(super) fn is_link_to(&self, what: &[u8], place: &Place) -> io::Result<bool> {
        let link = rustix::fs::readlinkat(&self.parent, name(what), Vec::new());
        match link {
            Err(Errno::INVAL) => Ok(false),
            link => Ok(optional(link)?
                .is_some_and(|link| link.to_bytes() == place.link().as_str().as_bytes())),
        }
    }

    /// The directory has given way: it is the link, or what was there is aside.
    fn is_switched(&self, place: &Place) -> io::Result<bool> {
        let linked = place.form == Form::Link && self.is_link_to(&self.leaf, place)?;
        Ok(linked || self.is_directory(&self.kept)?)
    }
}

/// Whether an operation has put the link, or the mount's directory, in its place.
///
/// # Errors
/// Whatever the system says.
pub fn is_switched(host: &Host, place: &Place, id: OpId) -> Result<bool, Error> {
    looked(host, place, id, |names| names.is_switched(place))
}

/// Whether a copy of what is shared has taken the place of the link or the mount;
/// true only where the copy was made.
///
/// # Errors
/// Whatever the system says.
pub fn is_returned(host: &Host, place: &Place, id: OpId) -> Result<bool, Error> {
    looked(host, place, id, |names| out::is_taken(names, place))
}

/// What is in the place, in the files of the environment.
fn looked(
    host: &Host,
    place: &Place,
    id: OpId,
    look: impl FnOnce(&Names) -> io::Result<bool>,
) -> Result<bool, Error> {
    let home = Object::Dataset(place.home.clone());
    let files = host.platform.open_files(&home)?;
    Names::of(place, id, files.root.as_fd())
        .and_then(|names| look(&names))
        .map_err(Error::io(format!("look at {}", place.path)))
}

/// The directory gives way to the link, or to the directory of the mount.
pub(super) fn enter(
    place: &Place,
    id: OpId,
    home: BorrowedFd<'_>,
    share: BorrowedFd<'_>,
) -> io::Result<()> {
    let names = Names::of(place, id, home)?;
    if !names.is_switched(place)? {
        let staged = aside(&place.name, id);
        if place.form == Form::Link && !names.exists(&names.new)? {
            let link = place.link();
            rustix::fs::symlinkat(link.as_str(), &names.parent, name(&names.new))?;
        }
        let pair = [
            (names.parent.as_fd(), names.leaf.as_slice()),
            (share, staged.as_bytes()),
        ];
        copy::unchanged(pair)?;
        rustix::fs::renameat_with(share, &staged, share, &place.name, RenameFlags::NOREPLACE)?;
        if place.form == Form::Link {
            exchange(&names)?;
        } else {
            names.rename(&names.leaf, &names.kept)?;
        }
    }
    // From here on it is repeated until it is done.
    if !names.exists(&names.kept)? {
        names.rename(&names.new, &names.kept)?;
    }
    if !names.exists(&names.leaf)? {
        match place.form {
            Form::Link if names.exists(&names.new)? => names.rename(&names.new, &names.leaf)?,
            Form::Link => {
                let link = place.link();
                rustix::fs::symlinkat(link.as_str(), &names.parent, name(&names.leaf))?;
            }
            Form::Bind => {
                rustix::fs::mkdirat(&names.parent, name(&names.leaf), Mode::RWXU)?;
                let open = |what| open_at(names.parent.as_fd(), what, DIRECTORY_FLAGS);
                copy::finish(&open(&names.kept)?, &open(&names.leaf)?)?;
            }
        }
    }
    Ok(())
}

/// The directory and the link change places. Where a release of ZFS cannot do
/// that (it came with 2.2), in two steps.
fn exchange(names: &Names) -> io::Result<()> {
    let (leaf, new) = (name(&names.leaf), name(&names.new));
    let parent = &names.parent;
    match rustix::fs::renameat_with(parent, leaf, parent, new, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            names.rename(&names.leaf, &names.kept)
        }
        done => Ok(done?),
    }
}

/// What was there before is there again.
pub(super) fn leave(
    place: &Place,
    id: OpId,
    home: BorrowedFd<'_>,
    share: BorrowedFd<'_>,
) -> io::Result<()> {
    let names = Names::of(place, id, home)?;
    let unlink = |what: &[u8], flags| match rustix::fs::unlinkat(&names.parent, name(what), flags) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    };
    if names.is_switched(place)? {
        if !names.exists(&names.kept)? {
            names.rename(&names.new, &names.kept)?;
        }
        let (parent, leaf, kept) = (&names.parent, name(&names.leaf), name(&names.kept));
        let back = rustix::fs::renameat_with(parent, leaf, parent, kept, RenameFlags::EXCHANGE);
        match back {
            Err(Errno::NOENT) => names.rename(&names.kept, &names.leaf)?,
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                unlink(&names.leaf, given_way(place.form))?;
                names.rename(&names.kept, &names.leaf)?;
            }
            done => done?,
        }
    }
    for left in [&names.new, &names.kept] {
        if names.is_link_to(left, place)? {
            unlink(left, AtFlags::empty())?;
        } else if place.form == Form::Bind && names.is_directory(left)? {
            // The mount's directory, which nobody has written to: else it stays.
            unlink(left, AtFlags::REMOVEDIR)?;
        }
    }
    let staged = aside(&place.name, id);
    let there = |what: &str| Ok::<_, io::Error>(stat(share, what.as_bytes())?.is_some());
    if !there(&staged)? && there(&place.name)? {
        // Only what is the very copy: it may be somebody else's by that name.
        let pair = [
            (names.parent.as_fd(), names.leaf.as_slice()),
            (share, place.name.as_bytes()),
        ];
        if copy::difference(pair, Depth::Times)?.is_none() {
            let flags = RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(share, &place.name, share, &staged, flags)?;
        }
    }
    Ok(())
}

/// How what is in a directory's place is removed.
fn given_way(form: Form) -> AtFlags {
    match form {
        Form::Link => AtFlags::empty(),
        Form::Bind => AtFlags::REMOVEDIR,
    }
}
