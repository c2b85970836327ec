//! Private versions of the loader's file systems, in memory, and what changed
//! in them.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::{Dir, DirEntry, File, FileTypeExt as _, MetadataExt as _};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountFlags, UnmountFlags};

use super::tree::{self, Tree};
use crate::os::inside::{Change, Origin, Private, What};

/// Device files and programs with set-user-id have no business in any of them.
const RESTRICTED: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NODEV.union(MountAttrFlags::MOUNT_ATTR_NOSUID);

/// A private version, ready to be looked at after the command.
#[derive(Debug)]
pub struct Version {
    place: Utf8PathBuf,
    /// What the running machine has; `None` for nothing.
    before: Option<Dir>,
    /// What is there now: all of it, or an overlay's upper layer.
    after: Dir,
    overlaid: bool,
}

/// What came of one place.
pub enum Prepared {
    /// It is mounted.
    Version(Version),
    /// The environment has nothing to mount it on.
    NoPlace,
}

fn dir(path: &Utf8Path) -> io::Result<Dir> {
    Dir::open_ambient_dir(path, ambient_authority())
}

/// Makes the version of one place, working in `scratch`, an empty directory of
/// this program's, and mounts it in the environment.
pub fn prepare(scratch: &Utf8Path, private: &Private, inside: &Tree) -> io::Result<Prepared> {
    let on = match inside.directory(&private.place) {
        Ok(on) => on,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Prepared::NoPlace),
        Err(error) => return Err(error),
    };
    for name in ["machines", "private"] {
        std::fs::create_dir(scratch.join(name))?;
    }
    let own = scratch.join("private");
    let (before, after, mount) = match private.origin {
        Origin::Empty => {
            memory(&own, None)?;
            (None, dir(&own)?, tree::again_at(&own)?)
        }
        Origin::Copied => {
            let source = read_only(&private.place, &scratch.join("machines"))?;
            memory(&own, Some(fitting(&source)?))?;
            copy(&source, &dir(&own)?)?;
            (Some(source), dir(&own)?, tree::again_at(&own)?)
        }
        Origin::Overlaid => {
            let source = read_only(&private.place, &scratch.join("machines"))?;
            memory(&own, None)?;
            let mount = overlay(&scratch.join("machines"), &own)?;
            (Some(source), dir(&own.join("upper"))?, mount)
        }
    };
    // What was opened stays; the name goes.
    if private.origin != Origin::Empty {
        let machines = scratch.join("machines");
        rustix::mount::unmount(machines.as_std_path(), UnmountFlags::DETACH)?;
    }
    tree::attach(mount, on)?;
    Ok(Prepared::Version(Version {
        place: private.place.clone(),
        before,
        after,
        overlaid: private.origin == Origin::Overlaid,
    }))
}

fn memory(on: &Utf8Path, bytes: Option<u64>) -> io::Result<()> {
    let size = bytes.map(|bytes| bytes.to_string());
    let mut options = vec![("mode", "0755")];
    options.extend(size.as_deref().map(|size| ("size", size)));
    tree::attach(tree::new("tmpfs", &options, RESTRICTED)?, tree::open(on)?)
}

/// The size of a file system, bytes, where what is in it fits into memory.
fn fitting(source: &Dir) -> io::Result<u64> {
    let size = rustix::fs::fstatvfs(source)?;
    let used = size.f_blocks.saturating_sub(size.f_bfree) * size.f_frsize;
    let available = std::fs::read_to_string("/proc/meminfo")?
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024;
    if used > available / 2 {
        return Err(io::Error::other(format!(
            "a copy in memory of the {} MiB there does not fit into half of the {} MiB available",
            used >> 20,
            available >> 20
        )));
    }
    Ok(size.f_blocks * size.f_frsize)
}

/// Directories and files: FAT has nothing else.
fn copy(from: &Dir, to: &Dir) -> io::Result<()> {
    for entry in from.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            to.create_dir(&name)?;
            copy(&entry.open_dir()?, &to.open_dir(&name)?)?;
        } else if kind.is_file() {
            io::copy(&mut entry.open()?, &mut to.create(&name)?)?;
        }
    }
    Ok(())
}

