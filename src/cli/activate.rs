//! `activate` and `failback`.

use std::cell::Cell;
use std::io;

use camino::Utf8PathBuf;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::completions::environments;
use super::context::{Context, Report};
use super::error::Trouble;
use super::switch::{self, Deed, Manner, Stopped, Switched};
use super::sync::ask::{self, Conflicts};
use super::watched;
use super::{bases, output, share};
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
/// boot is refused. And the files of the synclist are carried to it, as `sync` does:
/// accounts, crontabs and the like that changed since it was made; where both sides
/// changed the same, nothing is done, and the exit code is 4. What changes until the
/// reboot is carried when it boots.
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

    /// Whose version is taken of files that both the running environment and this one
    /// changed, or that each is asked about; without it they are listed, and nothing is done
    #[arg(long, value_name = "WHOSE", conflicts_with_all = ["no_sync", "not_once"])]
    conflicts: Option<Conflicts>,

    /// Carry no files, neither now nor when it boots
    #[arg(long, conflicts_with = "not_once")]
    no_sync: bool,

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
/// no kernel at all. Files are carried back as by `activate`, but nothing about them
/// stops it: of what both sides changed that one's own stays, and the other version is
/// kept in its /etc/beadm-rs/conflicts.
#[derive(Debug, clap::Args)]
pub struct FailbackArgs {
    /// Do not look whether it can boot
    #[arg(long)]
    no_check: bool,

    /// Whose version is taken of files that both changed, or that each is asked about:
    /// where that is not answered nothing is done
    #[arg(long, value_name = "WHOSE", conflicts_with = "no_sync")]
    conflicts: Option<Conflicts>,

    /// Carry no files, neither now nor when it boots
    #[arg(long)]
    no_sync: bool,

    /// Put back what is shared too, as it was when what boots now was activated: all
    /// of it, or PATH; what is there now is kept in a snapshot
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    restore_share: Option<Option<Utf8PathBuf>>,

    /// With --restore-share: although it is in use
    #[arg(long, requires = "restore_share")]
    force: bool,
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
            return context.report("activate", &not_once(context)?);
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
    ask::is_possible(args.conflicts)?;
    let manner = match args.no_sync {
        true => Manner::Without,
        false => Manner::Stopping(args.conflicts),
    };
    let switched = switched(context, &request, args.no_check, manner);
    switch::conclude(context, "activate", switched)?;
    if watched::settle(context)? {
        context.warn(watched::ENDED);
    }
    Ok(())
}

/// Takes back what was set to boot once.
pub(super) fn not_once(context: &Context) -> Result<Report, Trouble> {
    let look = |host: &Host| Ok(Survey::around(host, &Around::default())?);
    let loader = context.host.loader.as_ref();
    context.change(
        look,
        |survey| provisional::plan_not_once(survey, loader),
        |_| None,
    )
}

/// Activates an environment.
pub(super) fn switched(
    context: &Context,
    request: &activate::Request,
    no_check: bool,
    manner: Manner,
) -> Result<Switched, Stopped> {
    let around = activate::around(&request.name);
    let name = &request.name;
    let release = Cell::new(false);
    let deed = Deed {
        look: &|host| with_newest(host, Survey::around(host, &around)?),
        target: &|_| Some(name.clone()),
        first: &|_| share::follow_held(context, name),
        plan: &|survey| {
            let plan = activate::plan(survey, context.host.loader.as_ref(), request)?;
            release.set(share::release_is_due(survey, &plan));
            Ok(plan)
        },
        check: &|survey| match no_check {
            true => Ok(Vec::new()),
            false => findings(context, survey, name, Preflight::Forward),
        },
    };
    let switched = switch::switch(context, manner, &deed)?;
    if release.get() && switched.report.done {
        share::release(context);
    }
    if switched.has_carried() && share::confirms(&switched.report.plan) {
        bases::release(context);
    }
    Ok(switched)
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
    if !plan.steps.is_empty() {
        plan.notes
            .extend(findings(context, survey, name, direction)?);
    }
    Ok(plan)
}

