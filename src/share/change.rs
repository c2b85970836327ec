//! What is done to the files of an environment and of the shared dataset. Each
//! change can be repeated, and stopped anywhere.
//!
//! Both are worked on in a mount namespace nobody else sees
//! (`Platform::with_files`): what is mounted over them is not in the way, and an
//! open directory cannot be left.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;
use cap_std_ext::dirext::CapStdExtDirExt as _;
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::copy::{self, Depth, parent_of};
use super::record::Form;
use super::{DIRECTORY, Place, aside, layout, out};
use crate::diff::tree::{DIRECTORY as DIRECTORY_FLAGS, open_at, optional, stat};
use crate::execute::mount::prepare;
use crate::execute::{Cause, Progress};
use crate::host::Host;
use crate::intent::OpId;
use crate::os::{Error, MountRequest, Object};
use crate::zfs::{DatasetName, SnapshotName};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum ShareChange {
    /// The directory to mount the dataset on.
    Directory {
        /// The dataset of the environment it lies in.
        home: DatasetName,
        /// Where in that.
        below: Utf8PathBuf,
        /// Away with it, where it is empty.
        off: bool,
    },
    /// The dataset, on its directory.
    Mount {
        /// Which.
        share: DatasetName,
    },
    /// The end of that.
    Unmount {
        /// Which.
        share: DatasetName,
    },
    /// A tree with everything, to where nothing is; compared afterwards.
    Copy {
        /// The dataset it is copied from.
        from: DatasetName,
        /// As it was in this snapshot of it.
        snapshot: Option<SnapshotName>,
        /// Where in it.
        path: Utf8PathBuf,
        /// The dataset it is copied to.
        to: DatasetName,
        /// Where in that.
        staged: Utf8PathBuf,
        /// How much it is, bytes.
        bytes: u64,
    },
    /// The end of what an operation left: a copy, or what was there before.
    Remove {
        /// The dataset.
        dataset: DatasetName,
        /// Where in it.
        path: Utf8PathBuf,
    },
    /// What was copied takes the place of something, which takes its place.
    Exchange {
        /// The dataset.
        dataset: DatasetName,
        /// The copy.
        staged: Utf8PathBuf,
        /// What it is put in the place of.
        path: Utf8PathBuf,
    },
    /// A directory of the environment gives way to its copy in the shared dataset.
    Enter {
        /// Which.
        place: Place,
        /// The operation.
        id: OpId,
    },
    /// It is back in its place, as before.
    Leave {
        /// Which.
        place: Place,
        /// The operation.
        id: OpId,
    },
    /// A copy of what is shared takes the place of the link, or the mount's directory.
    Return {
        /// Which.
        place: Place,
        /// The operation.
        id: OpId,
        /// As before again.
        off: bool,
    },
    /// What was shared is kept beside, as nobody's.
    Retire {
        /// The shared dataset.
        share: DatasetName,
        /// What it was called there. Not `name`: that is the step's in JSON.
        leaf: String,
        /// The operation.
        id: OpId,
    },
    /// An environment's own directory gives way to what is shared.
    Apply {
        /// Which.
        place: Place,
        /// The root of the environment.
        root: DatasetName,
        /// The operation that shared it, which names what is kept.
        id: OpId,
        /// Where that name is taken.
        spare: OpId,
    },
    /// A bind mount and the unit that makes it at each boot.
    Bind {
        /// Which.
        place: Place,
        /// The root of the environment whose unit it is.
        root: DatasetName,
        /// They end.
        off: bool,
    },
}

impl fmt::Display for ShareChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { home, below, off } => {
                let verb = if *off { "remove" } else { "make" };
                write!(f, "{verb} the directory {below} of {home}")
            }
            Self::Mount { share } => write!(f, "mount {share} on {DIRECTORY}"),
            Self::Unmount { share } => write!(f, "unmount {share} from {DIRECTORY}"),
            Self::Copy {
                from,
                snapshot,
                path,
                to,
                staged,
                bytes,
            } => {
                let from = match snapshot {
                    Some(snapshot) => snapshot.as_str(),
                    None => from.as_str(),
                };
                write!(
                    f,
                    "copy {path} of {from} to {staged} of {to} ({} bytes), and compare",
                    bytes
                )
            }
            Self::Remove { dataset, path } => write!(f, "remove {path} of {dataset}"),
            Self::Exchange { dataset, path, .. } => {
                write!(f, "put the copy in the place of {path} of {dataset}")
            }
            Self::Enter { place, id } => {
                let kept = aside(place.path.file_name().unwrap_or_default(), *id);
                match place.form {
                    Form::Link => write!(f, "{} -> {}", place.path, place.link()),
                    Form::Bind => write!(f, "an empty {}", place.path),
                }?;
                write!(f, "; what was there becomes {kept} beside it")
            }
            Self::Leave { place, .. } => write!(f, "{} as it was", place.path),
            Self::Return { place, off, .. } => {
                let again = if *off {
                    "as it was"
                } else {
                    "a directory again"
                };
                write!(f, "{} {again}", place.path)
            }
            Self::Apply { place, .. } => write!(
                f,
                "{} of {} leads to {}; what it has of its own is kept beside",
                place.below,
                place.home,
                place.shared_path()
            ),
            Self::Retire { share, leaf, id } => {
                write!(f, "{leaf} of {share} becomes {}", aside(leaf, *id))
            }
            Self::Bind { place, off, .. } => {
                let (path, from) = (&place.path, place.shared_path());
                if *off {
                    write!(f, "unmount {path}, without {}", place.unit())
                } else {
                    write!(
                        f,
                        "mount {from} on {path}, at each boot by {}",
                        place.unit()
                    )
                }
            }
        }
    }
}