/// A view of a file system of the running machine through which not even the
/// time of an access is written.
fn read_only(place: &Utf8Path, at: &Utf8Path) -> io::Result<Dir> {
    let mount = tree::again_at(place)?;
    tree::attach(&mount, tree::open(at)?)?;
    tree::restrict(&mount, MountFlags::RDONLY)?;
    dir(at)
}

/// An overlay on that view, in a file system in memory.
fn overlay(lower: &Utf8Path, own: &Utf8Path) -> io::Result<OwnedFd> {
    let part = |name: &str| own.join(name);
    for name in ["upper", "work", "merged"] {
        std::fs::create_dir(part(name))?;
    }
    let options = format!(
        "lowerdir={lower},upperdir={},workdir={}",
        part("upper"),
        part("work")
    );
    rustix::mount::mount(
        "overlay",
        part("merged").as_std_path(),
        "overlay",
        MountFlags::NODEV | MountFlags::NOSUID,
        Some(std::ffi::CString::new(options)?.as_c_str()),
    )?;
    let mount = tree::again_at(&part("merged"))?;
    rustix::mount::unmount(part("merged").as_std_path(), UnmountFlags::DETACH)?;
    Ok(mount)
}

impl Version {
    /// What differs from what the running machine has, files only, in order.
    ///
    /// Nothing that was started in the environment may run any more.
    pub fn changes(&self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        if self.overlaid {
            layer(self.before.as_ref(), &self.after, &self.place, &mut changes)?;
        } else {
            whole(self.before.as_ref(), &self.after, &self.place, &mut changes)?;
        }
        changes.sort();
        Ok(changes)
    }
}

fn entries(dir: &Dir, place: &Utf8Path) -> io::Result<Vec<(DirEntry, Utf8PathBuf)>> {
    dir.entries()?
        .map(|entry| {
            let entry = entry?;
            let path = place.join(entry.file_name().to_string_lossy().as_ref());
            Ok((entry, path))
        })
        .collect()
}

fn below(dir: Option<&Dir>, entry: &DirEntry) -> Option<Dir> {
    let (dir, name) = (dir?, entry.file_name());
    let found = dir.symlink_metadata(&name).ok()?;
    found.is_dir().then(|| dir.open_dir(&name).ok()).flatten()
}

/// An overlay's upper layer: what is in it was written, a character device 0/0
/// stands for what was removed (Documentation/filesystems/overlayfs.rst).
fn layer(
    before: Option<&Dir>,
    upper: &Dir,
    place: &Utf8Path,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    if is_opaque(upper)
        && let Some(before) = before
    {
        gone(before, upper, place, changes)?;
    }
    for (entry, path) in entries(upper, place)? {
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            layer(
                below(before, &entry).as_ref(),
                &entry.open_dir()?,
                &path,
                changes,
            )?;
            continue;
        }
        let was_there =
            before.is_some_and(|before| before.symlink_metadata(entry.file_name()).is_ok());
        let what = if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            What::Removed
        } else if was_there {
            What::Changed
        } else {
            What::Created
        };
        changes.push(Change { path, what });
    }
    Ok(())
}

/// A copy beside what it was made from.
fn whole(
    before: Option<&Dir>,
    after: &Dir,
    place: &Utf8Path,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    for (entry, path) in entries(after, place)? {
        if entry.file_type()?.is_dir() {
            let before = below(before, &entry);
            whole(before.as_ref(), &entry.open_dir()?, &path, changes)?;
            continue;
        }
        let old = before.and_then(|before| before.open(entry.file_name()).ok());
        let what = match old {
            None => What::Created,
            // Only files are opened: a pipe would be waited on.
            Some(_) if !entry.file_type()?.is_file() => What::Changed,
            Some(old) if same(&old, &entry.open()?)? => continue,
            Some(_) => What::Changed,
        };
        changes.push(Change { path, what });
    }
    match before {
        Some(before) => gone(before, after, place, changes),
        None => Ok(()),
    }
}

