//! bectl's exit codes: libbe's errors (be.h, `be_error`), with the words that libbe has for
//! each (`libbe_error_description`).

use super::super::Stop;
use crate::cli::error::Trouble;
use crate::plan::Why;

/// `EX_USAGE` of sysexits(3).
pub(in super::super) const USAGE: u8 = 64;
/// What bectl returns (-1) where libbe finds no boot environments.
pub(super) const NO_LIBBE: u8 = 255;
/// What a command returns that failed by itself and not in libbe.
pub(super) const OWN: u8 = 1;
/// `BE_ERR_UNKNOWN`: also a conflict of files, and what is left to `beadm-rs recover`.
pub(super) const UNKNOWN: u8 = 19;
/// `BE_ERR_ZFSOPEN`.
pub(super) const ZFSOPEN: u8 = 14;

const UNKNOWN_ERROR: (u8, &str) = (UNKNOWN, "unknown error");

/// The code and the words of a kind of failure.
fn of(why: Why) -> (u8, &'static str) {
    match why {
        Why::Name => (1, "invalid boot environment name"),
        Why::Exists => (2, "boot environment name already taken"),
        Why::NoEnvironment | Why::NoSnapshot => (3, "specified boot environment does not exist"),
        Why::Permission => (4, "insufficient permissions"),
        Why::Protected => (5, "cannot destroy active boot environment"),
        Why::Directory => (7, "path not suitable for operation"),
        Why::Busy => (8, "specified path is busy"),
        Why::Length => (9, "provided path name exceeds maximum length limit"),
        Why::Mountpoint => (10, "mountpoint is not \"/\""),
        Why::NoOrigin => (11, "could not open snapshot's origin"),
        Why::Mounted => (12, "boot environment is already mounted"),
        Why::NotMounted => (13, "boot environment is not mounted"),
        Why::Io => (16, "input/output error"),
        Why::HasClones => (21, "snapshot has clones"),
        Why::HasSnapshots | Why::NoSystem | Why::Other => UNKNOWN_ERROR,
    }
}

/// How a command of bectl failed, in libbe's words and then this program's.
pub(super) fn failed(trouble: Trouble) -> Stop {
    failed_as(trouble, of)
}

/// The same where a destruction has codes of its own (`be_destroy_internal`).
pub(super) fn not_destroyed(trouble: Trouble) -> Stop {
    failed_as(trouble, |why| match why {
        Why::Mounted => (6, "cannot destroy mounted boot env unless forced"),
        why => of(why),
    })
}

/// The same where what runs cannot be unmounted (`be_umount_iter`), and is not destroyed.
pub(super) fn not_unmounted(trouble: Trouble) -> Stop {
    failed_as(trouble, |why| match why {
        Why::Protected => of(Why::Busy),
        why => of(why),
    })
}

/// The same where libbe does not tell apart why there is no snapshot of that name, and
/// libzfs does (`zfs_snapshot_nvl`).
pub(super) fn no_snapshot(trouble: Trouble, name: &str) -> Stop {
    if trouble.why != Why::Exists {
        return failed(trouble);
    }
    let (code, words) = UNKNOWN_ERROR;
    let said = format!("cannot create snapshot '{name}': dataset already exists");
    Stop::Failed(code, vec![said, words.to_owned()], Some(trouble))
}

fn failed_as(trouble: Trouble, of: impl Fn(Why) -> (u8, &'static str)) -> Stop {
    if trouble.why == Why::NoSystem {
        return Stop::Failed(NO_LIBBE, Vec::new(), Some(trouble));
    }
    let (code, words) = of(trouble.why);
    Stop::Failed(code, vec![words.to_owned()], Some(trouble))
}