pub(super) fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Makes a change.
///
/// # Errors
/// Whatever the system says; what is in use is whole either way.
pub fn perform(
    host: &Host,
    change: &ShareChange,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> Result<(), Cause> {
    let platform = host.platform.as_ref();
    match change {
        ShareChange::Directory { home, below, off } => {
            platform.with_files(home, true, &mut |root| {
                if !*off {
                    return prepare(root, below, false);
                }
                let (parent, leaf) = parent_of(root.as_fd(), below)?;
                match rustix::fs::unlinkat(parent, name(&leaf), AtFlags::REMOVEDIR) {
                    Err(Errno::NOENT | Errno::NOTEMPTY | Errno::BUSY | Errno::EXIST) => Ok(()),
                    done => Ok(done?),
                }
            })?;
        }
        ShareChange::Mount { share } => platform.mount_in_place(&MountRequest {
            dataset: share.clone(),
            directory: DIRECTORY.into(),
            readonly: false,
            legacy: false,
        })?,
        ShareChange::Unmount { .. } => platform.unmount(Utf8Path::new(DIRECTORY), false)?,
        ShareChange::Copy {
            from,
            snapshot,
            path,
            to,
            staged,
            bytes,
        } => {
            let object = match snapshot {
                Some(snapshot) => Object::Snapshot(snapshot.clone()),
                None => Object::Dataset(from.clone()),
            };
            progress.total(*bytes);
            let files = platform.open_files(&object)?;
            let copied = platform.with_files(to, true, &mut |root| {
                let (from, leaf) = parent_of(files.root.as_fd(), path)?;
                let (to, staged) = parent_of(root.as_fd(), staged)?;
                copy::copy((from.as_fd(), &leaf), (to.as_fd(), &staged), &mut |bytes| {
                    progress.advance(bytes);
                    !interrupted.load(Ordering::Relaxed)
                })
            });
            match copied {
                Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::Interrupted => {
                    return Err(Cause::Interrupted);
                }
                Err(Error::Io { cause, .. }) => Err(Error::Io {
                    attempted: format!("copy {path} of {object} to {to}"),
                    cause,
                })?,
                other => other?,
            }
        }
        ShareChange::Remove { dataset, path } => {
            platform.with_files(dataset, true, &mut |root| remove(root, path))?;
        }
        ShareChange::Exchange {
            dataset,
            staged,
            path,
        } => platform.with_files(dataset, true, &mut |root| put(root, staged, path))?,
        ShareChange::Enter { place, id } => both(host, place, &mut |home, share| {
            enter(place, *id, home, share)
        })?,
        ShareChange::Leave { place, id } => both(host, place, &mut |home, share| {
            leave(place, *id, home, share)
        })?,
        ShareChange::Return { place, id, off } => both(host, place, &mut |home, share| {
            if *off {
                out::back(place, *id, home)
            } else {
                out::take(place, *id, home, share)
            }
        })?,
        ShareChange::Retire { share, leaf, id } => {
            platform.with_files(share, true, &mut |root| out::retire(root, leaf, *id))?;
        }
        ShareChange::Apply {
            place,
            root,
            id,
            spare,
        } => {
            let is_bound = place.form == Form::Bind;
            // First: with the unit and without room for it the boot mounts it over
            // what is there; the other way round nothing would be shared.
            if is_bound {
                platform.with_files(root, true, &mut |root| unit(root, place, false))?;
            }
            platform.with_files(&place.home, true, &mut |home| {
                layout::enter(place, [*id, *spare], home)
            })?;
            if is_bound && platform.root_dataset()?.as_ref() == Some(root) {
                platform.bind(&place.shared_path(), &place.path, false)?;
            }
        }
        ShareChange::Bind { place, root, off } => {
            // Of one that does not run only the unit is of use.
            let runs = platform.root_dataset()?.as_ref() == Some(root);
            if *off && runs {
                platform.bind(&place.shared_path(), &place.path, true)?;
            }
            platform.with_files(root, true, &mut |root| unit(root, place, *off))?;
            if !*off && runs {
                platform.bind(&place.shared_path(), &place.path, false)?;
            }
        }
    }
    Ok(())
}

type Both<'a> = &'a mut (dyn FnMut(BorrowedFd<'_>, BorrowedFd<'_>) -> io::Result<()> + Send);

/// Works on the environment's files and the shared ones.
fn both(host: &Host, place: &Place, work: Both<'_>) -> Result<(), Cause> {
    let platform = host.platform.as_ref();
    let mut done = Ok(());
    platform.with_files(&place.home, true, &mut |home| {
        let inner = platform.with_files(&place.share, true, &mut |share| {
            done = work(home.as_fd(), share.as_fd());
            Ok(())
        });
        inner.map_err(io::Error::other)
    })?;
    done.map_err(|cause| {
        Cause::Os(Error::Io {
            attempted: format!("switch {}", place.path),
            cause,
        })
    })
}

/// Only what an operation named.
fn remove(root: &Dir, path: &Utf8Path) -> io::Result<()> {
    let leaf = path.file_name().unwrap_or_default();
    if !leaf.contains(".beadm-rs-") {
        return Err(io::Error::other(format!("{path} is not this program's")));
    }
    let (parent, leaf) = match parent_of(root.as_fd(), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let Some(found) = stat(parent.as_fd(), &leaf)? else {
        return Ok(());
    };
    if FileType::from_raw_mode(u32::from(found.stx_mode)) == FileType::Directory {
        return Dir::reopen_dir(&parent)?.remove_dir_all(name(&leaf));
    }
    Ok(rustix::fs::unlinkat(parent, name(&leaf), AtFlags::empty())?)
}

/// One rename. Where a release of ZFS cannot let two names change places (it came
/// with 2.2), what was there has no name for a moment.
fn put(root: &Dir, staged: &Utf8Path, path: &Utf8Path) -> io::Result<()> {
    let (parent, leaf) = parent_of(root.as_fd(), path)?;
    let (leaf, staged) = (name(&leaf), staged.as_str());
    let rename = |flags| rustix::fs::renameat_with(root, staged, &parent, leaf, flags);
    match rename(RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => {}
        done => return Ok(done?),
    }
    match rename(RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let before = format!("{staged}.before");
            rustix::fs::renameat(&parent, leaf, root, &before)?;
            rename(RenameFlags::NOREPLACE)?;
            Ok(rustix::fs::renameat(root, &before, root, staged)?)
        }
        done => Ok(done?),
    }
}

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
    let files = host
        .platform
        .open_files(&Object::Dataset(place.home.clone()))?;
    Names::of(place, id, files.root.as_fd())
        .and_then(|names| names.is_switched(place))
        .map_err(Error::io(format!("look at {}", place.path)))
}

