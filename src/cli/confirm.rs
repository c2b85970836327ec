//! `confirm`.

use std::cell::Cell;

use super::context::{Context, Report};
use super::error::Trouble;
use super::{bases, share, watched};
use crate::host::Host;
use crate::plan::confirm;
use crate::plan::share::activation::is_due;
use crate::survey::Survey;

/// Confirm that the environment that is being tried works
///
/// It becomes the last good one, which boots from now on, and its datasets are
/// promoted. A service does this at the end of a boot, once the health checks
/// have passed. Where nothing is being tried there is nothing to do; where another
/// one runs it is refused.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// It does not work: end the trial, the last good one boots again
    #[arg(long)]
    reject: bool,

    /// Reboot the machine then, where what was rejected runs
    #[arg(long, requires = "reject")]
    reboot: bool,
}

impl Args {
    pub(super) fn purpose(&self) -> &'static str {
        if self.reject {
            "reject the trial"
        } else {
            "confirm the trial"
        }
    }
}

fn look(host: &Host) -> Result<Survey, Trouble> {
    Ok(Survey::around(host, &confirm::around())?)
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let loader = context.host.loader.as_ref();
    if args.reject {
        let rejected = |survey: &Survey| {
            confirm::plan_reject(
                survey,
                loader,
                "it was rejected with 'beadm-rs confirm --reject'",
            )
        };
        let mut report = context.change(look, rejected, |_| None)?;
        settle(context, &mut report)?;
        let changed = report.done && !report.plan.steps.is_empty();
        context.report("confirm", &report)?;
        if args.reboot && changed && runs_on(context)? {
            context.host.platform.reboot().map_err(Trouble::from)?;
        }
        return Ok(());
    }
    let release = Cell::new(false);
    let planned = |survey: &Survey| {
        release.set(is_due(survey, false));
        confirm::plan(survey, loader)
    };
    let confirmed = context.change(look, planned, |_| None);
    let mut report = confirmed.inspect_err(|_| {
        // What runs may be none of it: a boot for once, while another is being tried.
        if let Err(trouble) = watched::settle(context) {
            context.warn(&trouble.to_string());
        }
    })?;
    settle(context, &mut report)?;
    promote(context, &mut report);
    if release.get() && report.done {
        share::release(context);
    }
    if report.done {
        bases::release(context);
    }
    context.report("confirm", &report)
}

/// Ends the dead man's switch of this boot, where its trial is over.
fn settle(context: &Context, report: &mut Report) -> Result<(), Trouble> {
    if watched::settle(context)? {
        report.plan.notes.push(watched::ENDED.to_owned());
    }
    Ok(())
}

/// Whether something else runs than what boots next.
fn runs_on(context: &Context) -> Result<bool, Trouble> {
    let survey = look(&context.host)?;
    Ok(survey.running().is_some_and(|running| !running.is_next()))
}

/// Promotes what was confirmed, now or at an earlier boot. Where that cannot be done now it is put off:
/// what boots, and what can be gone back to, is settled without.
fn promote(context: &Context, report: &mut Report) {
    match context.change(look, confirm::plan_promotion, |_| None) {
        Ok(mut promoted) => {
            // The commit point is the confirmation's.
            for step in &mut promoted.plan.steps {
                step.commit = false;
            }
            report.recovered = report.recovered.take().or(promoted.recovered);
            report.plan.steps.extend(promoted.plan.steps);
            report.plan.notes.extend(promoted.plan.notes);
        }
        Err(trouble) => report.plan.notes.push(format!(
            "its datasets still hang on those it was cloned from ({}); the next 'beadm-rs \
             confirm' promotes them, also that of the next boot",
            trouble.message
        )),
    }
}
