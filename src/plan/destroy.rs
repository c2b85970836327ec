//! The end of a boot environment.
//!
//! Everything in one transaction group per pool: what was cloned from it is
//! promoted, oldest first, at every level, until nothing outside hangs on it;
//! then snapshots and datasets go, children first; then the snapshots it was
//! cloned from, where this tool made them and nothing else needs them. There
//! is no way back once it began.

use std::collections::BTreeSet;

use super::graph::{Blocked, Graph, Snap};
use super::{
    Action, Plan, Planned, Refusal, Step, Why, changeable, close, environment, intent_mark,
    loader_is_seen, pools_of,
};
use crate::be::{Apart, BeName, BootEnvironment};
use crate::boot::Loader;
use crate::intent::Undertaking;
use crate::os::{MountRequest, Namespace};
use crate::plan::import::STAGING;
use crate::survey::Survey;
use crate::sync::sides::pair_of;
use crate::zfs::{Dataset, DatasetName, Guard, Guid, Mountpoint, PoolName, SnapshotName, SyncOp};

/// What becomes of the snapshots that an environment was cloned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origins {
    /// They stay.
    Keep,
    /// Those go that this program made for it and nothing else needs.
    Own,
    /// All go, whoever made them; refused where something else needs one.
    All,
}

/// `destroy NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The environment.
    pub name: BeName,
    /// Unmount it first where it is mounted.
    pub force: bool,
    /// What becomes of the snapshots it was cloned from.
    pub origins: Origins,
}

/// The plan of `destroy NAME`.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, loader: &dyn Loader, request: &Request) -> Planned {
    let attempted = format!("destroy {}", request.name);
    let environment = environment(survey, &attempted, &request.name)?;
    let pools = pools_of(&environment);
    changeable(survey, &attempted, &pools)?;
    loader_is_seen(survey, &attempted)?;
    protected(&attempted, &environment)?;
    contents(&attempted, &environment)?;
    if request.origins == Origins::All && environment.root.origin.is_none() {
        let refusal = Refusal::new(
            &attempted,
            "it is no clone, so that there is no origin to go",
        );
        return Err(refusal.why(Why::NoOrigin));
    }
    let mut plan = Plan::new(survey, "destroy");
    unmount(survey, &attempted, &environment, request.force, &mut plan)?;
    let forgotten = loader.forget(survey, environment.root);
    plan.steps.extend(forgotten.before);
    let roots = environment.roots();
    append(survey, &attempted, &roots, request.origins, &mut plan)?;
    plan.steps.extend(forgotten.after);
    plan.outcome = format!("{} is gone", request.name);
    Ok(plan)
}

/// The running, next-boot, once, last-good and pinned environments stay.
fn protected(attempted: &str, environment: &BootEnvironment<'_>) -> Result<(), Refusal> {
    let refuse = |reason: &str, remedy: &str| {
        let refusal = Refusal::new(attempted, reason.to_owned()).why(Why::Protected);
        Err(refusal.remedy(remedy))
    };
    let elsewhere = "activate another one, reboot into it, and destroy this one then";
    if environment.is_running() {
        return refuse("it is the running environment", elsewhere);
    }
    if environment.is_next() {
        return refuse(
            "it is the environment that boots next",
            "activate another one first",
        );
    }
    if environment.is_once() {
        return refuse(
            "it is set to boot once",
            "beadm-rs activate -T takes that back",
        );
    }
    if environment.is_last_good() {
        return refuse(
            "it is the last one known to work",
            "beadm-rs activate another one first: it becomes the last good one",
        );
    }
    if environment.is_pinned() {
        return refuse(
            "it is pinned",
            &format!("beadm-rs unpin {}", environment.name()),
        );
    }
    Ok(())
}

