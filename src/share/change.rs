//! What is done to the files of an environment and of the shared dataset. Each
//! change can be repeated, and stopped anywhere.
//!
//! Both are worked on in a mount namespace nobody else sees
//! (`Platform::with_files`): what is mounted over them is not in the way, and an
//! open directory cannot be left.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;
use cap_std_ext::dirext::CapStdExtDirExt as _;
use rustix::fs::{AtFlags, FileType, RenameFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::copy::{self, parent_of};
use super::record::Form;
use super::{DIRECTORY, Place, aside, layout, out, switch};
use crate::diff::tree::stat;
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
            switch::enter(place, *id, home, share)
        })?,
        ShareChange::Leave { place, id } => both(host, place, &mut |home, share| {
            switch::leave(place, *id, home, share)
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
