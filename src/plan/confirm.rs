//! The end of a trial: confirmed, rejected, or a try that failed.
//!
//! The record of the trial is what an interruption leaves, and it goes with the
//! last step: before that, everything a confirmation does can be done again by
//! the next one, and the machine boots the same environment throughout. A
//! rejection that is interrupted has either changed nothing or is seen by the
//! next boot as what it is, a machine that went back. So neither records an
//! intent, and each step before the last can be undone.

use super::activate::{failback_mark, promotions, way_back};
use super::provisional::{mark, unmark};
use super::{Action, Plan, Planned, Refusal, Step, changeable, finished, loader_is_seen};
use crate::be::BootEnvironment;
use crate::boot::{Loader, Switch, TrialEntry};
use crate::survey::trial::{FELL_BACK, TRIAL};
use crate::survey::{Around, FellBack, Survey, Trial};
use crate::zfs::SyncOp;

const CONFIRM: &str = "confirm";
const REJECT: &str = "reject the trial";

/// What has to be looked at: the running one hangs on what it takes over from.
#[must_use]
pub fn around() -> Around {
    Around {
        running: true,
        next: true,
        shared: true,
        ..Around::default()
    }
}

/// The pending trial.
fn pending(survey: &Survey, attempted: &str) -> Result<Option<Trial>, Refusal> {
    survey.trial().map_err(|unread| {
        Refusal::new(attempted, &unread)
            .remedy("use the version that wrote it; or activate an environment, which ends it")
    })
}

fn mark_fell_back(survey: &Survey, record: &FellBack) -> SyncOp {
    mark(survey, FELL_BACK, record.encode())
}

/// The last step, which ends it; everything before can be undone, and is done
/// again where the machine stopped before this.
fn end(survey: &Survey, plan: &mut Plan, operations: Vec<SyncOp>) {
    for step in &mut plan.steps {
        step.commit = false;
    }
    plan.transact("finish", &survey.beroot.pool(), operations);
    if let Some(last) = plan.steps.last_mut() {
        last.commit = true;
    }
}

/// The plan of `confirm`: what runs is what was tried, and becomes the last
/// good one.
///
/// # Errors
/// Why it is refused: another one runs.
pub fn plan(survey: &Survey, loader: &dyn Loader) -> Planned {
    let mut plan = Plan::new(survey, "confirm");
    let Some(trial) = pending(survey, CONFIRM)? else {
        plan.outcome = "nothing to confirm: no environment is being tried".to_owned();
        return Ok(plan);
    };
    let target = tried_here(survey, &trial)?;
    finished(survey, CONFIRM, &target)?;
    changeable(survey, CONFIRM, [&survey.beroot.pool()])?;
    loader_is_seen(survey, CONFIRM)?;
    let before = survey
        .last_good()
        .filter(|guid| survey.environment_with(*guid).is_some())
        .unwrap_or(trial.back);
    let record = Some(before).filter(|before| *before != target.guid());
    let back = way_back(survey, &target, Switch::Good, record);
    plan.steps
        .extend(loader.confirm(survey, target.root, back)?);
    let pool = survey.beroot.pool();
    let bootfs = survey
        .pools
        .get(&pool)
        .and_then(|pool| pool.bootfs.as_ref());
    // A loader may have it among its own steps.
    let set_by_loader = plan
        .steps
        .iter()
        .any(|step| matches!(&step.action, Action::SetBootfs { pool: set, .. } if *set == pool));
    if bootfs != Some(&target.root.name) && !set_by_loader {
        let set = |dataset| Action::SetBootfs {
            pool: pool.clone(),
            dataset,
        };
        plan.steps.push(
            Step::new("bootfs", set(Some(target.root.name.clone())))
                .undone_by(vec![set(bootfs.cloned())]),
        );
    }
    let mut records = Vec::new();
    if record.is_some() {
        records.push(failback_mark(&target, record));
    }
    records.push(mark(survey, "confirmed", target.guid().to_string()));
    records.push(unmark(survey, TRIAL));
    if !matches!(survey.fell_back(), Ok(None)) {
        // Of a try of this very trial that failed.
        records.push(unmark(survey, FELL_BACK));
    }
    end(survey, &mut plan, records);
    let back = survey
        .environment_with(before)
        .map(|back| format!("; the way back: beadm-rs failback (to {})", back.name()))
        .unwrap_or_default();
    plan.outcome = format!("{} is confirmed{back}", target.name());
    Ok(plan)
}

/// The environment that is being tried, which has to run.
fn tried_here<'a>(survey: &'a Survey, trial: &Trial) -> Result<BootEnvironment<'a>, Refusal> {
    let name = name_of(survey, trial);
    let running = survey.running().ok_or_else(|| {
        Refusal::new(
            CONFIRM,
            format!("{name} is being tried, and no boot environment runs here"),
        )
        .remedy("confirm it where it runs; 'beadm-rs confirm --reject' ends the trial")
    })?;
    if running.guid() == trial.target {
        return Ok(running);
    }
    Err(Refusal::new(
        CONFIRM,
        format!(
            "{name} is being tried, but {} runs: whether {name} works cannot be told from here",
            running.name()
        ),
    )
    .remedy(format!(
        "reboot to try it; 'beadm-rs confirm --reject' ends the trial; \
         'beadm-rs activate --no-trial {name}' switches without one"
    )))
}

