//! `list [-a | -ds] [-H] [-k|-K date|name|space] [be]` (beadm.c, be_list.c).

use std::io::{self, Write as _};

use super::super::number::nicenum;
use super::super::{Done, Stop, environment as named};
use super::{failed, no_environment, options, uuid};
use crate::be::BootEnvironment;
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::cli::output;
use crate::plan::Why;
use crate::survey::{Scope, Survey};
use crate::zfs::{Dataset, Snapshot};

/// The only policy that libbe ever had for what is destroyed by itself: nothing is.
const POLICY: &str = "static";

/// Before what belongs to an environment.
const INDENT: &str = "   ";

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    datasets: bool,
    snapshots: bool,
}

/// What the environments are in the order of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Date,
    Name,
    Space,
}

/// One line, for people and for programs.
struct Line {
    /// Which environment it is about.
    environment: String,
    /// Its second field for programs.
    identity: String,
    /// What it begins with for people.
    name: String,
    active: String,
    mounted: String,
    space: u64,
    created: i64,
}

pub(super) fn list(context: &Context, words: &[String]) -> Done {
    let options = options(words, "adk:svHK:")?;
    let (key, reverse) = order(&options.found)?;
    let mut shown = Shown {
        datasets: options.has('d'),
        snapshots: options.has('s'),
    };
    if options.has('a') {
        let exclusive = |letter| {
            let line = format!("Invalid options: -a and -{letter} are mutually exclusive.");
            Err(Stop::Usage(vec![line]))
        };
        match shown {
            Shown { datasets: true, .. } => return exclusive('d'),
            Shown {
                snapshots: true, ..
            } => return exclusive('s'),
            _ => {}
        }
        shown = Shown {
            datasets: true,
            snapshots: true,
        };
    }
    // With more than one name all are listed, as there.
    let only = match options.rest {
        [name] => Some(name.as_str()),
        _ => None,
    };
    let survey = context.look(Scope::Listing).map_err(cannot)?;
    let only = match only {
        None => None,
        Some(text) => {
            let name = named(context, text).ok();
            let name = name.filter(|name| survey.environment(name).is_some());
            Some(name.ok_or_else(|| {
                let reason = format!("there are: {}", survey.names());
                let trouble = Trouble::refused(format!("there is no '{text}'")).remedy(reason);
                failed(no_environment(text), trouble)
            })?)
        }
    };
    let mut environments: Vec<_> = survey
        .environments()
        .filter(|environment| {
            only.as_ref()
                .is_none_or(|name| name.as_str() == environment.name())
        })
        .collect();
    environments.sort_by_key(|environment| environment.name().to_owned());
    match key {
        Key::Name => {}
        // Seconds do not tell what was made after what.
        Key::Date => environments.sort_by_key(|environment| environment.root.createtxg),
        Key::Space => environments.sort_by_key(|environment| environment.root.used),
    }
    if reverse {
        environments.reverse();
    }
    let text = match options.has('H') {
        true => for_programs(&survey, &environments, shown),
        false => for_people(&survey, &environments, shown),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

fn cannot(trouble: Trouble) -> Stop {
    let line = match trouble.why {
        Why::NoSystem => "No boot environments found on this system.",
        _ => "Unable to display Boot Environment",
    };
    failed(vec![line.to_owned()], trouble)
}

/// The order, which is named once at most.
fn order(found: &[(char, Option<&str>)]) -> Result<(Key, bool), Stop> {
    let asked = found
        .iter()
        .filter(|(letter, _)| matches!(letter, 'k' | 'K'));
    let asked: Vec<_> = asked.collect();
    let (letter, value) = match asked.as_slice() {
        [] => return Ok((Key::Date, false)),
        [(letter, value)] => (*letter, value.unwrap_or_default()),
        _ => {
            let line = "Sort key can be specified only once.".to_owned();
            return Err(Stop::Usage(vec![line]));
        }
    };
    let key = match value {
        "date" => Key::Date,
        "name" => Key::Name,
        "space" => Key::Space,
        other => return Err(Stop::Usage(vec![format!("Unknown sort key: {other}")])),
    };
    Ok((key, letter == 'K'))
}

/// The letters of an environment.
fn active(environment: &BootEnvironment<'_>) -> String {
    [
        (environment.is_running(), 'N'),
        (environment.is_next(), 'R'),
        (environment.is_once(), 'T'),
    ]
    .into_iter()
    .filter_map(|(set, letter)| set.then_some(letter))
    .collect()
}

/// Where a dataset is mounted here.
fn mounted(survey: &Survey, dataset: &Dataset) -> String {
    let mut mounts = survey.own_mounts();
    let mount = mounts.find(|mount| mount.dataset == dataset.name);
    mount.map_or_else(String::new, |mount| mount.directory.to_string())
}

/// An environment in one line.
fn whole(survey: &Survey, environment: &BootEnvironment<'_>) -> Line {
    let root = &environment.root;
    let pool = survey.pools.get(&root.name.pool());
    Line {
        environment: environment.name().to_owned(),
        identity: pool.map_or_else(String::new, |pool| uuid::of(pool.guid, root.guid)),
        name: environment.name().to_owned(),
        active: active(environment),
        mounted: mounted(survey, root),
        space: root.used,
        created: root.creation,
    }
}

/// What belongs to an environment: its datasets, its snapshots, those of each after it.
fn parts(survey: &Survey, environment: &BootEnvironment<'_>, shown: Shown) -> Vec<Line> {
    let of = |dataset: &Dataset| Line {
        environment: environment.name().to_owned(),
        identity: dataset.name.to_string(),
        name: dataset.name.to_string(),
        active: match dataset.guid == environment.guid() {
            true => active(environment),
            false => String::new(),
        },
        mounted: mounted(survey, dataset),
        space: dataset.used,
        created: dataset.creation,
    };
    let taken = |snapshot: &Snapshot| {
        let below = below_beroot(survey, snapshot.name.as_str());
        Line {
            environment: environment.name().to_owned(),
            name: match shown.datasets {
                true => snapshot.name.to_string(),
                false => below.clone(),
            },
            identity: below,
            active: String::new(),
            mounted: String::new(),
            space: snapshot.used,
            created: snapshot.creation,
        }
    };
    let mut lines = Vec::new();
    for dataset in environment.everything() {
        if shown.datasets {
            lines.push(of(dataset));
        }
        if shown.snapshots {
            lines.extend(dataset.snapshots.iter().map(taken));
        }
    }
    lines
}

/// What follows the beroot in a name.
fn below_beroot(survey: &Survey, name: &str) -> String {
    name.strip_prefix(&format!("{}/", survey.beroot))
        .unwrap_or(name)
        .to_owned()
}

/// Fields between semicolons, empty ones included.
fn for_programs(survey: &Survey, environments: &[BootEnvironment<'_>], shown: Shown) -> String {
    let plain = !(shown.datasets || shown.snapshots);
    let lines = environments.iter().flat_map(|environment| match plain {
        true => vec![whole(survey, environment)],
        false => parts(survey, environment, shown),
    });
    lines
        .map(|line| {
            format!(
                "{};{};{};{};{};{POLICY};{}\n",
                output::one_line(&line.environment),
                output::one_line(&line.identity),
                line.active,
                output::one_line(&line.mounted),
                line.space,
                line.created
            )
        })
        .collect()
}

/// Columns as wide as what is in them; of snapshots alone two have nothing to say.
fn for_people(survey: &Survey, environments: &[BootEnvironment<'_>], shown: Shown) -> String {
    let broken_down = shown.datasets || shown.snapshots;
    let brief = shown.snapshots && !shown.datasets;
    let heading = match (shown.datasets, shown.snapshots) {
        (true, true) => "BE/Dataset/Snapshot",
        (true, false) => "BE/Dataset",
        (false, true) => "BE/Snapshot",
        (false, false) => "BE",
    };
    let header = [
        heading,
        "Active",
        "Mountpoint",
        "Space",
        "Policy",
        "Created",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for environment in environments {
        if !broken_down {
            rows.push(row(whole(survey, environment), ""));
            continue;
        }
        rows.push(vec![output::one_line(environment.name())]);
        let parts = parts(survey, environment, shown);
        rows.extend(parts.into_iter().map(|line| row(line, INDENT)));
    }
    if brief {
        for row in &mut rows {
            // An environment's own line has its name alone.
            row.drain(1..3.min(row.len()).max(1));
        }
    }
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > 1);
        let lengths = cells.filter_map(|row| row.get(column)).map(String::len);
        lengths.max().unwrap_or(0)
    };
    let last = rows.first().map_or(0, Vec::len).saturating_sub(1);
    let widths: Vec<usize> = (0..last).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = widths.get(column).copied().filter(|_| row.len() > 1);
            format!("{cell:width$}", width = width.unwrap_or(0))
        });
        text.push_str(&cells.collect::<Vec<_>>().join(" "));
        text.push('\n');
    }
    text
}

fn row(line: Line, indent: &str) -> Vec<String> {
    let or_dash = |text: String| match text.is_empty() {
        true => "-".to_owned(),
        false => output::one_line(&text),
    };
    vec![
        format!("{indent}{}", output::one_line(&line.name)),
        or_dash(line.active),
        or_dash(line.mounted),
        nicenum(line.space),
        POLICY.to_owned(),
        output::time(line.created),
    ]
}
