//! `diff`.

mod print;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::str::FromStr;

use clap_complete::ArgValueCompleter;

use super::BeSnapshot;
use super::completions::environments;
use super::context::Context;
use super::error::{FAILED, Trouble};
use super::progress::Counter;
use super::{mount, output};
use crate::be::{BeName, BootEnvironment};
use crate::diff::inventory::{self, Packages};
use crate::diff::side::Side;
use crate::diff::walk::Selection;
use crate::diff::{self, Files, Method, lineage};
use crate::survey::{Scope, Survey};
use crate::zfs::NameError;

/// Say what differs between two boot environments, in files and in packages
///
/// Without options: how many files differ in each top directory, and every
/// package that was upgraded, downgraded, added or removed. All datasets of an
/// environment are compared, as one tree; what is mounted into it from elsewhere
/// is not. Nothing is written, mounted visibly or run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List every file that differs, and no packages (but for --packages)
    #[arg(short = 'f', long)]
    files: bool,

    /// List the packages alone, without looking at files (but for --files)
    #[arg(short = 'p', long)]
    packages: bool,

    /// Only files in this directory, or this file; can be repeated
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<OsString>,

    /// No files in this directory; can be repeated
    #[arg(short = 'x', long, value_name = "PATH")]
    exclude: Vec<OsString>,

    /// How files are found that may differ
    #[arg(long, value_enum, default_value_t)]
    method: Method,

    /// A boot environment, or a snapshot of one: NAME@SNAPSHOT
    #[arg(value_name = "FROM", add = ArgValueCompleter::new(environments))]
    pub(super) from: Target,

    /// What it is compared with; by default the running environment
    #[arg(value_name = "TO", add = ArgValueCompleter::new(environments))]
    to: Option<Target>,
}

/// `NAME` or `NAME@SNAPSHOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    environment: BeName,
    snapshot: Option<String>,
}

impl FromStr for Target {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains('@') {
            let BeSnapshot {
                environment,
                snapshot,
            } = text.parse()?;
            return Ok(Self {
                environment,
                snapshot: Some(snapshot),
            });
        }
        Ok(Self {
            environment: text.parse()?,
            snapshot: None,
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.snapshot {
            None => self.environment.fmt(f),
            Some(snapshot) => write!(f, "{}@{snapshot}", self.environment),
        }
    }
}

/// What was found.
struct Found {
    from: Side,
    to: Side,
    /// `None` where they were not asked for.
    files: Option<Files>,
    /// Likewise.
    packages: Option<Packages>,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    if !context.is_root() {
        return Err(
            Trouble::refused("only root can look into environments that are not mounted")
                .remedy("run it as root; 'beadm-rs demo' works without")
                .into(),
        );
    }
    let survey = context.look(Scope::Change)?;
    let found = find(context, &survey, args)?;
    print(context, &found, args.files)
}

/// The files of two sides, all that differ.
pub(super) fn of_sides(
    context: &Context,
    survey: &Survey,
    from: Side,
    to: Side,
) -> anyhow::Result<()> {
    let opened = diff::open(&context.host, &from, &to).map_err(Trouble::from)?;
    let pairs = lineage::pairs(survey, &from, &to);
    let files = files(
        context,
        &opened,
        &pairs,
        Method::Lineage,
        &Selection::default(),
    )?;
    drop(opened);
    let found = Found {
        from,
        to,
        files: Some(files),
        packages: None,
    };
    print(context, &found, true)
}

/// What differs in files, with a counter on a terminal.
fn files(
    context: &Context,
    opened: &diff::Opened<'_>,
    pairs: &[lineage::Pair],
    method: Method,
    selection: &Selection,
) -> Result<Files, Trouble> {
    let counter = Counter::for_terminal(context.interruption.asked());
    let files = opened.files(&context.host, pairs, method, selection, &counter);
    counter.finish();
    files.map_err(|error| Trouble::new(FAILED, format!("cannot compare: {error}")))
}

fn print(context: &Context, found: &Found, every: bool) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if context.json {
        output::json(&mut out, "diff", found.json())?;
    } else if context.script {
        found.print_tabs(&mut out, every)?;
    } else {
        found.print(&mut out, every)?;
    }
    out.flush()?;
    for note in found.from.notes.iter().chain(&found.to.notes) {
        context.warn(note);
    }
    let problems = found.problems();
    for problem in &problems {
        context.warn(problem);
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Trouble::new(
            FAILED,
            format!(
                "{} of what was to be compared could not be read",
                problems.len()
            ),
        )
        .into())
    }
}

fn find(context: &Context, survey: &Survey, args: &Args) -> anyhow::Result<Found> {
    let from = side(context, survey, &args.from)?;
    let to = match &args.to {
        Some(target) => side(context, survey, target)?,
        None => {
            let running = survey.running().ok_or_else(|| {
                Trouble::refused("the machine does not run from one of its boot environments")
                    .remedy(format!("name a second one; there are: {}", survey.names()))
            })?;
            side_of(context, survey, &running, None)?
        }
    };
    if from.parts == to.parts {
        return Err(
            Trouble::refused(format!("{} is compared with itself", from.name))
                .remedy("name two different ones")
                .into(),
        );
    }
    let opened = diff::open(&context.host, &from, &to).map_err(Trouble::from)?;
    let wanted = |this: bool, other: bool| this || !other;
    let files = if wanted(args.files, args.packages) {
        // A dry run writes nothing, not even what zfs diff needs for a moment.
        let method = match args.method {
            Method::ZfsDiff if context.dry_run => Method::Lineage,
            method => method,
        };
        let pairs = lineage::pairs(survey, &from, &to);
        let selection = Selection {
            only: args.paths.iter().map(below_root).collect(),
            without: args.exclude.iter().map(below_root).collect(),
        };
        Some(files(context, &opened, &pairs, method, &selection)?)
    } else {
        None
    };
    let packages = wanted(args.packages, args.files)
        .then(|| inventory::compare(&opened.from_tree, &opened.to_tree));
    drop(opened);
    Ok(Found {
        from,
        to,
        files,
        packages,
    })
}

fn side(context: &Context, survey: &Survey, target: &Target) -> Result<Side, Trouble> {
    let environment = mount::find(survey, &target.environment)?;
    side_of(context, survey, &environment, target.snapshot.as_deref())
}

fn side_of(
    context: &Context,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    snapshot: Option<&str>,
) -> Result<Side, Trouble> {
    mount::keys_are_loaded(environment)?;
    diff::side(&context.host, survey, environment, snapshot)?.ok_or_else(|| {
        let snapshots: Vec<&str> = environment
            .root
            .snapshots
            .iter()
            .map(|snapshot| snapshot.name.component())
            .collect();
        let trouble = Trouble::refused(format!(
            "{} has no snapshot '{}'",
            environment.name(),
            snapshot.unwrap_or_default()
        ));
        if snapshots.is_empty() {
            trouble
        } else {
            trouble.remedy(format!("there are: {}", snapshots.join(", ")))
        }
    })
}

/// A path as the comparison wants it: without slashes at its ends or `.` in it.
fn below_root(path: &OsString) -> Vec<u8> {
    path.as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty() && *component != b".")
        .collect::<Vec<_>>()
        .join(&b'/')
}
