//! What to do about an operation that began and did not end: complete it where
//! it was committed, take it back where not. What is not provably the
//! operation's own is never touched.

mod import;
mod share;
mod switch;

use std::collections::BTreeSet;

use self::import::Import;
use self::switch::{Switched, activate, loaders_part, same_loader};
use super::{
    Action, Plan, Planned, Refusal, Step, changeable, destroy, intent_clear, intent_clear_on,
    rename, rollback, snapshot, sync,
};
use crate::boot::Loader;
use crate::intent::{Arriving, Intent, Undertaking};
use crate::survey::{Found, Survey};
use crate::zfs::{
    Canmount, Dataset, DatasetName, Guard, Guid, PREFIX, PoolName, Snapshot, SnapshotName, SyncOp,
};

/// The plan that ends an unfinished operation; `None` where there is none.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, loader: &dyn Loader) -> Result<Option<Plan>, Refusal> {
    let attempted = "recover";
    let intent = match survey.intent() {
        None => return Ok(None),
        // `changeable` says why, and what to do.
        Some(Found::Unreadable(_)) => {
            return changeable(survey, attempted, []).map(|()| None);
        }
        Some(Found::Intent(intent)) => intent,
    };
    reachable(survey, attempted, &intent.undertaking)?;
    let mut plan = match &intent.undertaking {
        Undertaking::Create {
            roots,
            from,
            snapshot,
            own,
        } => create(survey, &intent, [roots, from], snapshot, *own),
        Undertaking::Copy {
            root,
            from,
            snapshot,
            mountpoint,
        } => {
            let done = is_committed(survey, root, mountpoint);
            copy(survey, &intent, [root, from], snapshot, done)
        }
        Undertaking::Import {
            root,
            staging,
            mark,
            snapshot,
            keep,
            boot,
        } => {
            let arriving = Arriving {
                root: root.clone(),
                staging: staging.clone(),
            };
            Import {
                intent: &intent,
                own: &arriving,
                boot: boot.as_ref(),
                mark,
                component: snapshot.as_deref(),
                keep: *keep,
            }
            .end(survey)
        }
        Undertaking::Activate {
            target,
            back,
            failback,
            switch,
            loader: begun_with,
            records,
        } => {
            same_loader(survey, attempted, begun_with.as_deref())?;
            let switched = Switched {
                target: *target,
                switch: *switch,
                records,
            };
            activate(survey, intent.id, &switched, back, *failback)
        }
        Undertaking::Destroy { roots, keep_origin } => {
            finish_destroy(survey, &intent, roots, *keep_origin)?
        }
        Undertaking::Snapshot { roots, snapshot } => {
            finish_snapshot(survey, &intent, roots, snapshot)
        }
        Undertaking::DestroySnapshot { guids, .. } => {
            finish_destroy_snapshot(survey, &intent, guids)
        }
        Undertaking::Rename { moves } => finish_rename(survey, &intent, moves),
        Undertaking::Rollback {
            root,
            snapshot,
            done,
            ..
        } => finish_rollback(survey, root, snapshot, *done)?,
        Undertaking::Share { place, root } => share::finish(survey, &intent, place, root)?,
        Undertaking::Unshare {
            place,
            root,
            only_here,
            ..
        } => share::finish_return(survey, &intent, place, root, *only_here)?,
        Undertaking::Restore { share, before, .. } => {
            share::finish_restore(survey, &intent, share, before)
        }
        Undertaking::Sync { from, to, snapshot } => {
            finish_sync(survey, &intent, [from, to], snapshot)
        }
    };
    let loaders = loaders_part(survey, loader, &intent.undertaking)?;
    plan.steps.splice(0..0, loaders);
    plan.operation = "recover";
    // Each step can be repeated; none is undone.
    if let Some(first) = plan.steps.first_mut() {
        first.commit = true;
    }
    for step in &mut plan.steps {
        step.undo.clear();
    }
    Ok(Some(plan))
}

