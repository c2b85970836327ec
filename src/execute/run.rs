//! A command inside an environment: what has to be read before it can be
//! planned.

use cap_std_ext::cap_std::fs::Dir;

use super::Cause;
use crate::be::{BeName, rewrite};
use crate::host::Host;
use crate::os::inside::Inside;
use crate::plan::{Refusal, run};
use crate::survey::Survey;

/// The longest fstab that is looked at, bytes.
const MAX_FSTAB: u64 = 4 << 20;

/// Why there is no plan.
#[derive(Debug)]
pub enum NoPlan {
    /// It is refused.
    Refused(Refusal),
    /// What it needs to know could not be read.
    Unread(Cause),
}

impl From<Refusal> for NoPlan {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<crate::os::Error> for NoPlan {
    fn from(error: crate::os::Error) -> Self {
        Self::Unread(error.into())
    }
}

/// Plans what is mounted for a command inside an environment, from its fstab
/// and from what the running machine has.
///
/// A dry run changes nothing, and mounting something writable might: then the
/// fstab is passed over where the environment is mounted writable elsewhere.
///
/// # Errors
/// Why not.
pub fn plan(host: &Host, survey: &Survey, name: &BeName, dry_run: bool) -> Result<Inside, NoPlan> {
    let environment = run::allowed(survey, name)?;
    let mut fstab = String::new();
    // What is mounted writable elsewhere cannot be mounted read-only as well
    // (`zpl_mount_impl`, EBUSY).
    let root = &environment.root.name;
    let read = host.platform.with_files(root, !dry_run, &mut |root| {
        fstab = read_fstab(root).unwrap_or_default();
        Ok(())
    });
    if !dry_run {
        read?;
    }
    let surroundings = host.platform.surroundings()?;
    Ok(run::plan(survey, name, &fstab, &surroundings)?)
}

/// Only a file is read: a pipe in its place would be waited on.
fn read_fstab(root: &Dir) -> Option<String> {
    let found = root.symlink_metadata(rewrite::FSTAB).ok()?;
    (found.is_file() && found.len() <= MAX_FSTAB)
        .then(|| root.read_to_string(rewrite::FSTAB).ok())
        .flatten()
}
