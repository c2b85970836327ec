//! `snapshot`.

use clap_complete::ArgValueCompleter;

use super::BeSnapshot;
use super::completions::environments;
use super::context::{Context, Report};
use super::error::Trouble;
use crate::be::BeName;
use crate::host::Host;
use crate::plan::snapshot;
use crate::survey::{Around, Survey};

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
        None => of(None),
        Some(Target::Environment(name)) => of(Some(name)),
        Some(Target::Snapshot(target)) => target.into(),
    };
    let report = taken(context, &request)?;
    context.report("snapshot", &report)
}

/// Of all of an environment, by a name that is made up.
fn of(environment: Option<BeName>) -> snapshot::Request {
    snapshot::Request {
        environment,
        snapshot: None,
        shallow: false,
    }
}

impl From<BeSnapshot> for snapshot::Request {
    fn from(target: BeSnapshot) -> Self {
        Self {
            snapshot: Some(target.snapshot),
            ..of(Some(target.environment))
        }
    }
}

/// Takes a snapshot.
pub(super) fn taken(context: &Context, request: &snapshot::Request) -> Result<Report, Trouble> {
    let around = Around::one_or_running(request.environment.as_ref());
    let look = |host: &Host| Ok(Survey::around(host, &around)?);
    context.change(look, |survey| snapshot::plan(survey, request), |_| None)
}