/// What is not there would be taken for undone, or for done.
fn reachable(survey: &Survey, attempted: &str, undertaking: &Undertaking) -> Result<(), Refusal> {
    let roots = undertaking.roots();
    let pools: BTreeSet<PoolName> = roots.iter().map(DatasetName::pool).collect();
    if let Some(pool) = pools.iter().find(|pool| !survey.pools.contains_key(*pool)) {
        return Err(Refusal::new(
            attempted,
            format!(
                "{} {} was interrupted, a part of it is in pool {pool}, and that is not imported",
                undertaking.command(),
                undertaking.object()
            ),
        )
        .remedy(format!(
            "zpool import {pool}, as {} is; where it is lost for good: zfs inherit {PREFIX}op {}",
            survey.beroot.pool(),
            survey.handed_over.as_ref().unwrap_or(&survey.beroot)
        )));
    }
    let here = survey.beroot.pool();
    changeable(survey, attempted, pools.iter().chain([&here]))?;
    if let Undertaking::Import {
        boot: Some(boot), ..
    } = undertaking
        && !survey
            .boot_roots
            .iter()
            .any(|root| boot.root.is_within(root))
    {
        return Err(Refusal::new(
            attempted,
            format!(
                "import {} was interrupted, and its /boot is to be {}, beside which this system \
                 does not have its /boot now",
                undertaking.object(),
                boot.root
            ),
        )
        .remedy(format!(
            "mount the running environment's /boot from there; where that is gone for good: \
             zfs inherit {PREFIX}op {}",
            survey.beroot
        )));
    }
    // To the others no mountpoint matters.
    let placed = matches!(
        undertaking,
        Undertaking::Create { .. }
            | Undertaking::Import { .. }
            | Undertaking::Rename { .. }
            | Undertaking::Rollback { .. }
    );
    if !placed {
        return Ok(());
    }
    let altroot = |pool: &PoolName| survey.pools.get(pool).and_then(|pool| pool.altroot.clone());
    match pools.iter().find(|pool| altroot(pool) != altroot(&here)) {
        Some(pool) => Err(Refusal::new(
            attempted,
            format!("pool {pool} was not imported with the same altroot as pool {here}"),
        )
        .remedy(format!("zpool export {pool}, and import it as {here} is"))),
        None => Ok(()),
    }
}

fn took_back(intent: &Intent) -> String {
    format!(
        "{} {}, begun {}, was interrupted and is taken back",
        intent.undertaking.command(),
        intent.undertaking.object(),
        intent.at.format("%Y-%m-%d %H:%M:%SZ")
    )
}

fn completed(undertaking: &Undertaking) -> String {
    format!(
        "{} {} was interrupted after its commit point and is complete now",
        undertaking.command(),
        undertaking.object()
    )
}

fn clear(survey: &Survey, plan: &mut Plan, mut operations: Vec<SyncOp>) {
    operations.push(intent_clear(survey));
    plan.transact("finish", &survey.beroot.pool(), operations);
}

/// The intent on the beroot, as it is or another one.
fn back_on_beroot(survey: &Survey, intent: &Intent) -> SyncOp {
    SyncOp::Mark {
        object: survey.beroot.to_string(),
        key: "op".to_owned(),
        text: intent.encode(),
    }
}

/// Destroys datasets children first, per pool.
fn take_away<'a>(
    plan: &mut Plan,
    datasets: impl DoubleEndedIterator<Item = &'a Dataset>,
    operations_of: impl Fn(&Dataset) -> Vec<SyncOp>,
) {
    for dataset in datasets.rev() {
        let pool = dataset.name.pool();
        let operations = operations_of(dataset);
        match plan.steps.last_mut() {
            Some(Step {
                action:
                    Action::Transact {
                        pool: last,
                        operations: before,
                    },
                ..
            }) if *last == pool => before.extend(operations),
            _ => plan.transact("take-back", &pool, operations),
        }
    }
}

/// Whether a copied root got its mountpoint: the copy's commit.
///
/// Until its properties are set, it inherits a mountpoint from the beroot,
/// which is another one: the name of the copy is part of it.
fn is_committed(survey: &Survey, root: &DatasetName, mountpoint: &str) -> bool {
    survey.datasets.get(root).is_some_and(|dataset| {
        let altroot = survey.altroot_of(&dataset.name);
        // Where it inherits the very mountpoint, its canmount, which is set
        // with it and never inherited, tells.
        dataset.canmount != Canmount::On
            && dataset.mountpoint.clone().without(altroot).to_string() == mountpoint
    })
}

