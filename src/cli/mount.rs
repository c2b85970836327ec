//! `mount` and `unmount`.

use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::completions::environments;
use super::context::Context;
use super::error::{BUSY, FAILED, Trouble};
use super::{output, share};
use crate::be::{BeName, BootEnvironment};
use crate::execute::mount;
use crate::os::{Lock, Mount};
use crate::own;
use crate::plan::Why;
use crate::survey::{Scope, Survey};
use crate::zfs::DatasetName;

/// Mount a boot environment with all of its datasets, and print where
///
/// Its root goes on DIR, or on a new directory under /run/beadm-rs/mnt; its
/// datasets at their own places below. All or nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whatever the datasets' own properties say, nothing in it can be changed
    #[arg(long)]
    read_only: bool,

    /// What belongs to the running boot environment and is not mounted: its child datasets, and
    /// /boot in a pool of its own; never another one's. For the boot, and harmless at any time:
    /// what fstab mounts is left to it, and nothing mounted or lying in a directory is hidden
    #[arg(long, conflicts_with_all = ["read_only", "name", "directory"])]
    running: bool,

    /// The boot environment
    #[arg(value_name = "NAME", required_unless_present = "running", add = ArgValueCompleter::new(environments))]
    name: Option<BeName>,

    /// An empty directory, or one to make
    #[arg(value_name = "DIR")]
    directory: Option<Utf8PathBuf>,
}

impl Args {
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or("what is running", BeName::as_str)
    }
}

/// Unmount a boot environment
#[derive(Debug, clap::Args)]
pub struct UnmountArgs {
    /// Also when files in it are open
    #[arg(short = 'f', long)]
    force: bool,

    /// The boot environment
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(environments))]
    pub(super) name: BeName,
}

pub(super) fn find<'a>(survey: &'a Survey, name: &BeName) -> Result<BootEnvironment<'a>, Trouble> {
    survey.environment(name).ok_or_else(|| {
        Trouble::refused(format!(
            "there is no boot environment '{name}' under {}",
            survey.beroot
        ))
        .why(Why::NoEnvironment)
        .remedy(format!("there are: {}", survey.names()))
    })
}

/// Refuses an environment that cannot be mounted without a key.
pub(super) fn keys_are_loaded(environment: &BootEnvironment<'_>) -> Result<(), Trouble> {
    let locked = environment
        .datasets()
        .into_iter()
        .find(|dataset| !dataset.key_loaded);
    let Some(dataset) = locked else {
        return Ok(());
    };
    let root = dataset.encryption_root.as_ref().unwrap_or(&dataset.name);
    Err(Trouble::refused(format!(
        "{} is encrypted and its key is not loaded",
        dataset.name
    ))
    .remedy(format!("zfs load-key {root}")))
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let Some(name) = &args.name else {
        let _lock = held(context)?;
        return running(context, &context.look(Scope::Names)?);
    };
    let directory = args.directory.as_deref();
    if context.dry_run {
        return plan(context, name, directory, args.read_only);
    }
    let directory = mounted(context, name, directory, args.read_only)?;
    let mut out = std::io::stdout().lock();
    if context.json {
        let content = json!({"name": name, "directory": directory});
        output::json(&mut out, "mount", content)?;
    } else {
        writeln!(out, "{directory}")?;
    }
    Ok(())
}

/// The lock, but for a dry run.
fn held(context: &Context) -> Result<Option<Lock>, Trouble> {
    match context.dry_run {
        true => Ok(None),
        false => context.lock().map(Some),
    }
}

/// Refuses what cannot be mounted now.
fn mountable<'a>(survey: &'a Survey, name: &BeName) -> Result<BootEnvironment<'a>, Trouble> {
    let environment = find(survey, name)?;
    if let Some(directory) = environment.mounted_at() {
        let trouble = Trouble::refused(format!("{name} is mounted on {directory} already"));
        return Err(trouble.why(Why::Mounted));
    }
    keys_are_loaded(&environment)?;
    Ok(environment)
}

