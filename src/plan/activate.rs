//! The switch to another environment, and the way back.
//!
//! For good, at the level of the pool: what was confirmed before is recorded and
//! the whole tree promoted, in one transaction group; then the loader's one
//! write. On trial, or for one boot, that write is all that moves. `canmount` is
//! never touched. Synchronization is an operation of its own before it (`cli::switch`).

use std::collections::BTreeSet;

use super::graph::{Blocked, Graph};
use super::provisional::{self, activation, mark, records, unmark};
use super::share::activation::snapshotted;
use super::{
    Action, Plan, Planned, Refusal, Step, Why, changeable, environment, finished, fits,
    intent_clear, loader_is_seen, loader_record, pools_of, unlocked,
};
use crate::be::{BeName, BootEnvironment};
use crate::boot::{Loader, Switch};
use crate::check::finding::KERNEL_MISSING;
use crate::check::{Finding, Severity};
use crate::intent::MAX_BYTES;
use crate::share::history::Deed;
use crate::survey::{Around, Survey};
use crate::zfs::{DatasetName, Guid, PoolName, SyncOp};

/// `activate NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The environment.
    pub name: BeName,
    /// Boot it once, then the one before again.
    pub once: bool,
    /// Without a trial, where the loader could count.
    pub no_trial: bool,
}

/// What has to be looked at to activate an environment: what it most likely
/// hangs on, the running and the next one, at the same time.
#[must_use]
pub fn around(name: &BeName) -> Around {
    Around {
        running: true,
        next: true,
        shared: true,
        ..Around::one(name)
    }
}

/// The plan of `activate NAME`.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, loader: &dyn Loader, request: &Request) -> Planned {
    let attempted = format!("activate {}", request.name);
    let target = environment(survey, &attempted, &request.name)?;
    if request.once && !survey.capabilities.once {
        return Err(Refusal::new(
            &attempted,
            format!(
                "to boot something once, the loader has to forget it before it starts the kernel, \
                 and {} cannot",
                survey.loader
            ),
        )
        .remedy(format!(
            "activate {} for good, and 'beadm-rs failback' after it ran",
            request.name
        )));
    }
    // What is known to work is not tried again, and what runs, does.
    let tried = survey.capabilities.counting
        && !request.no_trial
        && !target.is_running()
        && !target.is_last_good();
    let how = match (request.once, tried) {
        (true, _) => Switch::Once,
        (false, true) => Switch::Trial {
            tries: loader.tries(),
        },
        (false, false) => Switch::Good,
    };
    // What cannot be opened here is not known to boot. The way back needs no
    // key: ZFS promotes without one, and after the promotion of a clone of an
    // encryption root says of both sides that theirs is not there, until it is
    // loaded again.
    if !target.is_running() {
        unlocked(&attempted, &target)?;
    }
    if how != Switch::Good {
        return provisional::plan(survey, loader, &attempted, &target, how);
    }
    // Going back to the running one, or staying, keeps its own record.
    let record = (!target.is_running())
        .then(|| confirmed_before(survey, &target))
        .flatten();
    let plan = switch(survey, loader, &attempted, &target, record)?;
    snapshotted(survey, plan, &target, Deed::Activate)
}

/// What a preflight's findings stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preflight {
    /// Whoever goes forward is stopped by every error.
    Forward,
    /// Whoever goes back is told, and stopped only where nothing could be
    /// booted at all: what is behind did boot once, and what is ahead is why
    /// somebody wants to leave it.
    Back,
}

