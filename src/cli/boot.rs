//! `boot`: what a machine does for itself before its services start.

use std::sync::atomic::AtomicBool;

use super::activate::look_back;
use super::context::{Context, warn};
use super::error::Trouble;
use super::progress::Bar;
use super::watched;
use crate::boot::command_line::FAILBACK;
use crate::execute::execute;
use crate::os::linux::Linux;
use crate::os::{Booted, Platform as _};
use crate::plan::activate::{failback_target, plan_failback};
use crate::plan::{Plan, confirm, files};
use crate::survey::{Scope, Survey, SurveyError};

/// Look after this boot: what the service beadm-rs-boot runs before the others
///
/// Completes or takes back what was interrupted, as `recover` does; notices that
/// the machine went back from a trial, and records why; does what `failback` does
/// where its entry in the loader's menu was chosen; leaves word of it for whoever
/// logs in (/run/motd.d/beadm-rs). It never makes a boot fail: the exit
/// code is 0, and what went wrong is told.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What is left where it is not known whether a trial goes on: the units then do
/// their work, and find out or fail themselves.
fn unknown(trouble: &Trouble) -> Booted {
    Booted {
        records: true,
        trial: true,
        message: Some(format!(
            "beadm-rs could not look after this boot: {}",
            trouble.message
        )),
    }
}

/// There is no machine to look at: no ZFS, or a configuration that cannot be
/// followed.
pub(super) fn without_host(trouble: &Trouble) -> u8 {
    warn(&trouble.to_string());
    if let Err(error) = Linux::default().leave(&unknown(trouble)) {
        warn(&error.to_string());
    }
    0
}

pub(super) fn run(context: &Context) {
    if !context.dry_run {
        // First what holds where this is killed: a boot that nobody looked at must
        // not pass for a good one. A failure is told below, where it is the same.
        let _ = context.host.platform.leave(&Booted {
            records: true,
            trial: true,
            message: None,
        });
    }
    let booted = look_after(context).unwrap_or_else(|trouble| {
        context.warn(&trouble.to_string());
        unknown(&trouble)
    });
    if context.dry_run {
        return;
    }
    if let Err(error) = context.host.platform.leave(&booted) {
        context.warn(&error.to_string());
    }
}

fn look_after(context: &Context) -> Result<Booted, Trouble> {
    let survey = match Survey::take(&context.host, Scope::Names) {
        // Not a machine with boot environments.
        Err(SurveyError::NoBeroot(why)) => {
            context.warn(&why);
            return Ok(Booted::default());
        }
        survey => survey?,
    };
    // Its end is a service that is not started where there are no records.
    let is_watched = context.host.platform.is_watched();
    if !survey.has_records() && !is_watched {
        context.warn("there are no records of beadm-rs: nothing to do");
        return Ok(Booted::default());
    }
    let lock = if context.dry_run {
        None
    } else {
        Some(context.lock()?)
    };
    if survey.intent().is_some() {
        recover(context);
    }
    // Before a trial is looked at: it is over then.
    let chosen = fail_back(context, &Survey::take(&context.host, Scope::Names)?);
    if let Some(chosen) = &chosen {
        context.warn(chosen);
    }
    let survey = Survey::take(&context.host, Scope::Names)?;
    let noticed = confirm::plan_notice(&survey)?;
    if !noticed.outcome.is_empty() {
        context.warn(&noticed.outcome);
    }
    if lock.is_some() {
        let never = AtomicBool::new(false);
        execute(&context.host, &noticed, &Bar::for_terminal(), &never)?;
        put_right(context, &survey);
    }
    let survey = Survey::take(&context.host, Scope::Names)?;
    if is_watched && !watched::is_once(context) && watched::settle(context)? {
        context.warn(watched::ENDED);
    }
    let running = survey.running();
    let trial = survey.trial().ok().flatten();
    let fell_back = match (survey.fell_back().ok().flatten(), &trial) {
        (Some(record), None) => {
            let running = running.as_ref().map(|running| running.name());
            Some(confirm::sentence(&record, running))
        }
        _ => None,
    };
    let told: Vec<String> = [chosen, fell_back]
        .into_iter()
        .flatten()
        .map(|told| format!("beadm-rs: {told} (beadm-rs status)"))
        .collect();
    Ok(Booted {
        records: true,
        trial: watched::is_tried(&survey),
        message: (!told.is_empty()).then(|| told.join("\n")),
    })
}

/// Does what `failback` does where the loader's entry for that started what runs,
/// and `failback` leads there now; what is told about it. Nothing where that boots
/// next already, and so nothing a second time.
fn fail_back(context: &Context, survey: &Survey) -> Option<String> {
    let line = context.host.platform.facts().command_line;
    let running = survey
        .running()
        .filter(|running| !running.is_next())
        .filter(|_| line.split_whitespace().any(|word| word == FAILBACK))?;
    let name = running.name();
    let started = format!("the loader's entry that fails back started {name}");
    if survey.boot.next.is_none() {
        return Some(format!(
            "{started}, but what boots next is not known, so nothing was done; 'beadm-rs check' \
             tells why, 'beadm-rs activate {name}' has it boot from now on"
        ));
    }
    let made = match failback_target(survey) {
        // What runs has shown that it boots: that is not looked at.
        Ok(target) if target.guid() == running.guid() => made_good(context),
        Ok(target) => {
            return Some(format!(
                "{started}, but by now failback leads to {}, so nothing was done; 'beadm-rs \
                 activate {name}' has {name} boot from now on",
                target.name()
            ));
        }
        Err(refusal) => Err(refusal.into()),
    };
    Some(match made {
        Ok(outcome) => format!("{started}: {outcome}"),
        Err(trouble) => {
            let Trouble {
                message,
                state,
                remedy,
                ..
            } = trouble;
            let parts: Vec<String> = [Some(message), state, remedy]
                .into_iter()
                .flatten()
                .collect();
            format!(
                "{started}, but does not boot from now on: {}",
                parts.join("; ")
            )
        }
    })
}

/// The failback itself; what it came to.
fn made_good(context: &Context) -> Result<String, Trouble> {
    let loader = context.host.loader.as_ref();
    let survey = look_back(&context.host)?;
    let mut plan = plan_failback(&survey, loader)?;
    if let (Some(before), Some(running)) = (survey.next(), survey.running()) {
        let newest = survey.files().ok().flatten().map(|files| files.newest);
        // Unless what was to boot next never did.
        if newest != Some(running.guid()) {
            let record = files::of_switch(&survey, &before, &running);
            files::note(&survey, &mut plan, Some(&record));
        }
    }
    if !context.dry_run {
        let never = AtomicBool::new(false);
        execute(&context.host, &plan, &Bar::for_terminal(), &never)?;
    }
    Ok(plan.outcome)
}

/// The loader's files where they have to be too; a machine boots without.
fn put_right(context: &Context, survey: &Survey) {
    let mut plan = Plan::new(survey, "boot");
    plan.steps = context.host.loader.put_right();
    let never = AtomicBool::new(false);
    if let Err(failure) = execute(&context.host, &plan, &Bar::for_terminal(), &never) {
        context.warn(&failure.to_string());
    }
}

/// Ends what was interrupted; where that fails the rest can be done all the same.
fn recover(context: &Context) {
    if context.dry_run {
        return;
    }
    match context.recover() {
        Ok(Some(plan)) => context.warn(&plan.outcome),
        Ok(None) => {}
        Err(trouble) => context.warn(&trouble.to_string()),
    }
}