/// Gives an environment that can be changed the layout of what is shared. It ends nothing
/// that did not end.
fn follow(context: &Context, survey: &Survey, name: &BeName, readonly: bool) {
    if !readonly && survey.intent().is_none() {
        share::follow_held(context, name);
    }
}

/// What mounting it would do.
fn plan(
    context: &Context,
    name: &BeName,
    directory: Option<&Utf8Path>,
    readonly: bool,
) -> anyhow::Result<()> {
    let survey = context.look(Scope::Names)?;
    let environment = mountable(&survey, name)?;
    follow(context, &survey, name, readonly);
    let shown = directory.unwrap_or(Utf8Path::new("DIR")).to_owned();
    let mounts = std::iter::once((environment.root.name.clone(), shown.clone())).chain(
        mount::places(&survey, &environment)
            .into_iter()
            .map(|(dataset, below)| (dataset, shown.join(below))),
    );
    print_mounts(context, "mount", mounts)
}

/// Mounts an environment, on a new directory where none is given; says where.
///
/// # Errors
/// Why it is not mounted; nothing of it is then.
pub(super) fn mounted(
    context: &Context,
    name: &BeName,
    directory: Option<&Utf8Path>,
    readonly: bool,
) -> Result<Utf8PathBuf, Trouble> {
    let _lock = context.lock()?;
    let survey = context.look(Scope::Names)?;
    let environment = mountable(&survey, name)?;
    let on = match directory {
        Some(directory) => given(directory)?,
        None => context.host.platform.new_mount_directory(name.as_str())?,
    };
    follow(context, &survey, name, readonly);
    let mounted = mount::mount(&context.host, &survey, &environment, &on, readonly);
    if let Err(cause) = mounted {
        if directory.is_none() {
            // Nothing is mounted on it; only an empty directory goes.
            let _ = std::fs::remove_dir(&on);
        }
        return Err(cause.into());
    }
    Ok(on)
}

/// The same with what all environments have in common shown in it.
///
/// # Errors
/// Why it is not mounted; nothing of it is then.
pub(super) fn mounted_with_shared(
    context: &Context,
    name: &BeName,
    directory: Option<&Utf8Path>,
    readonly: bool,
) -> Result<Utf8PathBuf, Trouble> {
    let on = mounted(context, name, directory, false)?;
    let survey = Survey::take(&context.host, Scope::Names)?;
    let shown = mount::show_shared(&context.host, &survey, &on, readonly);
    if let Err(cause) = shown {
        unmounted(context, name, true)?;
        return Err(Trouble::from(cause).state("nothing of it is mounted"));
    }
    Ok(on)
}

