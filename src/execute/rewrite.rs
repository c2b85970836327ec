//! Dataset names in the files of an environment that is not running.

use std::io;

use cap_std_ext::cap_std::fs::{Dir, MetadataExt as _, PermissionsExt as _};
use cap_std_ext::dirext::CapStdExtDirExt as _;

use super::Cause;
use crate::be::rewrite::{self, Move};
use crate::host::Host;
use crate::zfs::DatasetName;

/// The largest file that is read, bytes: a cache of half a million datasets.
const MAX_BYTES: u64 = 64 << 20;

/// Writes the moved names into fstab and zfs-list.cache of one dataset, where
/// they stand there. Symbolic links that lead out of it are not followed.
///
/// # Errors
/// Where the dataset cannot be mounted, or a file not be read or written.
pub fn names(host: &Host, dataset: &DatasetName, moves: &[Move]) -> Result<(), Cause> {
    host.platform.with_files(dataset, true, &mut |root| {
        rewrite_file(root, rewrite::FSTAB, &|text| rewrite::fstab(text, moves))?;
        let Some(caches) = optional(root.open_dir(rewrite::LIST_CACHE))? else {
            return Ok(());
        };
        for entry in caches.entries()? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str() {
                rewrite_file(&caches, name, &|text| rewrite::list_cache(text, moves))?;
            }
        }
        Ok(())
    })?;
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

fn rewrite_file(dir: &Dir, path: &str, change: &dyn Fn(&[u8]) -> Vec<u8>) -> io::Result<()> {
    let Some(found) = optional(dir.symlink_metadata(path))? else {
        return Ok(());
    };
    if !found.is_file() {
        return Ok(());
    }
    // Left as it is it would go on naming the other environment's datasets.
    if found.len() > MAX_BYTES {
        return Err(io::Error::other(format!(
            "{path} has {} bytes; this program rewrites at most {MAX_BYTES}",
            found.len()
        )));
    }
    let Some(text) = optional(dir.read(path))? else {
        return Ok(());
    };
    let new = change(&text);
    if new == text {
        return Ok(());
    }
    dir.atomic_replace_with(path, |file| {
        use std::io::Write as _;
        let inner = file.get_mut().as_file();
        inner.set_permissions(cap_std_ext::cap_std::fs::Permissions::from_mode(
            found.mode() & 0o7777,
        ))?;
        std::os::unix::fs::fchown(inner, Some(found.uid()), Some(found.gid()))?;
        file.write_all(&new)?;
        file.flush()?;
        file.get_ref().as_file().sync_all()
    })
}
