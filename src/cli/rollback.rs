//! `rollback`.

use clap_complete::ArgValueCompleter;

use super::BeSnapshot;
use super::completions::environments;
use super::context::{Context, Report};
use super::error::Trouble;
use crate::plan::rollback;
use crate::survey::{Around, Survey};

/// Put a boot environment back to a snapshot of itself
///
/// All of its datasets in one transaction group per pool. What was changed
/// since, and every younger snapshot, is gone. Refused for the running one;
/// `create -e BE@SNAP` makes a new one of the snapshot instead.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The boot environment and its snapshot
    #[arg(value_name = "BE@SNAP", add = ArgValueCompleter::new(environments))]
    pub(super) target: BeSnapshot,
}

pub(super) fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let request = rollback::Request {
        name: args.target.environment.clone(),
        snapshot: args.target.snapshot.clone(),
    };
    let report = rolled_back(context, &request)?;
    context.report("rollback", &report)
}

/// Puts an environment back.
pub(super) fn rolled_back(
    context: &Context,
    request: &rollback::Request,
) -> Result<Report, Trouble> {
    context.change(
        |host| Ok(Survey::around(host, &Around::one(&request.name))?),
        |survey| rollback::plan(survey, request),
        |plan| {
            let younger = match plan.notes.as_slice() {
                [] => String::new(),
                notes => format!(", and destroy {} younger snapshots", notes.len()),
            };
            Some(format!(
                "put {} back to @{}{younger}",
                request.name, request.snapshot
            ))
        },
    )
}
