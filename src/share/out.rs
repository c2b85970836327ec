//! A shared directory becomes one of the environment again: what is done to files
//! for [`ShareChange::Return`](super::change::ShareChange) and `Retire`.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use cap_std_ext::cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::change::name;
use super::copy;
use super::record::Form;
use super::switch::Names;
use super::{Place, aside};
use crate::diff::tree::{DIRECTORY, open_at, stat};
use crate::intent::OpId;

/// Whether the copy, which was made, is in its place.
pub(super) fn is_taken(names: &Names, place: &Place) -> io::Result<bool> {
    Ok(match place.form {
        Form::Link => names.is_directory(&names.leaf)? || !names.exists(&names.leaf)?,
        Form::Bind => !names.exists(&names.kept)? || !names.exists(&names.leaf)?,
    })
}

/// The copy takes the place: of a link by changing places with it, of the
/// directory of a mount, which is gone, by the name it leaves.
pub(super) fn take(
    place: &Place,
    id: OpId,
    home: BorrowedFd<'_>,
    share: BorrowedFd<'_>,
) -> io::Result<()> {
    let names = Names::of(place, id, home)?;
    if !is_taken(&names, place)? {
        let pair = [
            (share, place.name.as_bytes()),
            (names.parent.as_fd(), names.kept.as_slice()),
        ];
        copy::unchanged(pair)?;
        match place.form {
            Form::Link => exchange(&names)?,
            // Refused where somebody has written into it meanwhile.
            Form::Bind => unlink(&names, &names.leaf, AtFlags::REMOVEDIR)?,
        }
    }
    if !names.exists(&names.leaf)? && names.exists(&names.kept)? {
        names.rename(&names.kept, &names.leaf)?;
    }
    if names.is_link_to(&names.kept, place)? {
        unlink(&names, &names.kept, AtFlags::empty())?;
    }
    Ok(())
}

fn unlink(names: &Names, what: &[u8], flags: AtFlags) -> io::Result<()> {
    match rustix::fs::unlinkat(&names.parent, name(what), flags) {
        Err(Errno::NOENT) => Ok(()),
        done => Ok(done?),
    }
}

/// Where a release of ZFS cannot let two names change places (it came with 2.2),
/// the link goes first.
fn exchange(names: &Names) -> io::Result<()> {
    let (parent, leaf, kept) = (&names.parent, name(&names.leaf), name(&names.kept));
    match rustix::fs::renameat_with(parent, leaf, parent, kept, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            unlink(names, &names.leaf, AtFlags::empty())
        }
        done => Ok(done?),
    }
}

/// The link, or the mount's directory, is in its place again, and the copy beside.
pub(super) fn back(place: &Place, id: OpId, home: BorrowedFd<'_>) -> io::Result<()> {
    let names = Names::of(place, id, home)?;
    if names.is_link_to(&names.kept, place)? {
        return exchange(&names);
    }
    if names.is_directory(&names.leaf)? && !names.exists(&names.kept)? {
        names.rename(&names.leaf, &names.kept)?;
    }
    if names.exists(&names.leaf)? {
        return Ok(());
    }
    match place.form {
        Form::Link => {
            let link = place.link();
            Ok(rustix::fs::symlinkat(
                link.as_str(),
                &names.parent,
                name(&names.leaf),
            )?)
        }
        Form::Bind => {
            rustix::fs::mkdirat(&names.parent, name(&names.leaf), Mode::RWXU)?;
            let open = |what| open_at(names.parent.as_fd(), what, DIRECTORY);
            copy::finish(&open(&names.kept)?, &open(&names.leaf)?)
        }
    }
}

/// What was shared gets the name under which it is kept.
pub(super) fn retire(root: &Dir, shared: &str, id: OpId) -> io::Result<()> {
    let there = |what: &str| Ok::<_, io::Error>(stat(root.as_fd(), what.as_bytes())?.is_some());
    let kept = aside(shared, id);
    if there(&kept)? || !there(shared)? {
        return Ok(());
    }
    let flags = RenameFlags::NOREPLACE;
    Ok(rustix::fs::renameat_with(root, shared, root, &kept, flags)?)
}