/// What the findings about an environment mean for its activation: notes for
/// the plan, or a refusal.
///
/// # Errors
/// An error among the findings that stops it.
pub fn preflight(
    name: &str,
    findings: &[Finding],
    direction: Preflight,
) -> Result<Vec<String>, Refusal> {
    let (attempted, command) = match direction {
        Preflight::Forward => (format!("activate {name}"), format!("activate {name}")),
        Preflight::Back => (FAILBACK.to_owned(), "failback".to_owned()),
    };
    let stops = |finding: &&Finding| match direction {
        Preflight::Forward => finding.severity == Severity::Error,
        Preflight::Back => finding.name == KERNEL_MISSING.name,
    };
    let mut stopping = findings.iter().filter(stops);
    let Some(first) = stopping.next() else {
        return Ok(findings
            .iter()
            .filter(|finding| finding.severity > Severity::Info)
            .map(|finding| {
                let Finding {
                    severity,
                    name: found,
                    what,
                    remedy,
                    ..
                } = finding;
                format!("{severity} {found} in {name}: {what} ({remedy})")
            })
            .collect());
    };
    let more: Vec<&str> = stopping.map(|finding| finding.name).collect();
    let also = match more.as_slice() {
        [] => String::new(),
        names => format!("; and {}", names.join(", ")),
    };
    Err(Refusal::new(
        attempted,
        format!(
            "{name} would not boot: {}: {}{also}",
            first.name, first.what
        ),
    )
    .remedy(format!(
        "{}; 'beadm-rs check {name}' tells all, 'beadm-rs {command} --no-check' does not look",
        first.remedy
    )))
}

/// What was last known to work: the record, or what runs, or what would boot.
fn confirmed_before(survey: &Survey, target: &BootEnvironment<'_>) -> Option<Guid> {
    let good = survey
        .last_good()
        .filter(|guid| survey.environment_with(*guid).is_some());
    let running = survey.running().map(|environment| environment.guid());
    let next = survey.next().map(|environment| environment.guid());
    [running, good, next]
        .into_iter()
        .flatten()
        .find(|guid| *guid != target.guid())
}

/// The plan of `failback`: activates what was confirmed before the one that
/// boots now, and keeps that one's own record, so that a second failback goes
/// one further back.
///
/// # Errors
/// Why it is refused: no record, or its environment is gone.
pub fn plan_failback(survey: &Survey, loader: &dyn Loader) -> Planned {
    let target = failback_target(survey)?;
    let mut plan = switch(survey, loader, FAILBACK, &target, None)?;
    plan.operation = "failback";
    snapshotted(survey, plan, &target, Deed::Failback)
}

/// The plan of `kernel-updated`: what boots starts a copy of a kernel, and the
/// running environment has a newer one now. Only where that is what boots for
/// good: nothing is activated by it that was not before.
///
/// # Errors
/// Why it is refused.
pub fn plan_kernel(survey: &Survey, loader: &dyn Loader) -> Planned {
    let rests = |outcome: String| {
        let mut plan = Plan::new(survey, KERNEL);
        plan.outcome = outcome;
        Ok(plan)
    };
    if !loader.copies() {
        return rests(format!(
            "{} starts kernels where they are; nothing to do",
            survey.loader
        ));
    }
    let Some(running) = survey.running() else {
        return rests("no boot environment is running here; nothing to do".to_owned());
    };
    let name = running.name();
    let settled = survey.boot.once.is_none() && survey.boot.trial.is_none();
    if !(running.is_next() && running.is_last_good() && settled && records(survey).is_empty()) {
        return rests(format!(
            "{name} is not what boots for good; its kernels reach {} with 'beadm-rs activate {name}'",
            survey.loader
        ));
    }
    if loader.is_current(survey, running.root)? {
        return rests(format!("{name} boots with its newest kernel already"));
    }
    let mut plan = switch(survey, loader, "copy the kernel", &running, None)?;
    plan.operation = KERNEL;
    plan.outcome = format!("{name} boots with its newest kernel from now on");
    Ok(plan)
}

/// The operation's name.
const KERNEL: &str = "kernel-updated";

/// How a refusal of a failback begins.
const FAILBACK: &str = "fail back";

