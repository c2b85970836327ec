//! Whether an environment leads to what is shared.

use super::Subject;
use super::finding::{Findings, SHARED_PATH_OWN, SHARED_PATH_STALE};
use crate::host::Host;
use crate::os::Result;
use crate::share::find;
use crate::share::layout::{self, Has};

/// Adds what is found; nothing is looked at where nothing is shared. What of it
/// cannot be read other commands tell.
pub(super) fn findings(host: &Host, subject: &Subject<'_>, found: &mut Findings) -> Result<()> {
    let survey = subject.survey;
    if find::mounted(survey).is_none() {
        return Ok(());
    }
    let share = find::find(host, survey, None).ok().flatten();
    let Some((share, record)) = share.and_then(|share| Some((share.dataset, share.record?))) else {
        return Ok(());
    };
    let environment = subject.environment;
    let look = |entries: &[_]| layout::look(host, survey, environment, &share.name, entries);
    let name = environment.name();
    for one in look(&record.shared)?.into_iter().flatten() {
        let path = &one.place.path;
        let what = match one.has {
            Has::Share => continue,
            Has::Nothing => format!("it has no {path}, which other environments share"),
            Has::Own { .. } => {
                format!("its {path} is a directory of its own, and other environments share theirs")
            }
            Has::Other(why) => format!("{path} is shared by other environments: {why}"),
        };
        found.add(
            &SHARED_PATH_OWN,
            what,
            format!("beadm-rs share apply {name}"),
        );
    }
    for one in look(&record.removed)?.into_iter().flatten() {
        let path = &one.place.path;
        if one.has == Has::Share && record.find(path).is_none() {
            found.add(
                &SHARED_PATH_STALE,
                format!(
                    "its {path} leads to {}, which is not shared any more",
                    one.place.shared_path()
                ),
                format!("make a directory of its own there, or share {path} again"),
            );
        }
    }
    Ok(())
}