/// What a look at the environment showed, or the refusal it leads to.
pub(super) fn findings(
    context: &Context,
    survey: &Survey,
    name: &BeName,
    direction: Preflight,
) -> Result<Vec<String>, Refusal> {
    let mut notes = Vec::new();
    let Some(environment) = survey.environment(name) else {
        return Ok(notes);
    };
    if check::grub_not_taken_over(&context.host) {
        let why = "GRUB started this machine by an entry that names its root, and does so again \
                   whatever is activated";
        match direction {
            Preflight::Forward => {
                return Err(
                    Refusal::new(format!("activate {name}"), why).remedy(format!(
                        "beadm-rs init has it boot by a menu of beadm-rs; \
                     'beadm-rs activate {name} --no-check' sets bootfs all the same"
                    )),
                );
            }
            Preflight::Back => notes.push(format!(
                "{why}; beadm-rs init has it boot by a menu of beadm-rs"
            )),
        }
    }
    if !context.is_root() {
        let note = format!("whether {name} can boot was not looked at: only root can");
        notes.push(note);
        return Ok(notes);
    }
    let facts = check::facts(&context.host, survey);
    let found = check::environment(&context.host, survey, &environment, &facts);
    notes.extend(activate::preflight(name.as_str(), &found, direction)?);
    Ok(notes)
}

/// On a rescue system files come from what ran last, where that is known.
fn with_newest(host: &Host, survey: Survey) -> Result<Survey, Trouble> {
    let newest = survey.files().ok().flatten().map(|files| files.newest);
    let newest = newest.and_then(|guid| survey.environment_with(guid));
    let roots: Vec<_> = newest
        .filter(|_| survey.running().is_none())
        .map(|newest| newest.root.name.clone())
        .into_iter()
        .collect();
    if roots.is_empty() {
        return Ok(survey);
    }
    Ok(survey.closer(host, &roots)?)
}

/// What has to be looked at to fail back.
pub(super) fn look_back(host: &Host) -> Result<Survey, Trouble> {
    // Where it leads is known from the roots alone.
    let around = Around {
        shared: true,
        ..Around::default()
    };
    let survey = Survey::around(host, &around)?;
    let target = activate::failback_target(&survey)?;
    // It most likely hangs on the one it takes over from.
    let mut roots = vec![target.root.name.clone()];
    roots.extend(survey.boot.next.clone());
    // Files come from what runs.
    roots.extend(survey.running.clone());
    with_newest(host, survey.closer(host, &roots)?)
}

pub(super) fn run_failback(context: &Context, args: &FailbackArgs) -> anyhow::Result<()> {
    ask::is_possible(args.conflicts)?;
    let back = match &args.restore_share {
        Some(path) => Some(share::Back::look(context, path.as_deref(), args.force)?),
        None => None,
    };
    let target = |survey: &Survey| -> Option<BeName> {
        let target = activate::failback_target(survey).ok()?;
        target.name().parse().ok()
    };
    let deed = Deed {
        look: &look_back,
        target: &target,
        first: &|survey| target(survey).is_some_and(|name| share::follow_held(context, &name)),
        plan: &|survey| activate::plan_failback(survey, context.host.loader.as_ref()),
        check: &|survey| match target(survey) {
            Some(name) if !args.no_check => findings(context, survey, &name, Preflight::Back),
            _ => Ok(Vec::new()),
        },
    };
    let manner = match (args.no_sync, args.conflicts) {
        (true, _) => Manner::Without,
        (false, None) => Manner::Beside,
        (false, conflicts) => Manner::Stopping(conflicts),
    };
    let mut switched = switch::switch(context, manner, &deed);
    if let (Some(back), Ok(switched)) = (back, &mut switched) {
        back.restore(context, &mut switched.report)?;
    }
    switch::conclude(context, "failback", switched)?;
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