/// The environment `failback` leads to.
///
/// # Errors
/// Why it is refused: no record, or its environment is gone.
pub fn failback_target(survey: &Survey) -> Result<BootEnvironment<'_>, Refusal> {
    let attempted = FAILBACK;
    let current = survey.next().or_else(|| survey.running()).ok_or_else(|| {
        Refusal::new(
            attempted,
            "no boot environment is running here, and none is set to boot next",
        )
        .remedy(format!("beadm-rs activate one of: {}", survey.names()))
    })?;
    let others = survey
        .environments()
        .filter(|other| other.guid() != current.guid() && other.unbootable().is_none())
        .map(|other| other.name().to_owned())
        .collect::<Vec<_>>()
        .join(", ");
    let candidates = if others.is_empty() {
        "there is no other environment".to_owned()
    } else {
        format!("beadm-rs activate one of: {others}")
    };
    // What is tried has no record of its own yet.
    let tried = survey
        .trial()
        .ok()
        .flatten()
        .filter(|trial| trial.target == current.guid())
        .map(|trial| trial.back);
    let Some(guid) = tried.or_else(|| current.failback()) else {
        return Err(Refusal::new(
            attempted,
            format!(
                "{} has no record of what was active before it",
                current.name()
            ),
        )
        .remedy(candidates));
    };
    survey.environment_with(guid).ok_or_else(|| {
        Refusal::new(
            attempted,
            format!(
                "the environment that was active before {} is gone",
                current.name()
            ),
        )
        .remedy(candidates)
    })
}

/// Where `failback` leads once a switch is made: to what the switch records, else
/// to what the target's own record names. What boots once changes nothing about
/// it. `None` where there is no way back, or that environment is gone.
#[must_use]
pub fn way_back(
    survey: &Survey,
    target: &BootEnvironment<'_>,
    switch: Switch,
    record: Option<Guid>,
) -> Option<Guid> {
    let found = match switch {
        Switch::Good | Switch::Trial { .. } => record
            .or_else(|| target.failback())
            .filter(|guid| *guid != target.guid()),
        Switch::Once => failback_target(survey).ok().map(|back| back.guid()),
    };
    found.filter(|guid| survey.environment_with(*guid).is_some())
}

/// The promotions of one environment's tree, tried on a graph.
pub(super) struct Promotions {
    /// Per pool, in order.
    pub(super) operations: Vec<(PoolName, SyncOp)>,
    /// What to promote to take them back, in that order, per pool.
    pub(super) back: Vec<(PoolName, DatasetName)>,
}

/// Promotes until no dataset of the environment hangs on another.
pub(super) fn promotions(
    survey: &Survey,
    attempted: &str,
    target: &BootEnvironment<'_>,
) -> Result<Promotions, Refusal> {
    let mut graph = Graph::of(survey);
    let mut found = Promotions {
        operations: Vec::new(),
        back: Vec::new(),
    };
    let mut touched: BTreeSet<DatasetName> = BTreeSet::new();
    for dataset in target.datasets() {
        let clone = &dataset.name;
        while graph.node(clone).is_some_and(|node| node.origin.is_some()) {
            let parent = graph.promote(clone).map_err(|blocked| match blocked {
                Blocked::Collision(names) => Refusal::new(
                    attempted,
                    format!(
                        "{clone} and what it is a clone of both have snapshots named {}, \
                         and promotion would bring them together",
                        names.join(", ")
                    ),
                )
                .remedy(format!(
                    "zfs rename {clone}@{} {clone}@SOMETHING-ELSE",
                    names.first().map_or("NAME", String::as_str)
                )),
                Blocked::Unknown | Blocked::NoClone => Refusal::new(
                    attempted,
                    format!("what {clone} is a clone of cannot be seen"),
                ),
            })?;
            let first = touched.insert(clone.clone()) & touched.insert(parent.clone());
            found.operations.push((
                clone.pool(),
                SyncOp::Promote {
                    dataset: clone.clone(),
                    checked: first,
                },
            ));
            found.back.insert(0, (clone.pool(), parent));
        }
    }
    Ok(found)
}

