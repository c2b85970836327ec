//! Dataset names in the files of an environment that is not running.

use std::io;

use cap_std_ext::cap_std::fs::{Dir, Metadata, MetadataExt as _, PermissionsExt as _};
use cap_std_ext::dirext::CapStdExtDirExt as _;

use super::Cause;
use crate::be::rewrite::{self, Names};
use crate::host::Host;
use crate::zfs::DatasetName;

/// The largest file that is read, bytes: a cache of half a million datasets.
const MAX_BYTES: u64 = 64 << 20;

/// Writes names anew in fstab and zfs-list.cache of one dataset, where they
/// stand there. Symbolic links that lead out of it are not followed.
///
/// # Errors
/// Where the dataset cannot be mounted, or a file not be read or written.
pub fn names(host: &Host, dataset: &DatasetName, names: &Names) -> Result<(), Cause> {
    if are_due(host, dataset, names) {
        write(host, dataset, names)?;
    }
    Ok(())
}

/// Whether there are any to be written. Mounted for reading the dataset costs no
/// transaction group. Where that is refused, as for what is mounted for writing already,
/// the writing tells.
pub(super) fn are_due(host: &Host, dataset: &DatasetName, names: &Names) -> bool {
    let mut due = false;
    let looked = host.platform.with_files(dataset, false, &mut |root| {
        each(root, names, &mut |_, _, _| {
            due = true;
            Ok(())
        })
    });
    due || looked.is_err()
}

/// Writes them.
pub(super) fn write(host: &Host, dataset: &DatasetName, names: &Names) -> Result<(), Cause> {
    host.platform
        .with_files(dataset, true, &mut |root| each(root, names, &mut replace))?;
    Ok(())
}

/// What a file was, and is to be.
struct Change {
    was: Metadata,
    text: Vec<u8>,
}

type Visit<'a> = dyn FnMut(&Dir, &str, Change) -> io::Result<()> + 'a;

/// Visits every file that is to be changed.
fn each(root: &Dir, names: &Names, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut file = |dir: &Dir, path: &str, change: &dyn Fn(&[u8]) -> Vec<u8>| match changed(
        dir, path, change,
    )? {
        Some(change) => visit(dir, path, change),
        None => Ok(()),
    };
    file(root, rewrite::FSTAB, &|text| rewrite::fstab(text, names))?;
    let Some(caches) = optional(root.open_dir(rewrite::LIST_CACHE))? else {
        return Ok(());
    };
    for entry in caches.entries()? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str() {
            file(&caches, name, &|text| rewrite::list_cache(text, names))?;
        }
    }
    Ok(())
}

/// `None` where it is not there, or leads out of the environment.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What becomes of a file; `None` where it stays as it is.
fn changed(dir: &Dir, path: &str, change: &dyn Fn(&[u8]) -> Vec<u8>) -> io::Result<Option<Change>> {
    let Some(was) = optional(dir.symlink_metadata(path))? else {
        return Ok(None);
    };
    if !was.is_file() {
        return Ok(None);
    }
    // Left as it is it would go on naming the other environment's datasets.
    if was.len() > MAX_BYTES {
        return Err(io::Error::other(format!(
            "{path} has {} bytes; this program rewrites at most {MAX_BYTES}",
            was.len()
        )));
    }
    let Some(old) = optional(dir.read(path))? else {
        return Ok(None);
    };
    let text = change(&old);
    Ok((text != old).then_some(Change { was, text }))
}

fn replace(dir: &Dir, path: &str, Change { was, text }: Change) -> io::Result<()> {
    dir.atomic_replace_with(path, |file| {
        use std::io::Write as _;
        let inner = file.get_mut().as_file();
        inner.set_permissions(cap_std_ext::cap_std::fs::Permissions::from_mode(
            was.mode() & 0o7777,
        ))?;
        std::os::unix::fs::fchown(inner, Some(was.uid()), Some(was.gid()))?;
        file.write_all(&text)?;
        file.flush()?;
        file.get_ref().as_file().sync_all()
    })
}
