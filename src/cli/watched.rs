//! The end of this boot's dead man's switch (`boot/watch.rs`).

use super::context::Context;
use super::error::{FAILED, Trouble};
use crate::boot::watch::ONCE;
use crate::survey::{Scope, Survey};

/// What is told where it was ended.
pub(super) const ENDED: &str = "the dead man's switch of this boot is ended";

/// Ends it; whether there was one.
///
/// # Errors
/// Where it is still there: the machine is going to restart.
pub(super) fn end(context: &Context) -> Result<bool, Trouble> {
    context.host.platform.end_watch().map_err(|error| {
        Trouble::new(FAILED, error)
            .state("this machine is going to restart by itself")
            .remedy("kill -TERM the process beadm-rs-watch")
    })
}

/// Ends it where what runs is not being tried, or not any more; whether it did.
///
/// # Errors
/// As [`end`]; and where it is not known what is being tried.
pub(super) fn settle(context: &Context) -> Result<bool, Trouble> {
    if context.dry_run || !context.is_root() || !context.host.platform.is_watched() {
        return Ok(false);
    }
    let survey = Survey::take(&context.host, Scope::Names)?;
    if is_tried(&survey) {
        return Ok(false);
    }
    end(context)
}

/// Whether what runs is being tried. A record that cannot be read may be of that.
pub(super) fn is_tried(survey: &Survey) -> bool {
    match survey.trial() {
        Ok(trial) => trial.is_some_and(|trial| {
            survey
                .running()
                .is_some_and(|running| running.guid() == trial.target)
        }),
        Err(_) => true,
    }
}

/// Whether what runs was started for this one boot: that is never confirmed, and
/// its switch ends when the boot is complete.
pub(super) fn is_once(context: &Context) -> bool {
    let line = context.host.platform.facts().command_line;
    line.split_whitespace().any(|word| word == ONCE)
}