/// What must not go with it unasked.
fn contents(attempted: &str, environment: &BootEnvironment<'_>) -> Result<(), Refusal> {
    if let Some((dataset, why)) = environment.apart().first() {
        let example = match why {
            Apart::Layer => "the container engine's own means".to_owned(),
            Apart::Volume | Apart::Excluded => {
                format!("zfs rename {} ELSEWHERE, or zfs destroy", dataset.name)
            }
        };
        return Err(Refusal::new(
            attempted,
            format!(
                "{} in it is {} and would go with it",
                dataset.name,
                why.as_str()
            ),
        )
        .remedy(format!("move or destroy it first: {example}")));
    }
    let roots = environment.roots();
    for dataset in environment.everything() {
        let inside = |name: &DatasetName| roots.iter().any(|root| name.is_within(&root.name));
        if let Some(origin) = &dataset.origin
            && inside(&origin.dataset())
        {
            return Err(Refusal::new(
                attempted,
                format!(
                    "{} in it is a clone of {origin}, made by something else, and would go with it",
                    dataset.name
                ),
            )
            .remedy(format!("zfs destroy {} first, or move it", dataset.name)));
        }
        // What `import --resume` left is nobody's but this program's; while it is received,
        // ZFS says that it is busy.
        let left = environment.name().starts_with(STAGING);
        if dataset.receiving() && !left {
            return Err(Refusal::new(
                attempted,
                format!("{} is being received", dataset.name),
            ));
        }
    }
    Ok(())
}

/// Mounts are in the way; with `force` this namespace's are taken away.
fn unmount(
    survey: &Survey,
    attempted: &str,
    environment: &BootEnvironment<'_>,
    force: bool,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let names: BTreeSet<&DatasetName> = environment
        .everything()
        .map(|dataset| &dataset.name)
        .collect();
    let mut own: Vec<MountRequest> = Vec::new();
    let mut foreign = None;
    for mount in survey
        .mounts
        .iter()
        .filter(|mount| names.contains(&mount.dataset))
    {
        match &mount.namespace {
            Namespace::Own => own.push(MountRequest {
                dataset: mount.dataset.clone(),
                directory: mount.directory.clone(),
                readonly: false,
                legacy: survey
                    .datasets
                    .get(&mount.dataset)
                    .is_some_and(|dataset| dataset.mountpoint == Mountpoint::Legacy),
            }),
            Namespace::Of { pid, command } => {
                // A namespace that follows this one lets go by itself.
                foreign = Some(format!(
                    "{} is mounted on {} in the mount namespace of process {pid} ({command})",
                    mount.dataset, mount.directory
                ));
            }
        }
    }
    match (own.first(), foreign) {
        (None, None) => Ok(()),
        (None, Some(foreign)) => Err(Refusal::new(attempted, foreign)
            .why(Why::Mounted)
            .remedy("stop or restart that process; its view of the mounts is its own")),
        (Some(MountRequest { directory, .. }), _) if !force => Err(Refusal::new(
            attempted,
            format!("it is mounted on {directory}"),
        )
        .why(Why::Mounted)
        .remedy(format!(
            "beadm-rs unmount {}, or destroy -F",
            environment.name()
        ))),
        (Some(_), _) => {
            // The last mount goes first.
            plan.steps.extend(own.into_iter().rev().map(|mount| {
                let action = Action::Unmount {
                    directory: mount.directory.clone(),
                    force: true,
                };
                Step::new("unmount", action).undone_by(vec![Action::Mount(mount)])
            }));
            Ok(())
        }
    }
}

