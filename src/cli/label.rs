//! `describe`, `pin` and `unpin`.

use clap_complete::ArgValueCompleter;

use super::completions::environments;
use super::context::Context;
use crate::be::BeName;
use crate::plan::label;
use crate::survey::Around;

/// Note something about a boot environment
#[derive(Debug, clap::Args)]
pub struct DescribeArgs {
    /// The boot environment
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(environments))]
    pub(super) name: BeName,

    /// One line; an empty one takes the note away
    #[arg(value_name = "TEXT")]
    text: String,
}

/// Keep a boot environment from being destroyed, or let it be again
#[derive(Debug, clap::Args)]
pub struct PinArgs {
    /// The boot environment
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(environments))]
    pub(super) name: BeName,
}

pub(super) fn describe(context: &Context, args: &DescribeArgs) -> anyhow::Result<()> {
    context.change_and_report("describe", &Around::default(), |survey| {
        label::describe(survey, &args.name, &args.text)
    })
}

pub(super) fn pin(context: &Context, args: &PinArgs, pinned: bool) -> anyhow::Result<()> {
    let what = if pinned { "pin" } else { "unpin" };
    context.change_and_report(what, &Around::default(), |survey| {
        label::pin(survey, &args.name, pinned)
    })
}
