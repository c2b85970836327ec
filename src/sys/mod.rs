//! Below the operating system's concepts: child processes, the lock file, what is closed.

pub mod command;
pub mod limited;
pub mod lock;

use std::thread::Builder;

/// Closes what holds mounts, all at once, and waits until it is closed: ZFS waits for a
/// transaction group when a file system is unmounted (`zil_close`), which they share.
pub(crate) fn close_together<T: Send>(open: impl IntoIterator<Item = T>) {
    let mut open = open.into_iter();
    let own = open.next();
    std::thread::scope(|scope| {
        for one in open {
            // Where there can be no thread, it is closed at once.
            let _ = Builder::new().spawn_scoped(scope, move || drop(one));
        }
        drop(own);
    });
}