/// Clones are taken back: their commit ends the intent with it.
fn create(
    survey: &Survey,
    intent: &Intent,
    [roots, from]: [&[DatasetName]; 2],
    snapshot: &str,
    own: bool,
) -> Plan {
    let mut plan = Plan::new(survey, "recover");
    plan.outcome = took_back(intent);
    let root = roots.first().and_then(|root| survey.datasets.get(root));
    if root.is_some() {
        // It has the intent, or gets it yet from a child of the program that was killed.
        // It goes before the snapshots do.
        let back = vec![back_on_beroot(survey, intent)];
        plan.transact("take-back", &survey.beroot.pool(), back);
    }
    // A clone is the operation's by the snapshot it comes from, marked or not.
    let clones: Vec<(&Dataset, SnapshotName)> = roots
        .iter()
        .zip(from)
        .flat_map(|(root, from)| {
            survey
                .within(root)
                .map(move |dataset| (dataset, root, from))
        })
        .filter_map(|(dataset, root, from)| {
            let source = dataset.name.moved(root, from).ok()?;
            let origin = source.snapshot(snapshot).ok()?;
            (dataset.origin.as_ref() == Some(&origin)).then_some((dataset, origin))
        })
        .collect();
    take_away(
        &mut plan,
        clones.iter().map(|(dataset, _)| *dataset),
        |dataset| {
            clones
                .iter()
                .filter(|(other, _)| other.guid == dataset.guid)
                .map(|(_, origin)| SyncOp::Destroy {
                    object: dataset.name.to_string(),
                    guard: Guard::Origin(origin.clone()),
                    missing_ok: true,
                })
                .collect()
        },
    );
    if own {
        for from in from {
            let operations = own_snapshots(survey, intent, "create", from, snapshot);
            plan.transact("take-back-snapshots", &from.pool(), operations);
        }
    }
    let cleared = root.into_iter().map(|root| intent_clear_on(&root.name));
    clear(survey, &mut plan, cleared.collect());
    plan
}

/// The end of the snapshots the operation took of a tree.
fn own_snapshots(
    survey: &Survey,
    intent: &Intent,
    purpose: &str,
    from: &DatasetName,
    component: &str,
) -> Vec<SyncOp> {
    let text = format!("{} {purpose}", intent.id);
    survey
        .within(from)
        .flat_map(|dataset| &dataset.snapshots)
        .filter(|snapshot| {
            snapshot.name.component() == component
                && crate::marker::read(&snapshot.marks, "op", snapshot.guid) == Some(&text)
        })
        .map(|snapshot| SyncOp::Destroy {
            object: snapshot.name.to_string(),
            guard: Guard::Guid(snapshot.guid),
            missing_ok: true,
        })
        .collect()
}

fn copy(
    survey: &Survey,
    intent: &Intent,
    [root, from]: [&DatasetName; 2],
    component: &str,
    committed: bool,
) -> Plan {
    let mut plan = Plan::new(survey, "recover");
    let sent: Vec<Guid> = survey
        .within(from)
        .flat_map(|dataset| &dataset.snapshots)
        .filter(|snapshot| snapshot.name.component() == component)
        .map(|snapshot| snapshot.guid)
        .collect();
    let arrived = |dataset: &Dataset| {
        dataset
            .snapshots
            .iter()
            .find(|snapshot| {
                snapshot.name.component() == component && sent.contains(&snapshot.guid)
            })
            .map(|snapshot| SyncOp::Destroy {
                object: snapshot.name.to_string(),
                guard: Guard::Guid(snapshot.guid),
                missing_ok: true,
            })
    };
    if committed {
        plan.outcome = completed(&intent.undertaking);
        let tidy = survey
            .within(root)
            .flat_map(|dataset| {
                arrived(dataset).into_iter().chain([SyncOp::Unmark {
                    object: dataset.name.to_string(),
                    key: "op".to_owned(),
                }])
            })
            .collect();
        plan.transact("tidy", &root.pool(), tidy);
    } else {
        plan.outcome = took_back(intent);
        // Its own by the mark, or by the snapshot that was sent.
        let id = intent.id.to_string();
        let own: Vec<&Dataset> = survey
            .within(root)
            .filter(|dataset| dataset.marks.get("op") == Some(&id) || arrived(dataset).is_some())
            .collect();
        take_away(&mut plan, own.into_iter(), |dataset| {
            arrived(dataset)
                .into_iter()
                .chain([SyncOp::Destroy {
                    object: dataset.name.to_string(),
                    guard: Guard::Guid(dataset.guid),
                    missing_ok: true,
                }])
                .collect()
        });
    }
    let snapshots = own_snapshots(survey, intent, "create", from, component);
    clear(survey, &mut plan, snapshots);
    plan
}