/// What an environment on trial is called, or was.
fn name_of(survey: &Survey, trial: &Trial) -> String {
    survey.environment_with(trial.target).map_or_else(
        || format!("the environment with guid {}", trial.target),
        |environment| environment.name().to_owned(),
    )
}

/// The plan that promotes the whole tree of what runs: the end of a
/// confirmation, which may come later.
///
/// # Errors
/// Why it cannot be promoted.
pub fn plan_promotion(survey: &Survey) -> Planned {
    let mut plan = Plan::new(survey, "confirm");
    let attempted = "promote what was confirmed";
    // Confirmed by this program, or about to be: one that was merely adopted
    // stays as it hangs.
    let Some(running) = survey.running().filter(|running| {
        let tried = matches!(survey.trial(), Ok(Some(trial)) if trial.target == running.guid());
        tried || (running.is_last_good() && running.failback().is_some())
    }) else {
        return Ok(plan);
    };
    let found = promotions(survey, attempted, &running)?;
    if found.operations.is_empty() {
        return Ok(plan);
    }
    changeable(
        survey,
        attempted,
        found.operations.iter().map(|(pool, _)| pool),
    )?;
    // A pool is promoted whole or not at all; whatever comes of the others changes
    // nothing about what boots.
    for pool in super::pools_of(&running) {
        let operations = found
            .operations
            .iter()
            .filter(|(of, _)| *of == pool)
            .map(|(_, operation)| operation.clone())
            .collect();
        plan.transact("promote", &pool, operations);
    }
    if let Some(first) = plan.steps.first_mut() {
        first.commit = true;
    }
    plan.outcome = format!("{} hangs on no other environment any more", running.name());
    Ok(plan)
}

/// The plan of `confirm --reject`: the last good one boots again. `why` is
/// recorded where what was tried runs.
///
/// # Errors
/// Why it is refused: the last good one is gone or cannot boot.
pub fn plan_reject(survey: &Survey, loader: &dyn Loader, why: &str) -> Planned {
    let mut plan = Plan::new(survey, "confirm");
    let Some(trial) = pending(survey, REJECT)? else {
        plan.outcome = "nothing to reject: no environment is being tried".to_owned();
        return Ok(plan);
    };
    let name = name_of(survey, &trial);
    let back = survey.environment_with(trial.back).ok_or_else(|| {
        Refusal::new(
            REJECT,
            format!("the environment that was confirmed before {name} is gone"),
        )
        .remedy(format!("beadm-rs activate one of: {}", survey.names()))
    })?;
    if let Some(why) = back.unbootable() {
        return Err(
            Refusal::new(REJECT, format!("{} cannot be booted: {why}", back.name()))
                .remedy(format!("beadm-rs activate one of: {}", survey.names())),
        );
    }
    changeable(survey, REJECT, [&survey.beroot.pool()])?;
    loader_is_seen(survey, REJECT)?;
    let further = way_back(survey, &back, Switch::Good, None);
    plan.steps
        .extend(loader.switch(survey, back.root, Switch::Good, further)?);
    let runs = survey
        .running()
        .is_some_and(|running| running.guid() == trial.target);
    let mut records = vec![unmark(survey, TRIAL)];
    if runs {
        records.push(mark_fell_back(survey, &record(survey, &trial, why)));
    }
    end(survey, &mut plan, records);
    let reboot = if runs {
        format!("; {name} runs until the machine is rebooted")
    } else {
        String::new()
    };
    plan.outcome = format!("{name} is rejected, {} boots next{reboot}", back.name());
    Ok(plan)
}

/// What the loader has counted of an environment.
fn counted<'a>(survey: &'a Survey, environment: &BootEnvironment<'_>) -> Option<&'a TrialEntry> {
    let entry = survey.boot.trial.as_ref();
    entry.filter(|entry| entry.dataset == environment.root.name)
}

/// A note about the try that runs: which one that is.
fn of_try(entry: &TrialEntry, record: FellBack) -> FellBack {
    FellBack {
        tries: entry.tries_done,
        ..record
    }
}

/// What was noted about a try of a trial.
fn noted(survey: &Survey, trial: &Trial) -> Option<FellBack> {
    let note = survey.fell_back().ok().flatten();
    note.filter(|note| note.target == trial.target && note.when >= trial.since)
}

/// How far a try came, as its boot notes it: what comes after that and does not
/// confirm it may be a restart of any kind, and leaves no word.
const CAME_UP: &str = "it came as far as its services";

