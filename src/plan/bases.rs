//! What synchronizations left and nobody will be compared with any more goes.

use super::{Plan, Planned, changeable};
use crate::survey::Survey;
use crate::sync::bases::{KEPT, outdated};
use crate::zfs::{Guard, PoolName, SyncOp};

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
    let mut pools: Vec<(PoolName, Vec<SyncOp>)> = Vec::new();
    for snapshot in outdated(survey) {
        let pool = snapshot.name.dataset().pool();
        let destroy = SyncOp::Destroy {
            object: snapshot.name.to_string(),
            guard: Guard::Guid(snapshot.guid),
            missing_ok: true,
        };
        match pools.iter_mut().find(|(other, _)| *other == pool) {
            Some((_, operations)) => operations.push(destroy),
            None => pools.push((pool, vec![destroy])),
        }
    }
    changeable(
        survey,
        "release the snapshots of older synchronizations",
        pools.iter().map(|(pool, _)| pool),
    )?;
    for (pool, operations) in pools {
        plan.transact("release", &pool, operations);
    }
    if let Some(first) = plan.steps.first_mut() {
        first.commit = true;
    }
    plan.outcome = format!("what the last {KEPT} synchronizations began with is kept");
    Ok(plan)
}
