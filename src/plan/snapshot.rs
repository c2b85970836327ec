//! A snapshot of a whole boot environment: `snapshot`, `create BE@SNAP`, and
//! its end, `destroy BE@SNAP`.

use std::collections::{BTreeMap, BTreeSet};

use super::create::source;
use super::{
    Action, Plan, Planned, Refusal, Step, Why, bad_name, changeable, close, finished, fits,
    intent_clear, intent_mark, pools_of, snapshot_component,
};
use crate::be::{BeName, BootEnvironment};
use crate::intent::Undertaking;
use crate::marker;
use crate::survey::Survey;
use crate::zfs::{Dataset, Guard, Guid, PoolName, Snapshot, SnapshotName, SyncOp};

/// `snapshot [NAME[@SNAP]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The environment; the running one where none is named.
    pub environment: Option<BeName>,
    /// The part after `@`; made up where none is given.
    pub snapshot: Option<String>,
    /// Only of the root, without what lies below it.
    pub shallow: bool,
}

/// The plan of a snapshot.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, request: &Request) -> Planned {
    let attempted = "take a snapshot";
    let source = source(survey, attempted, request.environment.as_ref())?;
    let attempted = format!("take a snapshot of {}", source.name());
    finished(survey, &attempted, &source)?;
    let pools = pools_of(&source);
    changeable(survey, &attempted, &pools)?;
    let component = request
        .snapshot
        .clone()
        .unwrap_or_else(|| snapshot_component(survey));
    let mut plan = Plan::new(survey, "snapshot");
    let roots = source.roots();
    let is_root = |dataset: &Dataset| roots.iter().any(|root| root.guid == dataset.guid);
    let mut datasets = source.datasets();
    datasets.retain(|dataset| !request.shallow || is_root(dataset));
    // A transaction group is of one pool: between two the machine can stop.
    let several = pools.len() > 1;
    for (index, pool) in pools.iter().enumerate() {
        let mut operations = Vec::new();
        let mut undo = Vec::new();
        for dataset in datasets
            .iter()
            .filter(|dataset| dataset.name.pool() == *pool)
        {
            let snapshot: SnapshotName = dataset
                .name
                .snapshot(&component)
                .map_err(bad_name(&attempted))?;
            if survey.snapshot(&snapshot).is_some() {
                return Err(
                    Refusal::new(&attempted, format!("{snapshot} exists already")).why(Why::Exists),
                );
            }
            undo.push(SyncOp::Destroy {
                object: snapshot.to_string(),
                guard: Guard::Mark {
                    key: "op".to_owned(),
                    text: format!("{} snapshot", survey.id),
                },
                missing_ok: true,
            });
            // Marked as soon as it is there: where a later one fails, it can be
            // taken back.
            let mark = SyncOp::Mark {
                object: snapshot.to_string(),
                key: "op".to_owned(),
                text: format!("{} snapshot", survey.id),
            };
            operations.extend([SyncOp::Snapshot { snapshot }, mark]);
        }
        let name = if index == 0 {
            "snapshot"
        } else {
            "snapshot-boot"
        };
        if index == 0 && several {
            let (intent, bytes) = intent_mark(
                survey,
                Undertaking::Snapshot {
                    roots: source
                        .roots()
                        .iter()
                        .map(|root| root.name.clone())
                        .collect(),
                    snapshot: component.clone(),
                },
            );
            fits(&attempted, bytes)?;
            operations.insert(0, intent);
            undo.push(intent_clear(survey));
        }
        let action = Action::Transact {
            pool: pool.clone(),
            operations,
        };
        plan.steps
            .push(Step::new(name, action).undone_by(vec![Action::Transact {
                pool: pool.clone(),
                operations: undo,
            }]));
    }
    if several {
        let finish = vec![intent_clear(survey)];
        plan.transact("finish", &survey.beroot.pool(), finish);
    }
    plan.outcome = format!("{}@{component} is taken", source.name());
    Ok(plan)
}