fn finish_snapshot(
    survey: &Survey,
    intent: &Intent,
    roots: &[DatasetName],
    component: &str,
) -> Plan {
    let mut plan = Plan::new(survey, "recover");
    let environment = roots.first().and_then(|root| survey.environment_at(root));
    let whole = environment.is_some_and(|environment| {
        environment.datasets().into_iter().all(|dataset| {
            let mut components = dataset.snapshots.iter().map(|it| it.name.component());
            components.any(|other| other == component)
        })
    });
    if whole {
        plan.outcome = completed(&intent.undertaking);
    } else {
        plan.outcome = took_back(intent);
        for root in roots {
            let operations = own_snapshots(survey, intent, "snapshot", root, component);
            plan.transact("take-back-snapshots", &root.pool(), operations);
        }
    }
    clear(survey, &mut plan, Vec::new());
    plan
}

fn finish_destroy_snapshot(survey: &Survey, intent: &Intent, guids: &[Guid]) -> Plan {
    let mut plan = Plan::new(survey, "recover");
    let left: Vec<&Snapshot> = survey
        .datasets
        .values()
        .flat_map(|dataset| &dataset.snapshots)
        .filter(|snapshot| guids.contains(&snapshot.guid))
        .collect();
    let mark = back_on_beroot(survey, intent);
    snapshot::append_destroy(survey, mark, &left, &mut plan);
    plan.outcome = completed(&intent.undertaking);
    plan
}

fn finish_destroy(
    survey: &Survey,
    intent: &Intent,
    roots: &[(DatasetName, Guid)],
    keep_origin: bool,
) -> Planned {
    let mut plan = Plan::new(survey, "recover");
    let left: Vec<&Dataset> = roots
        .iter()
        .filter_map(|(name, guid)| {
            survey
                .datasets
                .get(name)
                .filter(|dataset| dataset.guid == *guid)
        })
        .collect();
    if left.is_empty() {
        clear(survey, &mut plan, Vec::new());
    } else {
        let origins = match keep_origin {
            true => destroy::Origins::Keep,
            false => destroy::Origins::Own,
        };
        destroy::append(survey, "recover", &left, origins, &mut plan)?;
    }
    plan.outcome = completed(&intent.undertaking);
    Ok(plan)
}

fn finish_rename(
    survey: &Survey,
    intent: &Intent,
    moves: &[(Guid, DatasetName, DatasetName)],
) -> Plan {
    let mut plan = Plan::new(survey, "recover");
    let at = |name: &DatasetName, guid: Guid| {
        survey
            .datasets
            .get(name)
            .is_some_and(|dataset| dataset.guid == guid)
    };
    let committed = moves.first().is_some_and(|(guid, _, to)| at(to, *guid));
    if committed {
        let left: Vec<(Guid, DatasetName, DatasetName)> = moves
            .iter()
            .filter(|(guid, from, _)| at(from, *guid))
            .cloned()
            .collect();
        rename::append(&mut plan, moves, &left);
        plan.outcome = completed(&intent.undertaking);
    } else {
        plan.outcome = "rename was interrupted before anything was renamed".to_owned();
    }
    clear(survey, &mut plan, Vec::new());
    plan
}

fn finish_rollback(survey: &Survey, root: &DatasetName, component: &str, done: bool) -> Planned {
    let mut plan = Plan::new(survey, "recover");
    match survey.environment_at(root) {
        Some(environment) => {
            rollback::append(survey, "recover", &environment, component, done, &mut plan)?;
            plan.outcome = format!("rollback to {root}@{component} is complete now");
        }
        None => {
            clear(survey, &mut plan, Vec::new());
            plan.outcome = format!("{root} is gone, and with it what was interrupted");
        }
    }
    Ok(plan)
}

fn finish_sync(
    survey: &Survey,
    intent: &Intent,
    [from, to]: [&[DatasetName]; 2],
    component: &str,
) -> Plan {
    let mut plan = Plan::new(survey, "recover");
    if let Some(target) = to.first()
        && sync::complete(survey, intent.id, target, component, &mut plan)
    {
        plan.outcome = completed(&intent.undertaking);
        return plan;
    }
    plan.outcome = took_back(intent);
    if let Some(back) = sync::back(survey, intent.id, to, component) {
        let step = Step::new("take-back", Action::TakeBack(back));
        plan.steps.push(step);
    }
    for root in from.iter().chain(to) {
        let operations = sync::own(component)
            .iter()
            .flat_map(|(name, purpose)| own_snapshots(survey, intent, purpose, root, name))
            .collect();
        plan.transact("take-back-snapshots", &root.pool(), operations);
    }
    clear(survey, &mut plan, Vec::new());
    plan
}
