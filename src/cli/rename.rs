//! `rename`.

use clap_complete::ArgValueCompleter;

use super::activate::grub_is_elsewhere;
use super::completions::environments;
use super::context::{Context, Report};
use super::error::Trouble;
use crate::be::{BeName, NewBeName};
use crate::check;
use crate::host::Host;
use crate::plan::rename;
use crate::survey::{Around, Survey};

/// Rename a boot environment, also the running one
///
/// The pool's bootfs follows, and so do the dataset names in its fstab and
/// zfs-list.cache. The running one is refused where the kernel was started
/// with its name, since a loader that knows that name alone would not find it, and
/// one that GRUB's own files lie in.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also where the kernel was started with its name: the loader reads the names anew at each
    /// boot, as ZFSBootMenu does
    #[arg(short = 'F', long)]
    force: bool,

    /// The boot environment
    #[arg(value_name = "OLD", add = ArgValueCompleter::new(environments))]
    pub(super) old: BeName,

    /// Its new name
    #[arg(value_name = "NEW")]
    new: NewBeName,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let report = renamed(context, &args.old, &args.new, args.force)?;
    context.report("rename", &report)
}

/// Renames an environment; with `force` also where the kernel was started with its name.
pub(super) fn renamed(
    context: &Context,
    old: &BeName,
    new: &NewBeName,
    force: bool,
) -> Result<Report, Trouble> {
    let look = |host: &Host| Ok(Survey::around(host, &Around::one(old))?);
    let plan = |survey: &Survey| {
        let facts = check::facts(&context.host, survey);
        let plan = rename::plan(survey, context.host.loader.as_ref(), old, new)?;
        grub_is_elsewhere(&context.host, survey, old, &format!("rename {old}"))?;
        if !force {
            rename::followed_by_loader(survey, old, facts.root().as_ref())?;
        }
        Ok(plan)
    };
    context.change(look, plan, |_| None)
}