/// A directory that was removed and made again: nothing of the lower layer's
/// shows through it.
fn is_opaque(upper: &Dir) -> bool {
    let mut value = [0; 1];
    // A `Dir` is opened with O_PATH, which fgetxattr(2) does not take.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(upper, ".", flags, Mode::empty())
        .and_then(|fd| rustix::fs::fgetxattr(fd, "trusted.overlay.opaque", &mut value))
        .is_ok_and(|length| value.get(..length) == Some(b"y"))
}

/// What was in a directory and has nothing in its place any more.
fn gone(before: &Dir, after: &Dir, place: &Utf8Path, changes: &mut Vec<Change>) -> io::Result<()> {
    for (entry, path) in entries(before, place)? {
        if after.symlink_metadata(entry.file_name()).is_ok() {
            continue;
        }
        if entry.file_type()?.is_dir() {
            removed(&entry.open_dir()?, &path, changes)?;
        } else {
            changes.push(Change {
                path,
                what: What::Removed,
            });
        }
    }
    Ok(())
}

fn removed(dir: &Dir, place: &Utf8Path, changes: &mut Vec<Change>) -> io::Result<()> {
    for (entry, path) in entries(dir, place)? {
        if entry.file_type()?.is_dir() {
            removed(&entry.open_dir()?, &path, changes)?;
        } else {
            changes.push(Change {
                path,
                what: What::Removed,
            });
        }
    }
    Ok(())
}

fn same(one: &File, other: &File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let mut one = io::BufReader::with_capacity(1 << 16, one);
    let mut other = io::BufReader::with_capacity(1 << 16, other);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        one.by_ref().take(1 << 16).read_to_end(&mut a)?;
        other.by_ref().take(1 << 16).read_to_end(&mut b)?;
        if a != b {
            return Ok(false);
        }
        if a.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> (tempfile::TempDir, Dir) {
        let scratch = tempfile::tempdir().unwrap();
        for (path, content) in pairs {
            let path = scratch.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let dir = Dir::open_ambient_dir(scratch.path(), ambient_authority()).unwrap();
        (scratch, dir)
    }

    fn told(changes: &[Change]) -> Vec<String> {
        changes
            .iter()
            .map(|change| format!("{} {}", change.what.as_str(), change.path))
            .collect()
    }

    #[test]
    fn a_copy_is_compared_file_by_file_with_what_it_was_made_from() {
        let (_old, before) = files(&[("EFI/a", "1"), ("EFI/b", "1"), ("c/d/e", ""), ("same", "x")]);
        let (_new, after) = files(&[("EFI/a", "2"), ("EFI/n", "1"), ("same", "x"), ("f/g", "")]);
        let version = Version {
            place: "/boot/efi".into(),
            before: Some(before),
            after,
            overlaid: false,
        };
        assert_eq!(
            told(&version.changes().unwrap()),
            [
                "changed /boot/efi/EFI/a",
                "removed /boot/efi/EFI/b",
                "created /boot/efi/EFI/n",
                "removed /boot/efi/c/d/e",
                "created /boot/efi/f/g",
            ]
        );
    }

    #[test]
    fn what_an_upper_layer_holds_was_changed_where_it_was_there_before() {
        let (_old, before) = files(&[("vmlinuz", "1"), ("grub/grub.cfg", "1")]);
        let (_new, after) = files(&[("grub/grub.cfg", "1"), ("grub/new", ""), ("config", "")]);
        let version = Version {
            place: "/boot".into(),
            before: Some(before),
            after,
            overlaid: true,
        };
        assert_eq!(
            told(&version.changes().unwrap()),
            [
                "created /boot/config",
                "changed /boot/grub/grub.cfg",
                "created /boot/grub/new",
            ]
        );
    }

    #[test]
    fn a_copy_has_every_file() {
        let (_old, from) = files(&[("EFI/a/b", "1"), ("c", "2")]);
        let (scratch, to) = files(&[]);
        copy(&from, &to).unwrap();
        let read = |path: &str| std::fs::read_to_string(scratch.path().join(path)).unwrap();
        assert_eq!(
            (read("EFI/a/b"), read("c")),
            ("1".to_owned(), "2".to_owned())
        );
    }
}