/// The steps that make the trees of an environment end; also what completes a
/// destruction that stopped halfway.
pub(super) fn append(
    survey: &Survey,
    attempted: &str,
    roots: &[&Dataset],
    how: Origins,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let mut graph = Graph::of(survey);
    let inside = |name: &DatasetName| roots.iter().any(|root| name.is_within(&root.name));
    let here = survey.beroot.pool();
    let mut transactions: Vec<(PoolName, Vec<SyncOp>)> = Vec::new();
    for (index, root) in roots.iter().enumerate() {
        let mut operations = Vec::new();
        if index == 0 && root.name.pool() == here {
            // With one pool it is set and cleared in the same transaction
            // group, and stays only where the group's program stops halfway.
            let (intent, _) = intent_mark(
                survey,
                Undertaking::Destroy {
                    roots: roots
                        .iter()
                        .map(|root| (root.name.clone(), root.guid))
                        .collect(),
                    // After an interruption what somebody else made stays.
                    keep_origin: how == Origins::Keep,
                },
            );
            operations.push(intent);
        }
        let tree: Vec<&Dataset> = survey.within(&root.name).collect();
        free(attempted, &tree, &inside, &mut graph, &mut operations, plan)?;
        let mut origins: BTreeSet<SnapshotName> = BTreeSet::new();
        let mut halves: BTreeSet<Guid> = BTreeSet::new();
        for dataset in tree.iter().rev() {
            let Some(node) = graph.node(&dataset.name) else {
                continue;
            };
            for snap in node.snapshots.iter().rev() {
                operations.push(destroy_snapshot(attempted, &dataset.name, snap)?);
                halves.insert(snap.guid);
            }
            operations.push(SyncOp::Destroy {
                object: dataset.name.to_string(),
                guard: Guard::Guid(dataset.guid),
                missing_ok: false,
            });
            origins.extend(node.origin.clone());
            graph.remove(&dataset.name);
        }
        if how != Origins::Keep {
            let all = how == Origins::All;
            operations.extend(reclaim(survey, attempted, &graph, &origins, all)?);
        }
        release(survey, &graph, &halves, &root.name.pool(), &mut operations);
        transactions.push((root.name.pool(), operations));
    }
    close(
        survey,
        plan,
        transactions,
        ["destroy", "destroy-boot"],
        None,
    );
    Ok(())
}

fn held(attempted: &str, object: &str) -> Refusal {
    Refusal::new(attempted, format!("{object} is held")).remedy(format!(
        "zfs holds {object} names the tags; zfs release TAG {object}"
    ))
}

fn destroy_snapshot(
    attempted: &str,
    dataset: &DatasetName,
    snap: &Snap,
) -> Result<SyncOp, Refusal> {
    let object = format!("{dataset}@{}", snap.component);
    if snap.holds > 0 {
        return Err(held(attempted, &object));
    }
    Ok(SyncOp::Destroy {
        object,
        guard: Guard::Guid(snap.guid),
        missing_ok: false,
    })
}

/// Promotes what hangs on a tree from outside, oldest first, at every level,
/// until nothing does.
fn free(
    attempted: &str,
    tree: &[&Dataset],
    inside: &dyn Fn(&DatasetName) -> bool,
    graph: &mut Graph,
    operations: &mut Vec<SyncOp>,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let mut touched: BTreeSet<DatasetName> = BTreeSet::new();
    for dataset in tree {
        while let Some(dependent) = oldest_dependent(graph, &dataset.name, inside) {
            graph.promote(&dependent).map_err(|blocked| match blocked {
                Blocked::Collision(names) => Refusal::new(
                    attempted,
                    format!(
                        "{dependent} hangs on it and cannot be promoted: both have snapshots named {}",
                        names.join(", ")
                    ),
                )
                .remedy(format!(
                    "zfs rename {dependent}@{} {dependent}@SOMETHING-ELSE",
                    names.first().map_or("NAME", String::as_str)
                )),
                Blocked::NoClone | Blocked::Unknown => Refusal::new(
                    attempted,
                    format!("{dependent} hangs on it and cannot be promoted"),
                ),
            })?;
            plan.notes
                .push(format!("{dependent} was cloned from it and is promoted"));
            let fresh = touched.insert(dependent.clone()) & touched.insert(dataset.name.clone());
            operations.push(SyncOp::Promote {
                dataset: dependent,
                checked: fresh,
            });
        }
    }
    Ok(())
}

