//! `health`.

use std::io::{self, Write as _};

use serde_json::json;

use super::context::Context;
use super::error::{FAILED, Trouble, Verdict};
use super::output;
use crate::health::{Checks, DIRECTORY, Ran};
use crate::plan::confirm;
use crate::survey::Survey;

/// Run the health checks of this system
///
/// These are the executables in /etc/beadm-rs/health.d/required.d and
/// /etc/beadm-rs/health.d/wanted.d, one after the other, by name. Each has a time
/// limit. A file that somebody else than root could have written is not run, and
/// counts as failed. The exit code is 1 where a required one failed. What they
/// write goes to standard error. A service runs them before a boot counts as
/// complete.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where a required one fails and what runs is being tried, reboot the machine: the loader
    /// takes the next try, or the last good one. A machine that tries nothing is not rebooted
    #[arg(long)]
    reboot_trial: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    if context.host.simulated {
        return Err(
            Trouble::refused("this is a simulated machine, whose programs cannot be run").into(),
        );
    }
    let found = Checks::find(DIRECTORY.into(), 0).map_err(Trouble::from)?;
    for (file, why) in &found.skipped {
        context.warn(&format!("{file} is not run: {why}"));
    }
    if context.dry_run {
        return list(context, &found);
    }
    if !context.is_root() {
        return Err(Trouble::refused("only root can run health checks").into());
    }
    let limit = context.host.config.health.timeout();
    let ran: Vec<Ran> = found
        .checks
        .iter()
        .map(|check| {
            let mut told = |line: &str| context.warn(&format!("{}: {line}", check.name));
            check.run(limit, &mut told)
        })
        .collect();
    let fatal: Vec<String> = ran
        .iter()
        .filter(|ran| ran.is_fatal())
        .map(|ran| format!("{} {}", ran.name, ran.outcome.phrase()))
        .collect();
    report(context, &ran, fatal.is_empty())?;
    if fatal.is_empty() {
        return Ok(());
    }
    if args.reboot_trial {
        let why = format!("the health check {}", fatal.join(", and "));
        reboot_trial(context, &why)?;
    }
    Err(Verdict(FAILED).into())
}

fn list(context: &Context, found: &Checks) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if context.json {
        let checks: Vec<_> = found
            .checks
            .iter()
            .map(|check| {
                json!({
                    "name": check.name,
                    "need": check.need,
                    "program": check.program.as_ref().ok(),
                    "refused": check.program.as_ref().err(),
                })
            })
            .collect();
        let content = json!({ "done": false, "checks": checks });
        return Ok(output::json(&mut out, "health", content)?);
    }
    for check in &found.checks {
        let program = match &check.program {
            Ok(program) => format!("would run {program}"),
            Err(why) => format!("would not be run: {why}"),
        };
        let (need, name) = (check.need.label(), output::one_line(&check.name));
        writeln!(out, "{need} {name}: {program}")?;
    }
    Ok(())
}

fn report(context: &Context, ran: &[Ran], healthy: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if context.json {
        let content = json!({ "done": true, "healthy": healthy, "checks": ran });
        return Ok(output::json(&mut out, "health", content)?);
    }
    let rows: Vec<Vec<String>> = ran
        .iter()
        .map(|ran| {
            vec![
                ran.need.label().to_owned(),
                output::one_line(&ran.name),
                output::one_line(&ran.outcome.phrase()),
            ]
        })
        .collect();
    if context.script {
        return Ok(output::tabs(&mut out, &rows)?);
    }
    for row in rows {
        if let [need, name, phrase] = row.as_slice() {
            writeln!(out, "{need} {name}: {phrase}")?;
        }
    }
    let summary = match (ran.len(), healthy) {
        (0, _) => format!("there is no health check in {DIRECTORY}"),
        (_, true) => "healthy".to_owned(),
        (_, false) => "not healthy".to_owned(),
    };
    writeln!(out, "{summary}")?;
    Ok(())
}

/// Ends this try of what runs, where it is one.
fn reboot_trial(context: &Context, why: &str) -> Result<(), Trouble> {
    let ended = context.change(
        |host| Ok(Survey::around(host, &confirm::around())?),
        |survey| confirm::plan_failed(survey, context.host.loader.as_ref(), why),
        |_| None,
    )?;
    if ended.plan.steps.is_empty() {
        context.warn("what runs is not being tried: the machine is not rebooted");
        return Ok(());
    }
    context.warn(&format!("{}: rebooting", ended.plan.outcome));
    Ok(context.host.platform.reboot()?)
}