/// The plan of `destroy BE@SNAP`.
///
/// # Errors
/// Why it is refused: held, or something was cloned from it.
pub fn plan_destroy(survey: &Survey, be: &BeName, component: &str) -> Planned {
    let attempted = format!("destroy {be}@{component}");
    let environment = super::environment(survey, &attempted, be)?;
    let pools = pools_of(&environment);
    changeable(survey, &attempted, &pools)?;
    let found: Vec<_> = environment
        .everything()
        .flat_map(|dataset| &dataset.snapshots)
        .filter(|snapshot| snapshot.name.component() == component)
        .collect();
    if found.is_empty() {
        let mut names: Vec<&str> = environment
            .root
            .snapshots
            .iter()
            .map(|snapshot| snapshot.name.component())
            .collect();
        names.dedup();
        return Err(Refusal::new(
            &attempted,
            format!("no dataset of {be} has a snapshot of that name"),
        )
        .why(Why::NoSnapshot)
        .remedy(format!("its snapshots: {}", names.join(", "))));
    }
    for snapshot in &found {
        if snapshot.holds > 0 {
            return Err(
                Refusal::new(&attempted, format!("{} is held", snapshot.name)).remedy(format!(
                    "zfs holds {} names the tags; zfs release TAG {}",
                    snapshot.name, snapshot.name
                )),
            );
        }
        if let Some(clone) = snapshot.clones.first() {
            return Err(Refusal::new(
                &attempted,
                format!("{clone} is a clone of {}", snapshot.name),
            )
            .why(Why::HasClones)
            .remedy(format!(
                "promote or destroy {clone} first (activating an environment promotes it)"
            )));
        }
    }
    let mut plan = Plan::new(survey, "destroy");
    let (intent, bytes) = intent_mark(
        survey,
        Undertaking::DestroySnapshot {
            root: environment.root.name.clone(),
            snapshot: component.to_owned(),
            guids: found.iter().map(|snapshot| snapshot.guid).collect(),
            others: environment.other_roots(),
        },
    );
    fits(&attempted, bytes)?;
    append_destroy(survey, intent, &found, &mut plan);
    plan.outcome = format!("{be}@{component} is gone");
    Ok(plan)
}

/// The snapshots of an environment that a plan destroys, and that this program did not take
/// for itself: somebody may want them. Those that move to what was cloned from them stay.
#[must_use]
pub fn of_others(plan: &Plan, environment: &BootEnvironment<'_>) -> Vec<SnapshotName> {
    let destroyed: BTreeSet<Guid> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Transact { operations, .. } => Some(operations),
            _ => None,
        })
        .flatten()
        .filter_map(|operation| match operation {
            SyncOp::Destroy {
                guard: Guard::Guid(guid),
                ..
            } => Some(*guid),
            _ => None,
        })
        .collect();
    environment
        .everything()
        .flat_map(|dataset| &dataset.snapshots)
        .filter(|snapshot| destroyed.contains(&snapshot.guid))
        .filter(|snapshot| {
            let mark = marker::read(&snapshot.marks, "op", snapshot.guid);
            mark.is_none_or(|text| text.ends_with(" snapshot"))
        })
        .map(|snapshot| snapshot.name.clone())
        .collect()
}

/// The refusal to take one of them along.
#[must_use]
pub fn would_go(name: &BeName, first: &SnapshotName) -> Refusal {
    let reason = format!("its snapshot {first} would go with it");
    Refusal::new(format!("destroy {name}"), reason).why(Why::HasSnapshots)
}

/// The transactions that end snapshots, the beroot's pool first.
pub(super) fn append_destroy(
    survey: &Survey,
    intent: SyncOp,
    snapshots: &[&Snapshot],
    plan: &mut Plan,
) {
    let mut of_pools: BTreeMap<PoolName, Vec<SyncOp>> = BTreeMap::new();
    for snapshot in snapshots {
        of_pools
            .entry(snapshot.name.dataset().pool())
            .or_default()
            .push(SyncOp::Destroy {
                object: snapshot.name.to_string(),
                guard: Guard::Guid(snapshot.guid),
                missing_ok: false,
            });
    }
    let here = survey.beroot.pool();
    let mut first = vec![intent];
    first.extend(of_pools.remove(&here).unwrap_or_default());
    let transactions = std::iter::once((here, first)).chain(of_pools).collect();
    let names = ["destroy-snapshots", "destroy-snapshots-boot"];
    close(survey, plan, transactions, names, None);
}
