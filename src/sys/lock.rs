//! The lock every changing command holds: flock(2) on a file that names its
//! holder. It ends with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::os::{Error, Lock, Result};

/// How often a held lock is tried again.
const INTERVAL: Duration = Duration::from_millis(50);

fn open(path: &Utf8Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits())
        .open(path)
        .map_err(Error::io(format!("open the lock file {path}")))
}

fn read_holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(200).read_to_string(&mut text).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Takes the lock, waiting for `patience`.
///
/// # Errors
/// [`Error::Locked`] where another process holds it for longer.
pub fn acquire(path: &Utf8Path, purpose: &str, patience: Duration) -> Result<Lock> {
    let started = Instant::now();
    let mut file = open(path)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                let written = held
                    .set_len(0)
                    .and_then(|()| held.rewind())
                    .and_then(|()| writeln!(held, "pid {}: {purpose}", std::process::id()));
                written.map_err(Error::io(format!("write the lock file {path}")))?;
                return Ok(Lock { file: held });
            }
            Err((mut same, Errno::EWOULDBLOCK)) => {
                if started.elapsed() >= patience {
                    let holder = read_holder(&mut same)
                        .map(|holder| format!(" ({holder})"))
                        .unwrap_or_default();
                    return Err(Error::Locked { holder });
                }
                std::thread::sleep(INTERVAL);
                file = same;
            }
            Err((_, errno)) => {
                return Err(Error::io(format!("lock {path}"))(errno));
            }
        }
    }
}

/// Who holds the lock now; `None` where nobody does or there is no such file.
#[must_use]
pub fn holder(path: &Utf8Path) -> Option<String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits())
        .open(path)
        .ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err((mut file, _)) => Some(read_holder(&mut file).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("lock");
        assert_eq!(holder(&path), None);
        let held = acquire(&path, "create new", Duration::ZERO).unwrap();
        let said = acquire(&path, "destroy old", Duration::ZERO).unwrap_err();
        let expected = format!("pid {}: create new", std::process::id());
        assert_eq!(
            said.to_string(),
            format!("another beadm-rs is at work ({expected})")
        );
        assert_eq!(holder(&path), Some(expected));
        drop(held);
        assert_eq!(holder(&path), None);
        acquire(&path, "destroy old", Duration::ZERO).unwrap();
    }
}
