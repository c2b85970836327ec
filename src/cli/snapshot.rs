//! `snapshot`.

use clap_complete::ArgValueCompleter;

use super::BeSnapshot;
use super::completions::environments;
use super::context::Context;
use crate::be::BeName;
use crate::plan::snapshot;
use crate::survey::Around;

/// An environment, with or without a snapshot's name.
#[derive(Debug, Clone)]
enum Target {
    Environment(BeName),
    Snapshot(BeSnapshot),
}

impl std::str::FromStr for Target {
    type Err = crate::zfs::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            text.parse().map(Self::Snapshot)
        } else {
            text.parse().map(Self::Environment)
        }
    }
}

/// Take a snapshot of a whole boot environment
///
/// All of its datasets in one transaction group per pool. Without a name after
/// the @ one is made of the time and a number.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The boot environment; the running one where none is named
    #[arg(value_name = "NAME[@SNAP]", add = ArgValueCompleter::new(environments))]
    target: Option<Target>,
}

pub(super) fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let request = match args.target {
        None => snapshot::Request {
            environment: None,
            snapshot: None,
        },
        Some(Target::Environment(name)) => snapshot::Request {
            environment: Some(name),
            snapshot: None,
        },
        Some(Target::Snapshot(target)) => snapshot::Request {
            environment: Some(target.environment),
            snapshot: Some(target.snapshot),
        },
    };
    let around = Around::one_or_running(request.environment.as_ref());
    context.change_and_report("snapshot", &around, |survey| {
        snapshot::plan(survey, &request)
    })
}
