//! What synchronizations left and nobody will be compared with any more goes.

use super::{Plan, Planned};
use crate::survey::Survey;
use crate::sync::bases::{KEPT, outdated};

/// The plan that releases the pairs of synchronizations before the last few. Nothing
/// where a trial is pending: that it is confirmed is what they wait for. Each snapshot
/// goes by its guid; what somebody holds or has cloned stays. `survey` is of everything.
///
/// # Errors
/// Why it is refused.
pub fn release(survey: &Survey) -> Planned {
    let mut plan = Plan::new(survey, "sync-release");
    if !matches!(survey.trial(), Ok(None)) {
        return Ok(plan);
    }
    let attempted = "release the snapshots of older synchronizations";
    plan.release(survey, attempted, outdated(survey))?;
    plan.outcome = format!("what the last {KEPT} synchronizations began with is kept");
    Ok(plan)
}