/// Mounts what belongs to the running environment and is not mounted. What
/// cannot be is told; a mount that fails is an error after the others were tried.
fn running(context: &Context, survey: &Survey) -> anyhow::Result<()> {
    let Some(environment) = survey.running() else {
        return Err(Trouble::refused(format!(
            "no environment below {} is the running one",
            survey.beroot
        ))
        .into());
    };
    if context.host.simulated && !context.dry_run {
        return Err(Trouble::refused(
            "this is a simulated machine, and its directories are not this one's",
        )
        .remedy("beadm-rs mount --running -n")
        .into());
    }
    let decided = own::of_running(&context.host, survey, &environment).map_err(Trouble::from)?;
    for (own, why) in &decided.left {
        context.warn(&format!(
            "{} is not mounted on {}: {why}",
            own.dataset, own.directory
        ));
    }
    let mut failed = Vec::new();
    let mut mounted = Vec::new();
    for own in decided.mounts {
        if !context.dry_run
            && let Err(error) = own::mount(&context.host, &own)
        {
            failed.push(error.to_string());
            continue;
        }
        mounted.push(own);
    }
    let mut out = std::io::stdout().lock();
    if context.json {
        let left: Vec<_> = decided
            .left
            .iter()
            .map(|(own, why)| {
                json!({
                    "dataset": own.dataset,
                    "directory": own.directory,
                    "why": why.to_string(),
                })
            })
            .collect();
        let content = json!({"done": !context.dry_run, "mounts": mounted, "left": left});
        output::json(&mut out, "mount", content)?;
    } else {
        for own in &mounted {
            let word = if context.dry_run { "mount" } else { "mounted" };
            writeln!(out, "{word} {} on {}", own.dataset, own.directory)?;
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(Trouble::new(FAILED, failed.join("; "))
            .state(&format!("{} of the others are mounted", mounted.len()))
            .remedy("beadm-rs mount --running, once that is set right")
            .into()),
    }
}

/// What a dry run would mount or unmount, in that order.
fn print_mounts(
    context: &Context,
    what: &str,
    mounts: impl Iterator<Item = (DatasetName, Utf8PathBuf)>,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if context.json {
        let mounts: Vec<_> = mounts
            .map(|(dataset, directory)| json!({"dataset": dataset, "directory": directory}))
            .collect();
        output::json(&mut out, what, json!({"done": false, "mounts": mounts}))?;
    } else {
        for (dataset, directory) in mounts {
            writeln!(out, "{what} {dataset} on {directory}")?;
        }
    }
    Ok(())
}

/// A directory the user named: absolute, made where it is not there, empty.
fn given(directory: &Utf8Path) -> Result<Utf8PathBuf, Trouble> {
    let told = |error: std::io::Error| {
        Trouble::new(FAILED, format!("{directory}: {error}")).why(Why::Directory)
    };
    if !directory.exists() {
        std::fs::create_dir(directory).map_err(told)?;
    }
    let directory = directory.canonicalize_utf8().map_err(told)?;
    let mut entries = directory.read_dir_utf8().map_err(told)?;
    if entries.next().is_some() {
        return Err(Trouble::refused(format!(
            "{directory} is not empty, and what is in it would be hidden"
        ))
        .why(Why::Busy));
    }
    Ok(directory)
}

pub(super) fn run_unmount(context: &Context, args: &UnmountArgs) -> anyhow::Result<()> {
    let _lock = held(context)?;
    let survey = context.look(Scope::Names)?;
    let environment = unmountable(&survey, &args.name)?;
    if context.dry_run {
        let mounts = mounts(&survey, &environment).into_iter().rev();
        let mounts = mounts.map(|mount| (mount.dataset.clone(), mount.directory.clone()));
        return print_mounts(context, "unmount", mounts);
    }
    unmount(context, &survey, &environment, args.force)?;
    if context.json {
        let mut out = std::io::stdout().lock();
        output::json(&mut out, "unmount", json!({"name": args.name}))?;
    }
    Ok(())
}

/// Unmounts an environment.
///
/// # Errors
/// Why not.
pub(super) fn unmounted(context: &Context, name: &BeName, force: bool) -> Result<(), Trouble> {
    let _lock = context.lock()?;
    let survey = context.look(Scope::Names)?;
    let environment = unmountable(&survey, name)?;
    mount::hide_shared(&context.host, &survey, &environment, force)?;
    unmount(context, &survey, &environment, force)
}

/// The mounts of an environment here, in the order they were made.
fn mounts<'a>(survey: &'a Survey, environment: &BootEnvironment<'_>) -> Vec<&'a Mount> {
    let is_its = |mount: &&Mount| {
        environment
            .everything()
            .any(|dataset| dataset.name == mount.dataset)
    };
    survey.own_mounts().filter(is_its).collect()
}

fn unmountable<'a>(survey: &'a Survey, name: &BeName) -> Result<BootEnvironment<'a>, Trouble> {
    let environment = find(survey, name)?;
    if environment.is_running() {
        let trouble = Trouble::refused(format!("{name} is the running environment"));
        return Err(trouble.why(Why::Protected));
    }
    if mounts(survey, &environment).is_empty() {
        return Err(Trouble::refused(format!("{name} is not mounted")).why(Why::NotMounted));
    }
    Ok(environment)
}

fn unmount(
    context: &Context,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    force: bool,
) -> Result<(), Trouble> {
    let done = mount::unmount(&context.host, survey, environment, force);
    done.map(drop).map_err(|cause| {
        let trouble = Trouble::from(cause);
        if trouble.exit == BUSY {
            trouble.remedy("end what uses it, or unmount -f")
        } else {
            trouble
        }
    })
}
