//! `activate` and `failback`.

use std::io;

use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::completions::environments;
use super::context::Context;
use super::output;
use super::watched;
use crate::be::BeName;
use crate::boot::grub::not_held;
use crate::check;
use crate::host::Host;
use crate::plan::activate::{self, Preflight};
use crate::plan::{Plan, Planned, Refusal, provisional};
use crate::survey::{Around, Survey};

/// Make a boot environment the one that boots next
///
/// Records what was confirmed before, promotes all of its datasets, so that it
/// hangs on no other one any more, and sets the pool's bootfs, last. Where
/// systemd-boot or GRUB by a menu of beadm-rs boots the machine, it is tried
/// instead: a few boots, and the last good one returns unless it is confirmed. Activating the running one cancels a
/// pending switch. Before that it is checked, as `check` does; what would not
/// boot is refused.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Boot it once, then the one before again; refused where the loader cannot
    #[arg(short = 't', long, conflicts_with = "not_once")]
    once: bool,

    /// Take back what was set to boot once
    #[arg(short = 'T', long, conflicts_with = "no_trial")]
    not_once: bool,

    /// Without a trial, from now on, where the loader (systemd-boot, GRUB) could count tries; the
    /// others cannot, and this changes nothing
    #[arg(long)]
    no_trial: bool,

    /// Do not look whether it can boot: an error that 'check' would find stops nothing
    #[arg(long)]
    no_check: bool,

    /// The boot environment
    #[arg(value_name = "NAME", required_unless_present = "not_once", add = ArgValueCompleter::new(environments))]
    name: Option<BeName>,
}

/// Activate the boot environment that was confirmed before this one
///
/// The record it follows is the one that `activate` made of the environment
/// that boots next, so a pending switch is taken back, and after a reboot into
/// a new environment the old one returns. A second failback goes one further
/// back. What `check` finds about it is told and stops nothing, unless there is
/// no kernel at all.
#[derive(Debug, clap::Args)]
pub struct FailbackArgs {
    /// Do not look whether it can boot
    #[arg(long)]
    no_check: bool,
}

/// Let what boots start the kernel that was installed
///
/// Where the loader boots copies of kernels (systemd-boot, GRUB), and the running
/// environment is what boots for good, its newest kernel and initramfs are copied
/// and get an entry, as by `activate`. Hooks of kernel packages call it; where
/// there is nothing to do it says why.
#[derive(Debug, clap::Args)]
pub struct KernelArgs {}

impl Args {
    pub(super) fn name(&self) -> String {
        self.name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

pub(super) fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    if args.not_once {
        let survey = context.look(crate::survey::Scope::Names)?;
        if survey.boot.once.is_some() {
            return context.change_and_report("activate", &Around::default(), |survey| {
                provisional::plan_not_once(survey, context.host.loader.as_ref())
            });
        }
        let outcome = "nothing is set to boot once; nothing changed";
        if context.json {
            let content = json!({ "done": !context.dry_run, "changed": false, "outcome": outcome });
            return Ok(output::json(&mut io::stdout().lock(), "activate", content)?);
        }
        context.warn(outcome);
        return Ok(());
    }
    let Some(name) = args.name else {
        return Ok(());
    };
    let request = activate::Request {
        name,
        once: args.once,
        no_trial: args.no_trial,
    };
    let around = activate::around(&request.name);
    context.switch_and_report("activate", &around, |survey| {
        let plan = activate::plan(survey, context.host.loader.as_ref(), &request)?;
        if args.no_check {
            return Ok(plan);
        }
        checked(context, survey, &request.name, Preflight::Forward, plan)
    })
}

/// Refuses what would take from GRUB the files that it starts the machine with.
/// Those are the running machine's: a rescue system's GRUB is another one.
pub(super) fn grub_is_elsewhere(
    host: &Host,
    survey: &Survey,
    name: &BeName,
    attempted: &str,
) -> Result<(), Refusal> {
    match survey.environment(name) {
        Some(environment) if host.altroot.is_none() => not_held(
            host.platform.as_ref(),
            &host.config.boot,
            &environment,
            attempted,
        ),
        _ => Ok(()),
    }
}

/// A plan with what a look at the environment showed, or the refusal it leads
/// to. Nothing is looked at where nothing would be done.
pub(super) fn checked(
    context: &Context,
    survey: &Survey,
    name: &BeName,
    direction: Preflight,
    mut plan: Plan,
) -> Planned {
    let Some(environment) = survey.environment(name).filter(|_| !plan.steps.is_empty()) else {
        return Ok(plan);
    };
    if check::grub_not_taken_over(&context.host) {
        let note = "GRUB started this machine by an entry that names its root, and does so again \
                    whatever is activated; beadm-rs init has it boot by a menu of beadm-rs";
        plan.notes.push(note.to_owned());
    }
    if !context.is_root() {
        let note = format!("whether {name} can boot was not looked at: only root can");
        plan.notes.push(note);
        return Ok(plan);
    }
    let facts = check::facts(&context.host, survey);
    let findings = check::environment(&context.host, survey, &environment, &facts);
    plan.notes
        .extend(activate::preflight(name.as_str(), &findings, direction)?);
    Ok(plan)
}

pub(super) fn run_failback(context: &Context, args: &FailbackArgs) -> anyhow::Result<()> {
    let report = context.change(
        |host| {
            // Where it leads is known from the roots alone.
            let survey = Survey::around(host, &Around::default())?;
            let target = activate::failback_target(&survey)?;
            // It most likely hangs on the one it takes over from.
            let mut roots = vec![target.root.name.clone()];
            roots.extend(survey.boot.next.clone());
            Ok(survey.closer(host, &roots)?)
        },
        |survey| {
            let plan = activate::plan_failback(survey, context.host.loader.as_ref())?;
            let target = activate::failback_target(survey)?;
            match target.name().parse() {
                Ok(name) if !args.no_check => {
                    checked(context, survey, &name, Preflight::Back, plan)
                }
                _ => Ok(plan),
            }
        },
        |_| None,
    )?;
    context.report("failback", &report)?;
    if watched::settle(context)? {
        context.warn(watched::ENDED);
    }
    Ok(())
}

pub(super) fn run_kernel(context: &Context) -> anyhow::Result<()> {
    let around = Around {
        running: true,
        next: true,
        ..Around::default()
    };
    context.change_and_report("kernel-updated", &around, |survey| {
        let plan = activate::plan_kernel(survey, context.host.loader.as_ref())?;
        // A kernel without its zfs module, say, takes the place of none that boots.
        match survey
            .running()
            .and_then(|running| running.name().parse().ok())
        {
            Some(name) => checked(context, survey, &name, Preflight::Forward, plan),
            None => Ok(plan),
        }
    })
}
