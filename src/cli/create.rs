//! `create`.

use clap_complete::ArgValueCompleter;

use super::BeSnapshot;
use super::activate::switched;
use super::completions::environments;
use super::context::{Context, Report};
use super::error::Trouble;
use super::share;
use super::snapshot::taken;
use super::switch::{self, Manner, Stopped, Switched};
use super::sync::ask::{self, Conflicts};
use crate::be::{BeName, NewBeName};
use crate::host::Host;
use crate::plan::activate;
use crate::plan::create;
use crate::survey::{Around, Survey};
use crate::zfs::{PoolName, Setting};

/// A new environment's name, or a snapshot of an existing one.
#[derive(Debug, Clone)]
enum Target {
    New(NewBeName),
    Snapshot(BeSnapshot),
}

impl std::str::FromStr for Target {
    type Err = crate::zfs::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            text.parse().map(Self::Snapshot)
        } else {
            text.parse().map(Self::New)
        }
    }
}

/// An environment, or a snapshot of one.
#[derive(Debug, Clone)]
enum Source {
    Environment(BeName),
    Snapshot(BeSnapshot),
}

impl std::str::FromStr for Source {
    type Err = crate::zfs::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            text.parse().map(Self::Snapshot)
        } else {
            text.parse().map(Self::Environment)
        }
    }
}

fn setting(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a property is written NAME=VALUE".to_owned()),
    }
}

/// Make a boot environment: a clone of one, a copy in another pool, or an empty one
///
/// Clones the running boot environment, or the one or the snapshot named with
/// -e: all of its datasets, from snapshots taken in one transaction group per
/// pool, /boot in a pool of its own included. All or nothing, also when the
/// machine loses power halfway. Volumes, container layers and datasets marked
/// org.beadm-rs:exclude=on are not cloned, and named. With BE@SNAP, takes a
/// snapshot only.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Activate it too
    #[arg(short, long, conflicts_with_all = ["empty", "pool"])]
    activate: bool,

    /// With -a: whose version is taken of files that both changed meanwhile, or that each
    /// is asked about
    #[arg(long, value_name = "WHOSE", requires = "activate")]
    conflicts: Option<Conflicts>,

    /// Note this about it
    #[arg(short, long, value_name = "TEXT", value_parser = description)]
    description: Option<String>,

    /// What to clone, instead of the running boot environment
    #[arg(short = 'e', long = "from", value_name = "BE|BE@SNAP", add = ArgValueCompleter::new(environments))]
    from: Option<Source>,

    /// A property for its root dataset; can be given several times
    #[arg(short = 'o', long = "property", value_name = "PROP=VALUE", value_parser = setting)]
    settings: Vec<Setting>,

    /// Copy it to this pool, by send and receive
    #[arg(short = 'p', long, value_name = "POOL")]
    pool: Option<PoolName>,

    /// Only the root dataset, not those below it
    #[arg(long)]
    shallow: bool,

    /// An empty boot environment, to install a system into
    #[arg(long, conflicts_with_all = ["from", "pool", "shallow"])]
    empty: bool,

    /// The new name, or BE@SNAP for a snapshot only
    #[arg(value_name = "NAME|BE@SNAP")]
    name: Target,
}

fn description(text: &str) -> Result<String, String> {
    crate::plan::label::check_description(text).map(|()| text.to_owned())
}

impl Args {
    pub(super) fn name(&self) -> String {
        match &self.name {
            Target::New(name) => name.name().to_string(),
            Target::Snapshot(snapshot) => snapshot.to_string(),
        }
    }
}

pub(super) fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    ask::is_possible(args.conflicts)?;
    let name = match args.name {
        Target::Snapshot(target) => {
            let report = taken(context, &target.into())?;
            return context.report("create", &report);
        }
        Target::New(name) => name,
    };
    let from = match args.from {
        None => create::From {
            environment: None,
            snapshot: None,
        },
        Some(Source::Environment(name)) => create::From {
            environment: Some(name),
            snapshot: None,
        },
        Some(Source::Snapshot(of)) => create::From {
            environment: Some(of.environment),
            snapshot: Some(of.snapshot),
        },
    };
    let request = create::Request {
        name,
        from,
        description: args.description,
        settings: args.settings,
        pool: args.pool,
        shallow: args.shallow,
    };
    if args.empty {
        return context.report("create", &emptied(context, &request)?);
    }
    let report = made(context, &request)?;
    context.report("create", &report)?;
    follow(context, &request, &report);
    if args.activate {
        activate_it(context, &request, args.conflicts, &report)?;
    }
    Ok(())
}

/// Makes an empty environment.
pub(super) fn emptied(context: &Context, request: &create::Request) -> Result<Report, Trouble> {
    let look = |host: &Host| Ok(Survey::around(host, &Around::default())?);
    context.change(look, |survey| create::plan_empty(survey, request), |_| None)
}

/// Makes an environment; [`follow`] comes after it.
pub(super) fn made(context: &Context, request: &create::Request) -> Result<Report, Trouble> {
    let around = Around {
        properties: true,
        ..Around::one_or_running(request.from.environment.as_ref())
    };
    context.change(
        |host| {
            Ok(Survey::around(
                host,
                &elsewhere(context, request, &around)?,
            )?)
        },
        |survey| create::plan(survey, request),
        |_| None,
    )
}

/// Gives it the layout of what is shared. A clone of what runs has that.
pub(super) fn follow(context: &Context, request: &create::Request, report: &Report) {
    if report.done && request.from.environment.is_some() {
        share::follow(context, request.name.name());
    }
}

/// With another pool, what is there has to be looked at too.
fn elsewhere(
    context: &Context,
    request: &create::Request,
    around: &Around,
) -> Result<Around, Trouble> {
    let mut around = around.clone();
    if let Some(pool) = &request.pool {
        let beroot = Survey::beroot(&context.host)?;
        around.elsewhere = create::beroot_in(&beroot, pool).ok();
    }
    Ok(around)
}

fn activate_it(
    context: &Context,
    request: &create::Request,
    conflicts: Option<Conflicts>,
    created: &Report,
) -> anyhow::Result<()> {
    if !created.done {
        // There is nothing yet to plan an activation of.
        context.warn(&format!(
            "and then: activate {}; its plan depends on what was made",
            request.name.name()
        ));
        return Ok(());
    }
    let name = request.name.name();
    let switched = activated(context, name, false, conflicts).map_err(|stopped| match stopped {
        Stopped::Trouble(trouble) => {
            Stopped::Trouble(trouble.after(&format!("{name} was created")))
        }
        conflict @ Stopped::Conflict(..) => conflict,
    });
    switch::conclude(context, "activate", switched)
}

/// Activates an environment that this command has made.
pub(super) fn activated(
    context: &Context,
    name: &BeName,
    no_check: bool,
    conflicts: Option<Conflicts>,
) -> Result<Switched, Stopped> {
    let request = activate::Request {
        name: name.clone(),
        once: false,
        no_trial: false,
    };
    switched(context, &request, no_check, Manner::Stopping(conflicts))
}
