//! `destroy`.

use clap_complete::ArgValueCompleter;

use super::BeSnapshot;
use super::activate::grub_is_elsewhere;
use super::completions::environments;
use super::context::{Context, Report};
use super::error::Trouble;
use crate::be::BeName;
use crate::plan::{Plan, Refusal, destroy, snapshot};
use crate::survey::{Around, Scope, Survey};

/// An environment, or a snapshot of one.
#[derive(Debug, Clone)]
enum Target {
    Environment(BeName),
    Snapshot(BeSnapshot),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment(name) => name.fmt(f),
            Self::Snapshot(snapshot) => snapshot.fmt(f),
        }
    }
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

/// Destroy boot environments, or snapshots of them
///
/// What was cloned from it is promoted first, at every level. The snapshots it
/// was cloned from go with it where beadm-rs made them and nothing else needs
/// them. Refused for the running, the next-boot and the last good one, for
/// pinned and held ones, where a volume or something foreign in it would go, and
/// where GRUB starts the machine from its files in it.
/// There is no way back. Several are destroyed one after another.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Unmount it first where it is mounted
    #[arg(short = 'F', long)]
    force: bool,

    /// Leave the snapshots it was cloned from
    #[arg(long)]
    keep_origin: bool,

    /// The boot environments or snapshots
    #[arg(value_name = "NAME|BE@SNAP", required = true, add = ArgValueCompleter::new(environments))]
    targets: Vec<Target>,
}

impl Args {
    pub(super) fn names(&self) -> String {
        self.targets
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let mut done: Vec<String> = Vec::new();
    for target in &args.targets {
        let report = destroyed(context, args, target).map_err(|trouble| match done.as_slice() {
            [] => trouble,
            done => trouble.after(&format!("{} destroyed", done.join(", "))),
        })?;
        context.report("destroy", &report)?;
        if report.done {
            done.push(target.to_string());
        }
    }
    Ok(())
}

fn destroyed(context: &Context, args: &Args, target: &Target) -> Result<Report, Trouble> {
    match target {
        Target::Environment(name) => {
            let request = destroy::Request {
                name: name.clone(),
                force: args.force,
                origins: match args.keep_origin {
                    true => destroy::Origins::Keep,
                    false => destroy::Origins::Own,
                },
            };
            environment(context, &request, |_, _| Ok(()))
        }
        Target::Snapshot(target) => snapshot(context, target),
    }
}

/// Destroys an environment; `may` can refuse what the plan comes to.
pub(super) fn environment(
    context: &Context,
    request: &destroy::Request,
    may: impl Fn(&Survey, &Plan) -> Result<(), Refusal>,
) -> Result<Report, Trouble> {
    let name = &request.name;
    context.change(
        |host| {
            let survey = Survey::around(host, &Around::one(name))?;
            Ok(match destroy::has_lone_halves(&survey, name) {
                true => Survey::take(host, Scope::Change)?,
                false => survey,
            })
        },
        |survey| {
            let host = &context.host;
            let plan = destroy::plan(survey, host.loader.as_ref(), request)?;
            grub_is_elsewhere(host, survey, name, &format!("destroy {name}"))?;
            may(survey, &plan)?;
            Ok(plan)
        },
        |_| Some(format!("destroy {name} for good")),
    )
}

/// Destroys a snapshot of an environment.
pub(super) fn snapshot(context: &Context, target: &BeSnapshot) -> Result<Report, Trouble> {
    context.change(
        |host| Ok(Survey::around(host, &Around::one(&target.environment))?),
        |survey| snapshot::plan_destroy(survey, &target.environment, &target.snapshot),
        |_| Some(format!("destroy {target} for good")),
    )
}