/// What a boot notes of the try that it is; nothing where that was noted before, or
/// its loader counts none.
fn note_of_try(survey: &Survey, trial: &Trial, running: &BootEnvironment<'_>) -> Option<SyncOp> {
    let entry = counted(survey, running)?;
    let note = of_try(entry, record(survey, trial, CAME_UP));
    let before = noted(survey, trial);
    // What a health check said of this try is more.
    let new = before.is_none_or(|before| before.tries != note.tries);
    new.then(|| mark_fell_back(survey, &note))
}

fn record(survey: &Survey, trial: &Trial, why: &str) -> FellBack {
    FellBack {
        target: trial.target,
        name: name_of(survey, trial),
        tries: trial.tries,
        when: survey.now,
        why: why.to_owned(),
    }
}

/// The plan for a machine whose health checks failed: nothing where what runs is
/// not being tried, else what to do before the machine is rebooted. The loader
/// then takes the next try, or the last good one.
///
/// # Errors
/// Why nothing can be done: the machine is not to be rebooted, since nothing
/// would be different afterwards.
pub fn plan_failed(survey: &Survey, loader: &dyn Loader, why: &str) -> Planned {
    let mut plan = Plan::new(survey, "confirm");
    let trial = pending(survey, "end a trial that failed")?;
    let running = survey.running();
    let (Some(trial), Some(running)) = (trial, running) else {
        return Ok(plan);
    };
    if running.guid() != trial.target {
        return Ok(plan);
    }
    let Some(entry) = counted(survey, &running) else {
        // Without a counter every reboot would lead here again.
        return plan_reject(survey, loader, why);
    };
    let note = of_try(entry, record(survey, &trial, why));
    plan.transact(
        "note",
        &survey.beroot.pool(),
        vec![mark_fell_back(survey, &note)],
    );
    plan.outcome = format!(
        "this try of {} failed, {} left",
        running.name(),
        match entry.tries_left {
            0 => "and none is".to_owned(),
            1 => "one is".to_owned(),
            more => format!("{more} are"),
        }
    );
    Ok(plan)
}

/// The plan for a boot: notices that the machine went back from a trial, and
/// records it.
///
/// # Errors
/// The record of the trial cannot be read, or not be changed.
pub fn plan_notice(survey: &Survey) -> Planned {
    let attempted = "notice whether the machine went back";
    let mut plan = Plan::new(survey, "boot");
    let (Some(trial), Some(running)) = (pending(survey, attempted)?, survey.running()) else {
        return Ok(plan);
    };
    let name = name_of(survey, &trial);
    if running.guid() == trial.target {
        plan.outcome = format!("{name} is being tried, and has to be confirmed");
        let pool = survey.beroot.pool();
        let note = note_of_try(survey, &trial, &running);
        // A boot that cannot be noted is as good.
        if let (Some(note), Ok(())) = (note, changeable(survey, attempted, [&pool])) {
            plan.transact("note", &pool, vec![note]);
        }
        return Ok(plan);
    }
    let Some(why) = went_back(survey, &trial) else {
        plan.outcome = format!("{name} is still to be tried");
        return Ok(plan);
    };
    changeable(survey, attempted, [&survey.beroot.pool()])?;
    // What was noted about one of its tries, by its boot or a failed health check.
    let noted = noted(survey, &trial)
        .map(|note| match note.tries {
            last if last >= trial.tries => format!("; at the last one {}", note.why),
            n => format!("; at try {n} {}, and none after it came as far", note.why),
        })
        .unwrap_or_default();
    let record = record(survey, &trial, &format!("{why}{noted}"));
    plan.outcome = sentence(&record, Some(running.name()));
    let records = vec![unmark(survey, TRIAL), mark_fell_back(survey, &record)];
    end(survey, &mut plan, records);
    Ok(plan)
}

/// Why it is certain that the machine went back; `None` where the trial may
/// still go on.
fn went_back(survey: &Survey, trial: &Trial) -> Option<String> {
    let Some(target) = survey.environment_with(trial.target) else {
        return Some("it is gone".to_owned());
    };
    let entry = counted(survey, &target);
    let tries = match trial.tries {
        1 => "its one try was".to_owned(),
        more => format!("its {more} tries were"),
    };
    match entry {
        // Somebody chose another one in the loader's menu.
        Some(entry) if entry.tries_left > 0 => None,
        Some(_) => Some(format!("{tries} used up and it was not confirmed")),
        // Its entry has lost the counter: it was about to be confirmed.
        None if survey.capabilities.counting && target.is_next() => None,
        // Where even what boots next is not known, its partition is not mounted.
        None if survey.capabilities.counting && survey.boot.next.is_some() => {
            Some("the loader has no entry of it".to_owned())
        }
        None => Some("another one was booted before it was confirmed".to_owned()),
    }
}

/// That the machine went back, for people.
#[must_use]
pub fn sentence(record: &FellBack, running: Option<&str>) -> String {
    let runs = running.map_or_else(String::new, |name| format!("; {name} runs"));
    format!("{} did not work: {}{runs}", record.name, record.why)
}
