//! What an activation does about what is shared: a snapshot of it, in the
//! transaction group of its own first change; and in the end those of older
//! activations go.

use crate::be::BootEnvironment;
use crate::intent::OpId;
use crate::plan::{Action, Plan, Planned, Refusal, Step, bad_name, changeable, snapshot_component};
use crate::share::history::{Activation, Deed, KEPT, Taken, activations, outdated};
use crate::survey::Survey;
use crate::zfs::{Dataset, Guard, PoolName, SnapshotName, SyncOp};

/// Adds the snapshots to the plan of an activation. To the running environment
/// there is none: nothing was written to what is shared by another one meanwhile.
///
/// # Errors
/// A name that ZFS does not take.
pub(in crate::plan) fn snapshotted(
    survey: &Survey,
    mut plan: Plan,
    target: &BootEnvironment<'_>,
    deed: Deed,
) -> Planned {
    let Some(shared) = &survey.shared else {
        return Ok(plan);
    };
    if plan.steps.is_empty() || target.is_running() {
        return Ok(plan);
    }
    if let Some(doubt) = &shared.doubt {
        plan.notes
            .push(format!("no snapshot of what is shared is taken: {doubt}"));
        return Ok(plan);
    }
    let activation = Activation {
        id: survey.id,
        deed,
        target: target.guid(),
        name: target.name().to_owned(),
    };
    let mut others = Vec::new();
    for (pool, datasets) in by_pool(shared.datasets.iter()) {
        if let Err(refusal) = changeable(survey, "snapshot what is shared", [&pool]) {
            plan.notes.push(format!(
                "no snapshot of what is shared in {pool} is taken: {}",
                refusal.reason
            ));
            continue;
        }
        let (mut operations, mut undo) = (Vec::new(), Vec::new());
        for dataset in datasets {
            let snapshot = dataset
                .name
                .snapshot(&snapshot_component(survey))
                .map_err(bad_name("activate"))?;
            operations.extend(taken(&snapshot, &activation));
            undo.push(gone(&snapshot, &activation));
        }
        let own = plan
            .steps
            .first_mut()
            .filter(|_| pool == survey.beroot.pool());
        match own {
            Some(Step {
                action:
                    Action::Transact {
                        operations: first, ..
                    },
                undo: back,
                ..
            }) => {
                first.extend(operations);
                back.insert(0, transact(&pool, undo));
            }
            _ => others.push(
                Step::new("snapshot-share", transact(&pool, operations))
                    .undone_by(vec![transact(&pool, undo)]),
            ),
        }
    }
    // After the intent, so that whatever stops here is taken back.
    plan.steps.splice(1..1, others);
    Ok(plan)
}

fn transact(pool: &PoolName, operations: Vec<SyncOp>) -> Action {
    Action::Transact {
        pool: pool.clone(),
        operations,
    }
}

fn taken(snapshot: &SnapshotName, activation: &Activation) -> [SyncOp; 2] {
    [
        SyncOp::Snapshot {
            snapshot: snapshot.clone(),
        },
        SyncOp::Mark {
            object: snapshot.to_string(),
            key: "op".to_owned(),
            text: activation.encode(),
        },
    ]
}

fn gone(snapshot: &SnapshotName, activation: &Activation) -> SyncOp {
    SyncOp::Destroy {
        object: snapshot.to_string(),
        guard: Guard::Mark {
            key: "op".to_owned(),
            text: activation.encode(),
        },
        missing_ok: true,
    }
}

fn by_pool<'a>(datasets: impl Iterator<Item = &'a Dataset>) -> Vec<(PoolName, Vec<&'a Dataset>)> {
    let mut found: Vec<(PoolName, Vec<&'a Dataset>)> = Vec::new();
    for dataset in datasets {
        let pool = dataset.name.pool();
        match found.iter_mut().find(|(other, _)| *other == pool) {
            Some((_, list)) => list.push(dataset),
            None => found.push((pool, vec![dataset])),
        }
    }
    found
}

/// Takes back what an activation that did not end took: steps for other pools are
/// added, what is to be done in the environments' own is returned.
pub(in crate::plan) fn take_back(survey: &Survey, plan: &mut Plan, id: OpId) -> Vec<SyncOp> {
    let datasets = survey.shared.iter().flat_map(|shared| &shared.datasets);
    let mut own = Vec::new();
    for (pool, datasets) in by_pool(datasets) {
        let operations: Vec<SyncOp> = datasets
            .into_iter()
            .flat_map(|dataset| &dataset.snapshots)
            .filter_map(|snapshot| {
                let activation = Activation::of(snapshot).filter(|one| one.id == id)?;
                Some(gone(&snapshot.name, &activation))
            })
            .collect();
        if pool == survey.beroot.pool() {
            own = operations;
        } else {
            plan.transact("take-back-share", &pool, operations);
        }
    }
    own
}

/// Whether snapshots of older activations have to go once another one is there.
#[must_use]
pub fn is_due(survey: &Survey, coming: bool) -> bool {
    let Some(shared) = &survey.shared else {
        return false;
    };
    let count = activations(&shared.datasets).len() + usize::from(coming);
    count > KEPT || !outdated(&shared.datasets).is_empty()
}

/// The plan that releases the snapshots of activations before the last few. Each
/// goes by its guid; what somebody holds or has cloned stays.
///
/// # Errors
/// Why it is refused.
pub fn release(survey: &Survey) -> Planned {
    let mut plan = Plan::new(survey, "share-release");
    let Some(shared) = &survey.shared else {
        return Ok(plan);
    };
    let attempted = "release the snapshots of older activations";
    plan.release(survey, attempted, outdated(&shared.datasets))?;
    plan.outcome = format!("snapshots of the last {KEPT} activations are kept of what is shared");
    Ok(plan)
}

/// The activation that a failback undoes: the newest that led to what boots now
/// and has a snapshot of what is shared.
///
/// # Errors
/// Why there is none.
pub fn undone<'a>(survey: &'a Survey, current: &BootEnvironment<'_>) -> Result<Taken<'a>, Refusal> {
    let attempted = "restore what is shared";
    let Some(shared) = &survey.shared else {
        return Err(Refusal::new(attempted, "there is no shared dataset")
            .remedy("leave --restore-share out"));
    };
    if let Some(doubt) = &shared.doubt {
        return Err(Refusal::new(attempted, doubt));
    }
    let led = |taken: &Taken<'_>| {
        taken.activation.deed == Deed::Activate && taken.activation.target == current.guid()
    };
    activations(&shared.datasets)
        .into_iter()
        .find(led)
        .ok_or_else(|| {
            Refusal::new(
                attempted,
                format!(
                    "no snapshot of it is left of the activation of {}",
                    current.name()
                ),
            )
            .remedy(
                "beadm-rs share snapshots lists those there are; beadm-rs share restore PATH \
                 --from SNAP restores from any",
            )
        })
}
