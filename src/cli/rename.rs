//! `rename`.

use clap_complete::ArgValueCompleter;

use super::activate::grub_is_elsewhere;
use super::completions::environments;
use super::context::Context;
use crate::be::{BeName, NewBeName};
use crate::check;
use crate::plan::rename;
use crate::survey::Around;

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
    context.change_and_report("rename", &Around::one(&args.old), |survey| {
        let facts = check::facts(&context.host, survey);
        let plan = rename::plan(survey, context.host.loader.as_ref(), &args.old, &args.new)?;
        let attempted = format!("rename {}", args.old);
        grub_is_elsewhere(&context.host, survey, &args.old, &attempted)?;
        if !args.force {
            rename::followed_by_loader(survey, &args.old, facts.root().as_ref())?;
        }
        Ok(plan)
    })
}
