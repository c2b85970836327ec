//! `list`.

use std::collections::BTreeMap;
use std::io;

use clap::ValueEnum;
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::completions::environments;
use super::context::Context;
use super::error::Trouble;
use super::output;
use crate::be::space::{self, Space};
use crate::be::{BeName, BootEnvironment};
use crate::survey::{Scope, Survey};
use crate::zfs::{Dataset, DatasetName, Snapshot};

/// List boot environments
///
/// Flags: N running now, R next boot, T once, ! not bootable, P pinned. HELD is
/// what it holds and does not share, FREED what destroying it would free.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Their datasets too
    #[arg(short = 'a', long)]
    datasets: bool,

    /// Their snapshots too
    #[arg(short = 's', long)]
    snapshots: bool,

    /// Sort by this, smallest or oldest first
    #[arg(
        short = 'k',
        long = "sort",
        value_name = "KEY",
        value_enum,
        default_value = "name"
    )]
    sort: Key,

    /// Sort by this, largest or newest first
    #[arg(
        short = 'K',
        long = "sort-reverse",
        value_name = "KEY",
        value_enum,
        conflicts_with = "sort"
    )]
    reverse: Option<Key>,

    /// Draw which one hangs on which, and by which snapshot
    #[arg(long, conflicts_with_all = ["datasets", "snapshots"])]
    tree: bool,

    /// Only this one
    #[arg(value_name = "BE", add = ArgValueCompleter::new(environments))]
    name: Option<BeName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Key {
    Name,
    Created,
    Space,
}

/// An environment with its space.
struct Line<'a> {
    environment: BootEnvironment<'a>,
    space: Space,
}

const HEADER: [&str; 7] = [
    "NAME",
    "FLAGS",
    "MOUNTPOINT",
    "HELD",
    "FREED",
    "CREATED",
    "DESCRIPTION",
];

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let survey = context.look(Scope::Listing)?;
    let mut lines: Vec<Line<'_>> = survey
        .environments()
        .filter(|environment| {
            args.name
                .as_ref()
                .is_none_or(|name| environment.name() == name.as_str())
        })
        .map(|environment| Line {
            environment,
            space: space::of(&environment, &survey),
        })
        .collect();
    if let (Some(name), true) = (&args.name, lines.is_empty()) {
        return Err(Trouble::refused(format!(
            "there is no boot environment '{name}' under {}",
            survey.beroot
        ))
        .remedy(format!("there are: {}", survey.names()))
        .into());
    }
    sort(&mut lines, args.reverse.unwrap_or(args.sort));
    if args.reverse.is_some() {
        lines.reverse();
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    if context.json {
        let environments: Vec<Value> = lines
            .iter()
            .map(|line| object(&survey, line, args))
            .collect();
        let (trial, fell_back) = super::status::records(context, &survey);
        let content = json!({
            "beroot": survey.beroot,
            "environments": environments,
            "trial": trial.map(|trial| super::status::trial_json(&survey, &trial)),
            "fell_back": fell_back,
        });
        output::json(&mut out, "list", content)?;
    } else if args.tree {
        tree(&mut out, &lines)?;
    } else {
        let rows: Vec<Vec<String>> = lines
            .iter()
            .flat_map(|line| rows(line, args, context.script))
            .collect();
        if context.script {
            output::tabs(&mut out, &rows)?;
        } else {
            output::table(&mut out, &HEADER, &rows)?;
        }
    }
    Ok(io::Write::flush(&mut out)?)
}

fn sort(lines: &mut [Line<'_>], key: Key) {
    // By name first, so that equal ones keep that order.
    lines.sort_by_key(|line| line.environment.name().to_owned());
    match key {
        Key::Name => {}
        Key::Created => lines.sort_by_key(|line| line.environment.root.createtxg),
        Key::Space => lines.sort_by_key(|line| line.space.freed),
    }
}

fn dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), output::one_line)
}

fn bytes(number: u64, exact: bool) -> String {
    if exact {
        number.to_string()
    } else {
        output::size(number)
    }
}

fn moment(seconds: i64, exact: bool) -> String {
    if exact {
        seconds.to_string()
    } else {
        output::time(seconds)
    }
}

/// The rows of one environment: its own, then its datasets' and snapshots'.
fn rows(line: &Line<'_>, args: &Args, exact: bool) -> Vec<Vec<String>> {
    let environment = line.environment;
    let mut rows = vec![vec![
        output::one_line(environment.name()),
        environment.flags(),
        dash(environment.mounted_at().map(camino::Utf8Path::as_str)),
        bytes(line.space.held, exact),
        bytes(line.space.freed, exact),
        moment(environment.root.creation, exact),
        dash(environment.description()),
    ]];
    for dataset in environment.everything() {
        if args.datasets {
            rows.push(dataset_row(dataset, exact));
        }
        if args.snapshots {
            rows.extend(
                dataset
                    .snapshots
                    .iter()
                    .map(|snapshot| snapshot_row(snapshot, exact)),
            );
        }
    }
    rows
}

fn indented(text: &str, exact: bool) -> String {
    if exact {
        text.to_owned()
    } else {
        format!("  {text}")
    }
}

