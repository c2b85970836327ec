//! An environment put back to a snapshot of itself, all of its datasets in one
//! transaction group per pool.

use super::{
    Action, Plan, Planned, Refusal, Step, Why, bad_name, changeable, close, environment, finished,
    intent_mark, mounted_by_fstab, not_elsewhere, pools_of, rewritable,
};
use crate::be::rewrite::Names;
use crate::be::{BeName, BootEnvironment};
use crate::intent::Undertaking;
use crate::survey::Survey;
use crate::zfs::{Guard, PoolName, SyncOp};

/// `rollback BE@SNAP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The environment.
    pub name: BeName,
    /// The part after `@`.
    pub snapshot: String,
}

/// The plan of a rollback. Snapshots younger than the one asked for go; the
/// plan's notes name them.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, request: &Request) -> Planned {
    let attempted = format!("roll back to {}@{}", request.name, request.snapshot);
    let environment = environment(survey, &attempted, &request.name)?;
    finished(survey, &attempted, &environment)?;
    let pools = pools_of(&environment);
    changeable(survey, &attempted, &pools)?;
    if environment.is_running() {
        return Err(
            Refusal::new(&attempted, "it is the running environment").remedy(format!(
                "beadm-rs create -e {}@{} NAME, and activate that",
                request.name, request.snapshot
            )),
        );
    }
    // The names in its files are written after the commit point.
    rewritable(&attempted, &environment)?;
    if environment.is_next() || environment.is_once() {
        let whole = |reason: String| {
            Err(Refusal::new(&attempted, reason).remedy(format!(
                "activate another one first, or beadm-rs create -e {}@{} NAME, and activate that",
                request.name, request.snapshot
            )))
        };
        if pools.len() > 1 {
            // A transaction group is of one pool, and no order of two makes them one.
            return whole(
                "it is the environment that boots next, and it lies in several pools: a machine \
                 that stopped halfway would boot one part of it old and another new"
                    .to_owned(),
            );
        }
        if let Some(legacy) = mounted_by_fstab(&environment) {
            return whole(format!(
                "it is the environment that boots next, and {} is mounted by its fstab \
                 (mountpoint=legacy), which may have another name in the snapshot: a machine \
                 that stopped before it is written anew would boot without it",
                legacy.name
            ));
        }
    }
    if let Some(mount) = survey.own_mounts().find(|mount| {
        environment
            .everything()
            .any(|dataset| dataset.name == mount.dataset)
    }) {
        return Err(
            Refusal::new(&attempted, format!("it is mounted on {}", mount.directory))
                .remedy(format!("beadm-rs unmount {}", request.name)),
        );
    }
    not_elsewhere(survey, &attempted, &environment)?;
    let mut plan = Plan::new(survey, "rollback");
    append(
        survey,
        &attempted,
        &environment,
        &request.snapshot,
        false,
        &mut plan,
    )?;
    plan.outcome = format!("{} is as it was at @{}", request.name, request.snapshot);
    Ok(plan)
}

/// The transactions, and what goes with them; where the beroot's pool is done
/// already, the others.
pub(super) fn append(
    survey: &Survey,
    attempted: &str,
    environment: &BootEnvironment<'_>,
    component: &str,
    done: bool,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let intent = |done| {
        let undertaking = Undertaking::Rollback {
            root: environment.root.name.clone(),
            snapshot: component.to_owned(),
            done,
            others: environment.other_roots(),
        };
        intent_mark(survey, undertaking).0
    };
    let here = survey.beroot.pool();
    let mut transactions: Vec<(PoolName, Vec<SyncOp>)> = Vec::new();
    for pool in &pools_of(environment) {
        let mut operations = Vec::new();
        if *pool == here {
            if done {
                continue;
            }
            operations.push(intent(false));
        }
        for dataset in environment
            .datasets()
            .into_iter()
            .filter(|dataset| dataset.name.pool() == *pool)
        {
            let name = dataset
                .name
                .snapshot(component)
                .map_err(bad_name(attempted))?;
            let Some((at, to)) = dataset
                .snapshots
                .iter()
                .enumerate()
                .find(|(_, snapshot)| snapshot.name == name)
            else {
                return Err(
                    Refusal::new(attempted, format!("there is no snapshot {name}"))
                        .why(Why::NoSnapshot)
                        .remedy("every dataset of the environment needs the snapshot"),
                );
            };
            for younger in dataset.snapshots.iter().skip(at + 1).rev() {
                if let Some(clone) = younger.clones.first() {
                    return Err(Refusal::new(
                        attempted,
                        format!("{} is younger, and {clone} is a clone of it", younger.name),
                    )
                    .remedy(format!(
                        "beadm-rs create -e {}@{component} NAME keeps both",
                        environment.name()
                    )));
                }
                if younger.holds > 0 {
                    return Err(Refusal::new(
                        attempted,
                        format!("{} is younger, and held", younger.name),
                    )
                    .remedy(format!("zfs holds {} names the tags", younger.name)));
                }
                plan.notes
                    .push(format!("{} is younger and is destroyed", younger.name));
                operations.push(SyncOp::Destroy {
                    object: younger.name.to_string(),
                    guard: Guard::Guid(younger.guid),
                    missing_ok: false,
                });
            }
            operations.push(SyncOp::Rollback {
                dataset: dataset.name.clone(),
                // A snapshot that somebody takes now would be the one it is
                // rolled back to.
                guard: Guard::Newest {
                    own: dataset.guid,
                    snapshot: to.guid,
                },
            });
        }
        if *pool == here {
            operations.push(intent(true));
        }
        transactions.push((pool.clone(), operations));
    }
    // The snapshot may be older than the environment's name, and its fstab too.
    let rewrite = Action::Rewrite {
        dataset: environment.root.name.clone(),
        names: Names {
            moves: Vec::new(),
            own: environment
                .datasets()
                .into_iter()
                .map(|dataset| dataset.name.clone())
                .collect(),
        },
    };
    close(
        survey,
        plan,
        transactions,
        ["rollback", "rollback-boot"],
        Some(Step::new("rewrite", rewrite)),
    );
    Ok(())
}