fn switch(
    survey: &Survey,
    loader: &dyn Loader,
    attempted: &str,
    target: &BootEnvironment<'_>,
    record: Option<Guid>,
) -> Planned {
    finished(survey, attempted, target)?;
    let pools = pools_of(target);
    changeable(survey, attempted, &pools)?;
    loader_is_seen(survey, attempted)?;
    bootable(attempted, target)?;
    let promotions = promotions(survey, attempted, target)?;
    let guid = target.guid();
    let mut plan = Plan::new(survey, "activate");
    let rests = promotions.operations.is_empty()
        && target.is_next()
        && target.is_last_good()
        && survey.boot.once.is_none()
        && survey.boot.trial.is_none()
        && records(survey).is_empty();
    if rests && loader.is_current(survey, target.root)? {
        plan.outcome = format!("{} boots next already; nothing changed", target.name());
        return Ok(plan);
    }
    let noted = |back| activation(survey, target, Switch::Good, back);
    let (mut intent, bytes) = noted(guids(survey, &promotions.back));
    if bytes > MAX_BYTES {
        // Too many to note: after an interruption the promotions stay, which
        // changes nothing about what boots.
        let (shorter, bytes) = noted(Vec::new());
        fits(attempted, bytes)?;
        intent = shorter;
    }
    for (index, pool) in pools.iter().enumerate() {
        let mut operations = Vec::new();
        let mut undo: Vec<SyncOp> = promotions
            .back
            .iter()
            .filter(|(of, _)| of == pool)
            .map(|(_, dataset)| SyncOp::Promote {
                dataset: dataset.clone(),
                checked: false,
            })
            .collect();
        if index == 0 {
            operations.push(intent.clone());
            if let Some(before) = record {
                operations.push(failback_mark(target, Some(before)));
                undo.push(failback_mark(target, target.failback()));
            }
            for (key, text) in records(survey) {
                operations.push(unmark(survey, &key));
                undo.push(mark(survey, &key, text));
            }
            undo.push(intent_clear(survey));
        }
        operations.extend(
            promotions
                .operations
                .iter()
                .filter(|(of, _)| of == pool)
                .map(|(_, operation)| operation.clone()),
        );
        if operations.is_empty() {
            continue;
        }
        let name = if index == 0 {
            "promote"
        } else {
            "promote-boot"
        };
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
    let back = way_back(survey, target, Switch::Good, record);
    plan.steps
        .extend(loader.switch(survey, target.root, Switch::Good, back)?);
    let mut last = vec![mark(survey, "confirmed", guid.to_string())];
    last.extend(loader_record(survey, loader));
    last.push(intent_clear(survey));
    plan.transact("finish", &survey.beroot.pool(), last);
    plan.outcome = outcome(survey, target, record);
    Ok(plan)
}

pub(super) fn bootable(attempted: &str, target: &BootEnvironment<'_>) -> Result<(), Refusal> {
    match target.unbootable() {
        None => Ok(()),
        Some(why) => Err(Refusal::new(
            attempted,
            format!("{} cannot be booted: {why}", target.name()),
        )
        .why(Why::Mountpoint)
        .remedy(if target.unfinished_upgrade().is_some() {
            "wait for it to end; where it was interrupted, beadm-rs recover takes it back"
                .to_owned()
        } else {
            format!("zfs get mountpoint,canmount {}", target.root.name)
        })),
    }
}

fn outcome(survey: &Survey, target: &BootEnvironment<'_>, record: Option<Guid>) -> String {
    let back = record
        .or_else(|| target.failback())
        .and_then(|guid| survey.environment_with(guid))
        .map(|environment| {
            format!(
                "; the way back: beadm-rs failback (to {})",
                environment.name()
            )
        })
        .unwrap_or_default();
    format!("{} boots next{back}", target.name())
}

pub(super) fn failback_mark(target: &BootEnvironment<'_>, record: Option<Guid>) -> SyncOp {
    let object = target.root.name.to_string();
    let key = "failback".to_owned();
    match record {
        Some(guid) => SyncOp::Mark {
            object,
            key,
            text: guid.to_string(),
        },
        None => SyncOp::Unmark { object, key },
    }
}

fn guids(survey: &Survey, back: &[(PoolName, DatasetName)]) -> Vec<Guid> {
    back.iter()
        .filter_map(|(_, name)| survey.datasets.get(name).map(|dataset| dataset.guid))
        .collect()
}