fn oldest_dependent(
    graph: &Graph,
    dataset: &DatasetName,
    inside: &dyn Fn(&DatasetName) -> bool,
) -> Option<DatasetName> {
    graph
        .clones_of(dataset)
        .into_iter()
        .filter(|(clone, _)| !inside(clone))
        .min_by_key(|(clone, origin)| {
            (
                graph.snap(origin).map(|snap| snap.createtxg),
                graph.node(clone).map(|node| node.createtxg),
            )
        })
        .map(|(clone, _)| clone.clone())
}

/// The end of the snapshots a tree was cloned from that only it needed; with `all` of those
/// that this program did not make, too.
fn reclaim(
    survey: &Survey,
    attempted: &str,
    graph: &Graph,
    origins: &BTreeSet<SnapshotName>,
    all: bool,
) -> Result<Vec<SyncOp>, Refusal> {
    let mut operations = Vec::new();
    for origin in origins {
        let Some(snap) = graph.snap(origin) else {
            continue;
        };
        let clones = graph.clones_of(&origin.dataset());
        let needing = clones.iter().find(|(_, other)| *other == origin);
        match needing {
            Some((clone, _)) if all => {
                let reason = format!("{clone} was cloned from its origin {origin} too");
                return Err(Refusal::new(attempted, reason).why(Why::HasClones));
            }
            Some(_) => continue,
            None => {}
        }
        if all && snap.holds > 0 {
            return Err(held(attempted, origin.as_str()));
        }
        if all || snap.reclaimable {
            operations.push(SyncOp::Destroy {
                object: origin.to_string(),
                guard: Guard::Guid(snap.guid),
                // One that a promotion above moves has this name only then, and
                // not yet when the transaction looks at what it is going to do.
                missing_ok: survey.snapshot(origin).is_none(),
            });
        }
    }
    Ok(operations)
}

/// The other halves of the pairs of snapshots that end: what both sides were when
/// they had been synchronized is of no use to one of them.
fn release(
    survey: &Survey,
    graph: &Graph,
    ended: &BTreeSet<Guid>,
    pool: &PoolName,
    operations: &mut Vec<SyncOp>,
) {
    let all = || {
        survey
            .datasets
            .values()
            .flat_map(|dataset| &dataset.snapshots)
    };
    let pairs: BTreeSet<&str> = all()
        .filter(|snapshot| ended.contains(&snapshot.guid))
        .filter_map(pair_of)
        .collect();
    let others: BTreeSet<Guid> = all()
        .filter(|snapshot| !ended.contains(&snapshot.guid))
        .filter(|snapshot| pair_of(snapshot).is_some_and(|pair| pairs.contains(pair)))
        .map(|snapshot| snapshot.guid)
        .collect();
    for name in survey.datasets.keys().filter(|name| name.pool() == *pool) {
        let snaps = graph
            .node(name)
            .into_iter()
            .flat_map(|node| &node.snapshots);
        for snap in snaps.filter(|snap| snap.holds == 0 && others.contains(&snap.guid)) {
            let Ok(now) = name.snapshot(&snap.component) else {
                continue;
            };
            let needed = graph
                .clones_of(name)
                .iter()
                .any(|(_, origin)| **origin == now);
            if !needed {
                operations.push(SyncOp::Destroy {
                    object: now.to_string(),
                    guard: Guard::Guid(snap.guid),
                    // As of an origin that a promotion above moves.
                    missing_ok: survey.snapshot(&now).is_none(),
                });
            }
        }
    }
}

/// Whether an environment has halves of pairs whose other halves are not in the
/// picture: it has to be taken of everything then.
#[must_use]
pub fn has_lone_halves(survey: &Survey, name: &BeName) -> bool {
    let Some(environment) = survey.environment(name) else {
        return false;
    };
    let own: BTreeSet<&DatasetName> = environment
        .everything()
        .map(|dataset| &dataset.name)
        .collect();
    let pairs = |inside: bool| -> BTreeSet<&str> {
        survey
            .datasets
            .values()
            .filter(|dataset| own.contains(&dataset.name) == inside)
            .flat_map(|dataset| &dataset.snapshots)
            .filter_map(pair_of)
            .collect()
    };
    !pairs(true).is_subset(&pairs(false))
}