/// Whether a copy of what is shared has taken the place of the link or the mount;
/// true only where the copy was made.
///
/// # Errors
/// Whatever the system says.
pub fn is_returned(host: &Host, place: &Place, id: OpId) -> Result<bool, Error> {
    let files = host
        .platform
        .open_files(&Object::Dataset(place.home.clone()))?;
    Names::of(place, id, files.root.as_fd())
        .and_then(|names| out::is_taken(&names, place))
        .map_err(Error::io(format!("look at {}", place.path)))
}

fn enter(place: &Place, id: OpId, home: BorrowedFd<'_>, share: BorrowedFd<'_>) -> io::Result<()> {
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
        if let Some(what) = copy::difference(pair, Depth::Times)? {
            return Err(io::Error::other(format!(
                "{what}: it was changed after it was copied"
            )));
        }
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

fn leave(place: &Place, id: OpId, home: BorrowedFd<'_>, share: BorrowedFd<'_>) -> io::Result<()> {
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

/// Where an administrator's units are, and who starts what mounts file systems.
pub(super) const SYSTEM: &str = "etc/systemd/system";
const WANTS: &str = "etc/systemd/system/local-fs.target.wants";

fn unit(root: &Dir, place: &Place, off: bool) -> io::Result<()> {
    let unit = place.unit();
    let (file, link) = (
        Utf8Path::new(SYSTEM).join(&unit),
        Utf8Path::new(WANTS).join(&unit),
    );
    if off {
        for path in [link, file] {
            root.remove_file_optional(&path)?;
        }
        return Ok(());
    }
    prepare(root, WANTS.into(), false)?;
    root.atomic_write(&file, place.unit_text())?;
    if root.symlink_metadata(&link).is_err() {
        root.symlink_contents(format!("/{file}"), &link)?;
    }
    Ok(())
}