fn dataset_row(dataset: &Dataset, exact: bool) -> Vec<String> {
    let origin = dataset
        .origin
        .as_ref()
        .map(|origin| format!("clone of {origin}"));
    vec![
        indented(dataset.name.as_str(), exact),
        "-".to_owned(),
        dataset.mountpoint.to_string(),
        bytes(dataset.used, exact),
        "-".to_owned(),
        moment(dataset.creation, exact),
        dash(origin.as_deref()),
    ]
}

fn snapshot_row(snapshot: &Snapshot, exact: bool) -> Vec<String> {
    let clones: Vec<&str> = snapshot.clones.iter().map(DatasetName::as_str).collect();
    let note = match (clones.as_slice(), snapshot.holds) {
        ([], 0) => None,
        ([], _) => Some("held".to_owned()),
        (clones, 0) => Some(format!("origin of {}", clones.join(", "))),
        (clones, _) => Some(format!("held, origin of {}", clones.join(", "))),
    };
    vec![
        indented(snapshot.name.as_str(), exact),
        "-".to_owned(),
        "-".to_owned(),
        bytes(snapshot.used, exact),
        "-".to_owned(),
        moment(snapshot.creation, exact),
        dash(note.as_deref()),
    ]
}

fn object(survey: &Survey, line: &Line<'_>, args: &Args) -> Value {
    let environment = line.environment;
    let mut object = json!({
        "name": environment.name(),
        "dataset": environment.root.name,
        "guid": environment.guid(),
        "flags": environment.flags(),
        "running": environment.is_running(),
        "next": environment.is_next(),
        "once": environment.is_once(),
        "last_good": environment.is_last_good(),
        "pinned": environment.is_pinned(),
        "unbootable": environment.unbootable(),
        "mounted_at": environment.mounted_at(),
        "held": line.space.held,
        "freed": line.space.freed,
        "created": environment.root.creation,
        "description": environment.description(),
        "origin": environment.root.origin,
        "failback": environment
            .failback()
            .and_then(|guid| survey.environment_with(guid))
            .map(|other| other.name().to_owned()),
    });
    if let Value::Object(fields) = &mut object {
        if args.datasets {
            let datasets: Vec<Value> = environment
                .everything()
                .map(|dataset| {
                    json!({
                        "name": dataset.name,
                        "guid": dataset.guid,
                        "kind": dataset.kind,
                        "mountpoint": dataset.mountpoint.to_string(),
                        "canmount": dataset.canmount,
                        "used": dataset.used,
                        "referenced": dataset.referenced,
                        "created": dataset.creation,
                        "origin": dataset.origin,
                    })
                })
                .collect();
            fields.insert("datasets".to_owned(), datasets.into());
        }
        if args.snapshots {
            let snapshots: Vec<Value> = environment
                .everything()
                .flat_map(|dataset| &dataset.snapshots)
                .map(|snapshot| {
                    json!({
                        "name": snapshot.name,
                        "guid": snapshot.guid,
                        "used": snapshot.used,
                        "referenced": snapshot.referenced,
                        "created": snapshot.creation,
                        "holds": snapshot.holds,
                        "clones": snapshot.clones,
                    })
                })
                .collect();
            fields.insert("snapshots".to_owned(), snapshots.into());
        }
    }
    object
}

/// Draws the environments as a forest: each below the one that has the
/// snapshot it was cloned from.
fn tree(out: &mut impl io::Write, lines: &[Line<'_>]) -> io::Result<()> {
    let shown: Vec<&DatasetName> = lines
        .iter()
        .map(|line| &line.environment.root.name)
        .collect();
    let mut children: BTreeMap<Option<DatasetName>, Vec<&Line<'_>>> = BTreeMap::new();
    for line in lines {
        let parent = line
            .environment
            .root
            .origin
            .as_ref()
            .map(crate::zfs::SnapshotName::dataset)
            .filter(|parent| shown.contains(&parent));
        children.entry(parent).or_default().push(line);
    }
    for line in children.get(&None).into_iter().flatten() {
        branch(out, &children, line, "", None)?;
    }
    Ok(())
}

fn branch(
    out: &mut impl io::Write,
    children: &BTreeMap<Option<DatasetName>, Vec<&Line<'_>>>,
    line: &Line<'_>,
    prefix: &str,
    last: Option<bool>,
) -> io::Result<()> {
    let environment = line.environment;
    let (joint, below) = match last {
        None => ("", ""),
        Some(false) => ("├─ ", "│  "),
        Some(true) => ("└─ ", "   "),
    };
    let flags = environment.flags();
    let flags = if flags == "-" {
        String::new()
    } else {
        format!(" [{flags}]")
    };
    let origin = environment
        .root
        .origin
        .as_ref()
        .map(|origin| match last {
            Some(_) => format!("  from @{}", origin.component()),
            None => format!("  from {origin}"),
        })
        .unwrap_or_default();
    writeln!(
        out,
        "{prefix}{joint}{}{flags}  {}{origin}",
        output::one_line(environment.name()),
        output::size(line.space.freed),
    )?;
    let prefix = format!("{prefix}{below}");
    let own = children.get(&Some(environment.root.name.clone()));
    let own: Vec<_> = own.into_iter().flatten().collect();
    for (index, child) in own.iter().enumerate() {
        let last = index + 1 == own.len();
        branch(out, children, child, &prefix, Some(last))?;
    }
    Ok(())
}
