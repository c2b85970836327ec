//! `late-sync`: what a boot does about files before its services start.

use std::sync::atomic::{AtomicBool, Ordering};

use super::context::{Context, warn};
use super::error::{BUSY, FAILED, Trouble};
use super::switch::beside;
use super::sync::{self, Seen, find};
use crate::be::BeName;
use crate::execute::{Quiet, execute};
use crate::os::Platform as _;
use crate::os::linux::Linux;
use crate::plan::{self, Plan, files};
use crate::survey::{Files, Scope, Survey, SurveyError};
use crate::zfs::Guid;

/// Carry what changed elsewhere until this boot: what the service beadm-rs-late-sync runs
///
/// After an activation, at the first boot of whichever environment comes up, the new one
/// or the one before: what was changed in the one that ran last, since both were
/// synchronized, is carried to the one that runs now. Of what both changed the one that
/// runs keeps its own, and the other version goes to /etc/beadm-rs/conflicts. It never makes a
/// boot fail: the exit code is 0, and what went wrong is told.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// How often it is tried where something changes a file meanwhile.
const TRIES: u32 = 3;

/// What was found out.
struct Late {
    running: BeName,
    files: Files,
    source: Guid,
}

/// There is no machine to look at.
pub(super) fn without_host(trouble: &Trouble) -> u8 {
    warn(&trouble.to_string());
    let told = not_carried(trouble);
    if let Err(error) = Linux::default().tell(Some(&told)) {
        warn(&error.to_string());
    }
    0
}

fn not_carried(trouble: &Trouble) -> String {
    format!(
        "beadm-rs: files that were changed before this boot could not be carried: {}",
        trouble.message
    )
}

pub(super) fn run(context: &Context) {
    let told = match late(context) {
        Ok(told) => {
            for line in &told {
                context.warn(line);
            }
            let kept: Vec<String> = told
                .iter()
                .skip(1)
                .map(|line| format!("beadm-rs: {line} (beadm-rs status)"))
                .collect();
            (!kept.is_empty()).then(|| kept.join("\n"))
        }
        Err(trouble) => {
            context.warn(&trouble.to_string());
            Some(not_carried(&trouble))
        }
    };
    if context.dry_run {
        return;
    }
    if let Err(error) = context.host.platform.tell(told.as_deref()) {
        context.warn(&error.to_string());
    }
}

/// One sentence that says what was done, and one for each file that both changed.
fn late(context: &Context) -> Result<Vec<String>, Trouble> {
    let nothing = |why: &str| Ok(vec![why.to_owned()]);
    let look = || Survey::take(&context.host, Scope::Names);
    let mut survey = match look() {
        // Not a machine with boot environments.
        Err(SurveyError::NoBeroot(why)) => return nothing(&why),
        survey => survey?,
    };
    let noted = |survey: &Survey| survey.files().map_err(|why| Trouble::new(FAILED, why));
    if survey.running().is_none() || noted(&survey)?.is_none() {
        return nothing("nothing is to be carried");
    }
    let _lock = match context.dry_run {
        true => None,
        false => Some(context.lock()?),
    };
    if survey.intent().is_some() && !context.dry_run {
        if let Some(plan) = context.recover()? {
            context.warn(&plan.outcome);
        }
        survey = look()?;
    }
    let (Some(running), Some(files)) = (survey.running(), noted(&survey)?) else {
        return nothing("nothing is to be carried");
    };
    let settle = |told: String| -> Result<Vec<String>, Trouble> {
        if [Some(files.newest), files.owed].contains(&Some(running.guid()))
            || files.among.contains(&running.guid())
        {
            record(context, &files::plan_settled(&survey, &running, &files))?;
        }
        Ok(vec![told])
    };
    let Some(source) = files.source(running.guid()) else {
        return settle(match survey.environment_with(files.newest) {
            Some(_) => format!("{} has the newest files already", running.name()),
            None => {
                "the environment that ran before is gone, and nothing is carried from it".to_owned()
            }
        });
    };
    let owed = files.owed_to(running.guid(), source);
    // First: whatever becomes of the rest, what happens here from now on is newer.
    record(context, &files::plan_owed(&survey, &files, &owed))?;
    let late = Late {
        running: running.name().parse().map_err(Trouble::refused)?,
        files: owed,
        source,
    };
    let mut carried = carry(context, &late);
    for _ in 1..TRIES {
        let interrupted = context.interruption.asked().load(Ordering::Relaxed);
        match &carried {
            // It was undone, since something was changed in the middle of it.
            Err(trouble) if [FAILED, BUSY].contains(&trouble.exit) && !interrupted => {
                context.warn(&trouble.to_string());
                carried = carry(context, &late);
            }
            _ => break,
        }
    }
    carried
}

/// Carries out a plan of the record alone, whatever signal came.
fn record(context: &Context, plan: &Plan) -> Result<(), Trouble> {
    if context.dry_run {
        return Ok(());
    }
    let never = AtomicBool::new(false);
    Ok(execute(&context.host, plan, &Quiet, &never)?)
}

fn carry(context: &Context, late: &Late) -> Result<Vec<String>, Trouble> {
    let survey = Survey::take(&context.host, Scope::Change)?;
    let gone = || Trouble::new(FAILED, "an environment went meanwhile");
    let source = survey.environment_with(late.source).ok_or_else(gone)?;
    let running = survey.environment(&late.running).ok_or_else(gone)?;
    let request = plan::sync::Request {
        source: source.name().parse().map_err(Trouble::refused)?,
        target: late.running.clone(),
        at_boot: true,
    };
    let Seen {
        request,
        looked,
        notes,
    } = find(context, &survey, request, &sync::Manner::beside())?;
    for note in &notes {
        context.warn(note);
    }
    let mut plan = plan::sync::plan(&survey, &request, &looked)?;
    let outcome = plan.outcome.clone();
    if plan.steps.is_empty() {
        record(
            context,
            &files::plan_settled(&survey, &running, &late.files),
        )?;
    } else {
        files::settle(&survey, &running, &late.files, &mut plan);
        if !context.dry_run {
            context.carry_out(&plan)?;
        }
    }
    Ok(std::iter::once(outcome).chain(beside(&looked)).collect())
}
