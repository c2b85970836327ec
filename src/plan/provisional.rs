//! A switch that the loader takes back by itself: on trial, or for one boot. At
//! the level of the pool nothing moves but the records of it.

use super::activate::{bootable, way_back};
use super::share::activation::snapshotted;
use super::{
    Action, Plan, Planned, Refusal, Step, changeable, finished, fits, intent_clear, intent_mark,
    loader_record, pools_of,
};
use crate::be::BootEnvironment;
use crate::boot::{Loader, Switch};
use crate::intent::Undertaking;
use crate::share::history::Deed;
use crate::survey::Survey;
use crate::survey::files::FILES;
use crate::survey::trial::{FELL_BACK, TRIAL, Trial};
use crate::zfs::{Guid, SyncOp};

/// A switch that is not for good: the loader takes it back by itself. Nothing
/// else moves: what was confirmed stays, and so do bootfs and who hangs on whom.
pub(super) fn plan(
    survey: &Survey,
    loader: &dyn Loader,
    attempted: &str,
    target: &BootEnvironment<'_>,
    how: Switch,
) -> Planned {
    finished(survey, attempted, target)?;
    changeable(survey, attempted, &pools_of(target))?;
    bootable(attempted, target)?;
    let (name, guid) = (target.name(), target.guid());
    let back = survey
        .boot
        .back
        .as_ref()
        .and_then(|root| survey.environment_at(root))
        .filter(|back| back.guid() != guid || how == Switch::Once)
        .ok_or_else(|| {
            Refusal::new(
                attempted,
                format!(
                    "{} has no other environment to go back to from {name}",
                    survey.loader
                ),
            )
            .remedy(format!("beadm-rs activate --no-trial {name}"))
        })?;
    let before = records(survey);
    let (intent, bytes) = activation(survey, target, how, Vec::new());
    fits(attempted, bytes)?;
    let mut operations = vec![intent];
    let mut undo = Vec::new();
    let mut plan = Plan::new(survey, "activate");
    match how {
        Switch::Trial { tries } => {
            let trial = Trial {
                target: guid,
                back: back.guid(),
                tries,
                since: survey.now,
            };
            operations.push(mark(survey, TRIAL, trial.encode()));
            operations.push(unmark(survey, FELL_BACK));
            undo.push(unmark(survey, TRIAL));
            undo.extend(
                before
                    .into_iter()
                    .map(|(key, text)| mark(survey, &key, text)),
            );
            let times = if tries == 1 { "time" } else { "times" };
            plan.outcome = format!(
                "{name} is tried {tries} {times}, from the next boot on; until it is confirmed, \
                 {} boots after that",
                back.name()
            );
        }
        Switch::Once | Switch::Good => {
            plan.outcome = format!("{name} boots next, once; then {} again", back.name());
        }
    }
    undo.push(intent_clear(survey));
    let here = survey.beroot.pool();
    let transact = |operations| Action::Transact {
        pool: here.clone(),
        operations,
    };
    let record = Step::new("record", transact(operations)).undone_by(vec![transact(undo)]);
    plan.steps.push(record);
    let back = way_back(survey, target, how, Some(back.guid()));
    plan.steps
        .extend(loader.switch(survey, target.root, how, back)?);
    plan.notes.extend(loader.notes());
    let mut last = vec![intent_clear(survey)];
    last.extend(loader_record(survey, loader));
    plan.transact("finish", &here, last);
    snapshotted(survey, plan, target, Deed::Activate)
}

/// The plan of `activate -T`.
///
/// # Errors
/// Where that was set by something else.
pub fn plan_not_once(survey: &Survey, loader: &dyn Loader) -> Planned {
    let mut plan = Plan::new(survey, "activate");
    let Some(dataset) = &survey.boot.once else {
        plan.outcome = "nothing is set to boot once; nothing changed".to_owned();
        return Ok(plan);
    };
    let attempted = "take back what boots once";
    changeable(survey, attempted, [])?;
    let step = loader.cancel_once(survey).ok_or_else(|| {
        Refusal::new(
            attempted,
            format!("{dataset} is set to boot once by something else than beadm-rs"),
        )
    })?;
    plan.steps.push(step);
    plan.outcome = format!("{dataset} does not boot once any more");
    Ok(plan)
}

/// The records of trials that there are: their keys and texts.
pub(super) fn records(survey: &Survey) -> Vec<(String, String)> {
    kept(survey, &[TRIAL, FELL_BACK])
}

fn kept(survey: &Survey, keys: &[&str]) -> Vec<(String, String)> {
    keys.iter()
        .copied()
        .filter_map(|key| Some((key.to_owned(), survey.beroot_mark(key)?.to_owned())))
        .collect()
}

/// The intent of a switch, and how long it is, bytes. What was begun with one
/// loader is not judged by another: so it is named, where it counts.
pub(super) fn activation(
    survey: &Survey,
    target: &BootEnvironment<'_>,
    switch: Switch,
    back: Vec<Guid>,
) -> (SyncOp, usize) {
    let counting = survey.capabilities.counting;
    let undertaking = Undertaking::Activate {
        target: target.guid(),
        back,
        failback: target.failback(),
        switch,
        loader: counting.then(|| survey.loader.to_owned()),
        records: kept(survey, &[TRIAL, FELL_BACK, FILES]),
    };
    intent_mark(survey, undertaking)
}

pub(super) fn mark(survey: &Survey, key: &str, text: String) -> SyncOp {
    SyncOp::Mark {
        object: survey.beroot.to_string(),
        key: key.to_owned(),
        text,
    }
}

pub(super) fn unmark(survey: &Survey, key: &str) -> SyncOp {
    SyncOp::Unmark {
        object: survey.beroot.to_string(),
        key: key.to_owned(),
    }
}
