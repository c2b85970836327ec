//! Places where a test stops the program: before and after every step of every
//! plan, named after it. Only in builds with the feature `failpoints`.
//!
//! `BEADM_RS_FAIL=create/clone:after=kill`; instead of `kill` (SIGKILL, as a
//! power cut or the OOM killer would) also `error`, and `run:PROGRAM`, which is
//! run there with the place's name and has to succeed: what a test does to the
//! machine in the middle of a plan. The place `*` is every place.

use super::Cause;

/// On which side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing of it is done.
    Before,
    /// All of it is done.
    After,
}

/// Stops here if that was asked for.
///
/// # Errors
/// [`Cause::FailPoint`], where the test wants an error.
#[cfg(feature = "failpoints")]
pub fn reached(operation: &str, step: &str, when: When) -> Result<(), Cause> {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::getpid;

    let side = match when {
        When::Before => "before",
        When::After => "after",
    };
    let here = format!("{operation}/{step}:{side}");
    let Ok(wanted) = std::env::var("BEADM_RS_FAIL") else {
        return Ok(());
    };
    let action = match wanted.split_once('=') {
        Some((place, action)) if place == here || place == "*" => action,
        _ => return Ok(()),
    };
    match action.split_once(':') {
        None if action == "kill" => {
            let _ = kill(getpid(), Signal::SIGKILL);
            Err(Cause::FailPoint(here))
        }
        None if action == "error" => Err(Cause::FailPoint(here)),
        Some(("run", program)) => {
            let ran = crate::sys::command::run(program.into(), std::slice::from_ref(&here), None);
            match ran {
                Ok(finished) if finished.status.success() => Ok(()),
                _ => Err(Cause::FailPoint(here)),
            }
        }
        _ => Ok(()),
    }
}

/// Nothing, in a build without the feature.
///
/// # Errors
/// None.
#[cfg(not(feature = "failpoints"))]
pub fn reached(_operation: &str, _step: &str, _when: When) -> Result<(), Cause> {
    Ok(())
}
