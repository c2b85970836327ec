//! What there is now that a restore from a snapshot puts aside.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, Statx};

use super::copy::MAX_DEPTH;
use crate::diff::summary::escaped;
use crate::diff::tree::{DIRECTORY, names, open_at, stat};

/// What was written since a snapshot, by sizes, times, owners and modes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lost {
    /// Files that are new or were changed.
    pub files: u64,
    /// Their sizes in all.
    pub bytes: u64,
    /// The newest of them: when it was changed, seconds since the epoch, and which.
    pub newest: Option<(i64, String)>,
    /// Files that were removed since, and come back.
    pub back: u64,
}

/// A name in an open directory.
pub type At<'a> = (BorrowedFd<'a>, &'a [u8]);

/// Adds what differs between something as it was and as it is.
///
/// # Errors
/// Where one cannot be read.
pub fn add(lost: &mut Lost, was: Option<At<'_>>, is: Option<At<'_>>) -> io::Result<()> {
    let name = is.or(was).map(|(_, name)| name.to_owned());
    let mut path = vec![name.unwrap_or_default()];
    lost.entry(was, is, &mut path)
}

fn found(at: Option<At<'_>>) -> io::Result<Option<Statx>> {
    match at {
        Some((directory, name)) => Ok(stat(directory, name)?),
        None => Ok(None),
    }
}

fn kind(found: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(found.stx_mode))
}

/// The directory at a name; `None` where there is none.
fn enter(at: Option<At<'_>>, found: Option<&Statx>) -> io::Result<Option<OwnedFd>> {
    match (at, found) {
        (Some((directory, name)), Some(found)) if kind(found) == FileType::Directory => {
            Ok(Some(open_at(directory, name, DIRECTORY)?))
        }
        _ => Ok(None),
    }
}

impl Lost {
    fn entry(
        &mut self,
        was: Option<At<'_>>,
        is: Option<At<'_>>,
        path: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        let (before, now) = (found(was)?, found(is)?);
        if path.len() > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "{} is deeper than 200 directories",
                escaped(&path.join(&b'/'))
            )));
        }
        let directories = (enter(was, before.as_ref())?, enter(is, now.as_ref())?);
        match &now {
            Some(now)
                if directories.1.is_none()
                    && before.as_ref().is_none_or(|before| differs(before, now)) =>
            {
                self.written(now, path);
            }
            None if directories.0.is_none() && before.is_some() => self.back += 1,
            _ => {}
        }
        self.below(directories.0.as_ref(), directories.1.as_ref(), path)
    }

    fn below(
        &mut self,
        was: Option<&OwnedFd>,
        is: Option<&OwnedFd>,
        path: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        let listed = |directory: Option<&OwnedFd>| match directory {
            Some(directory) => names(directory.as_fd(), false),
            None => Ok(Vec::new()),
        };
        let mut all: Vec<Vec<u8>> = listed(was)?
            .into_iter()
            .chain(listed(is)?)
            .map(|name| name.name)
            .collect();
        all.sort();
        all.dedup();
        for name in all {
            let was = was.map(|directory| (directory.as_fd(), name.as_slice()));
            let is = is.map(|directory| (directory.as_fd(), name.as_slice()));
            path.push(name.clone());
            self.entry(was, is, path)?;
            path.pop();
        }
        Ok(())
    }

    fn written(&mut self, now: &Statx, path: &[Vec<u8>]) {
        self.files += 1;
        self.bytes += now.stx_size;
        let when = now.stx_mtime.tv_sec;
        if self
            .newest
            .as_ref()
            .is_none_or(|(newest, _)| when > *newest)
        {
            let path = path.join(OsStr::new("/").as_bytes());
            self.newest = Some((when, escaped(&path)));
        }
    }
}

fn differs(one: &Statx, other: &Statx) -> bool {
    let seen = |found: &Statx| {
        (
            (found.stx_mode, found.stx_uid, found.stx_gid, found.stx_size),
            (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        )
    };
    seen(one) != seen(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_since_is_counted_and_the_newest_named() {
        let scratch = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str, seconds: u64| {
            let path = scratch.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        };
        write("was/mail/alice", "a", 10);
        write("is/mail/alice", "a", 10);
        write("was/mail/bob", "b", 10);
        write("is/mail/bob", "bb", 30);
        write("is/mail/new/carol", "ccc", 20);
        write("was/mail/gone/x", "x", 10);
        write("was/mail/gone/y", "y", 10);
        let open = |path: &str| std::fs::File::open(scratch.path().join(path)).unwrap();
        let (was, is) = (open("was"), open("is"));
        let mut lost = Lost::default();
        let at = |directory| Some((directory, b"mail".as_slice()));
        add(&mut lost, at(was.as_fd()), at(is.as_fd())).unwrap();
        let expected = Lost {
            files: 2,
            bytes: 5,
            newest: Some((30, "mail/bob".to_owned())),
            back: 2,
        };
        assert_eq!(lost, expected);
    }
}
