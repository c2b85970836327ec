//! `list [-aDHs] [-c property | -C property]` (bectl_list.c).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use super::super::number::nicenum;
use super::super::{Done, Stop};
use super::{code, options};
use crate::be::BootEnvironment;
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::cli::output;
use crate::survey::{Scope, Survey};
use crate::zfs::{DatasetName, Snapshot, SnapshotName, UsedBy};

/// How far what belongs to an environment stands below it, columns.
const INDENT: usize = 2;

/// What to print.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    /// The dataset of each, and what it was cloned from.
    datasets: bool,
    /// Its snapshots too.
    snapshots: bool,
    /// Space as if all others were gone.
    alone: bool,
    /// Tabs, no header.
    script: bool,
}

impl Shown {
    /// Each environment is broken down.
    fn broken_down(self) -> bool {
        self.datasets || self.snapshots
    }
}

/// The property that the environments are in the order of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Name,
    Creation,
    Origin,
    Used,
    ByDataset,
    BySnapshots,
    ByRefreservation,
}

impl Key {
    /// The properties by their names, the long ones of 2023 too.
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "name" => Self::Name,
            "creation" => Self::Creation,
            "origin" => Self::Origin,
            "used" => Self::Used,
            "usedds" | "usedbydataset" => Self::ByDataset,
            "usedsnap" | "usedbysnapshots" => Self::BySnapshots,
            "usedrefreserv" | "usedbyrefreservation" => Self::ByRefreservation,
            _ => return None,
        })
    }

    fn is_by(self) -> bool {
        matches!(
            self,
            Self::ByDataset | Self::BySnapshots | Self::ByRefreservation
        )
    }
}

/// The columns' widths.
struct Widths {
    name: usize,
    mountpoint: usize,
}

/// One line: a name and what stands beside it.
struct Line {
    indent: usize,
    name: String,
    active: String,
    mounted: String,
    space: String,
    created: String,
}

pub(super) fn list(context: &Context, words: &[String]) -> Done {
    let options = options(words, "aDHsc:C:")?;
    if !options.rest.is_empty() {
        let line = "bectl list: extra argument provided".to_owned();
        return Err(Stop::Usage(vec![line]));
    }
    let asked = options.found.iter().rev();
    let mut sorts = asked.filter(|(letter, _)| matches!(letter, 'c' | 'C'));
    let (reverse, key) = match sorts.next() {
        Some((letter, value)) => (*letter == 'C', value.unwrap_or_default()),
        None => (false, "name"),
    };
    let Some(key) = Key::of(key) else {
        let line = format!("bectl list: environments cannot be sorted by '{key}'");
        return Err(Stop::Usage(vec![line]));
    };
    let mut shown = Shown {
        datasets: options.has('a'),
        snapshots: options.has('s'),
        alone: options.has('D'),
        script: options.has('H'),
    };
    shown.alone &= !shown.broken_down();
    let survey = context.look(Scope::Listing).map_err(code::failed)?;
    let mut environments: Vec<_> = survey.environments().collect();
    sort(context, &survey, &mut environments, key).map_err(code::failed)?;
    if reverse {
        environments.reverse();
    }
    let text = text(&survey, &environments, shown);
    io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

/// Puts them in order, those that are equal by name.
fn sort(
    context: &Context,
    survey: &Survey,
    environments: &mut [BootEnvironment<'_>],
    key: Key,
) -> Result<(), Trouble> {
    let used: BTreeMap<DatasetName, UsedBy> = match key.is_by() {
        true => context.host.zfs.used_by(&survey.beroot)?,
        false => BTreeMap::new(),
    };
    let by = |environment: &BootEnvironment<'_>| {
        let used = used.get(&environment.root.name).copied();
        used.unwrap_or_default()
    };
    environments.sort_by_key(|environment| environment.name().to_owned());
    match key {
        Key::Name => {}
        // Seconds do not tell what was made after what.
        Key::Creation => environments.sort_by_key(|environment| environment.root.createtxg),
        Key::Origin => environments.sort_by_key(|environment| {
            let origin = environment.root.origin.as_ref();
            origin.map(ToString::to_string)
        }),
        Key::Used => environments.sort_by_key(|environment| environment.root.used),
        Key::ByDataset => environments.sort_by_key(|environment| by(environment).dataset),
        Key::BySnapshots => environments.sort_by_key(|environment| by(environment).snapshots),
        Key::ByRefreservation => {
            environments.sort_by_key(|environment| by(environment).refreservation);
        }
    }
    Ok(())
}

/// The whole listing.
fn text(survey: &Survey, environments: &[BootEnvironment<'_>], shown: Shown) -> String {
    let widths = Widths::of(environments, shown);
    let mut text = String::new();
    if !shown.script {
        let _ = writeln!(
            text,
            "{:name$} Active {:mountpoint$} Space Created",
            heading(shown),
            "Mountpoint",
            name = widths.name,
            mountpoint = widths.mountpoint
        );
        if shown.broken_down() {
            text.push('\n');
        }
    }
    for (index, environment) in environments.iter().enumerate() {
        if !shown.broken_down() {
            let line = of_environment(survey, environment, shown);
            line.write(&mut text, &widths, shown.script);
            continue;
        }
        if index > 0 {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", environment.name());
        for line in broken_down(survey, environment, shown) {
            line.write(&mut text, &widths, shown.script);
        }
    }
    text
}

fn heading(shown: Shown) -> &'static str {
    match shown.broken_down() {
        true => "BE/Dataset/Snapshot",
        false => "BE",
    }
}

/// The dataset of an environment, the snapshot it was cloned from, its snapshots. Datasets
/// below it are in no listing of bectl's.
fn broken_down(survey: &Survey, environment: &BootEnvironment<'_>, shown: Shown) -> Vec<Line> {
    let root = &environment.root;
    let mut lines = vec![Line {
        indent: INDENT,
        name: root.name.to_string(),
        ..of_environment(survey, environment, shown)
    }];
    if let Some(origin) = &root.origin {
        lines.push(of_snapshot(
            INDENT * 2,
            origin.to_string(),
            survey.snapshot(origin),
        ));
    }
    if shown.snapshots {
        lines.extend(root.snapshots.iter().map(|snapshot| {
            let name = format!("{}@{}", root.name.leaf(), snapshot.name.component());
            of_snapshot(INDENT, name, Some(snapshot))
        }));
    }
    lines
}

fn of_environment(survey: &Survey, environment: &BootEnvironment<'_>, shown: Shown) -> Line {
    let active: String = [
        (environment.is_running(), 'N'),
        (environment.is_next(), 'R'),
        (environment.is_once(), 'T'),
    ]
    .into_iter()
    .filter_map(|(set, letter)| set.then_some(letter))
    .collect();
    let origin = environment.root.origin.as_ref();
    Line {
        indent: 0,
        name: environment.name().to_owned(),
        active: or_dash(active),
        mounted: or_dash(mounted(environment)),
        space: nicenum(space(survey, environment, origin, shown)),
        created: output::time(environment.root.creation),
    }
}

fn of_snapshot(indent: usize, name: String, snapshot: Option<&Snapshot>) -> Line {
    Line {
        indent,
        name,
        active: or_dash(String::new()),
        mounted: or_dash(String::new()),
        space: or_dash(snapshot.map_or_else(String::new, |snapshot| nicenum(snapshot.used))),
        created: snapshot.map_or_else(String::new, |snapshot| output::time(snapshot.creation)),
    }
}

/// `used`; with that of the snapshot it was cloned from, where it is not listed itself;
/// and where all others are thought away, with that of the dataset this one is of.
fn space(
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    origin: Option<&SnapshotName>,
    shown: Shown,
) -> u64 {
    let mut space = environment.root.used;
    let Some(origin) = origin.filter(|_| !shown.broken_down()) else {
        return space;
    };
    space += survey.snapshot(origin).map_or(0, |snapshot| snapshot.used);
    if shown.alone {
        let dataset = survey.datasets.get(&origin.dataset());
        space += dataset.map_or(0, |dataset| dataset.used);
    }
    space
}

fn mounted(environment: &BootEnvironment<'_>) -> String {
    environment
        .mounted_at()
        .map_or_else(String::new, ToString::to_string)
}

fn or_dash(text: String) -> String {
    match text.is_empty() {
        true => "-".to_owned(),
        false => text,
    }
}

impl Widths {
    /// Snapshots are not counted, as there: their names may be longer.
    fn of(environments: &[BootEnvironment<'_>], shown: Shown) -> Self {
        let mut widths = Self {
            name: heading(shown).len(),
            mountpoint: "Mountpoint".len(),
        };
        for environment in environments {
            let root = &environment.root;
            widths.name = widths.name.max(environment.name().len());
            widths.mountpoint = widths.mountpoint.max(mounted(environment).len());
            if shown.broken_down() {
                let origin = root.origin.as_ref().map_or(0, |o| o.as_str().len());
                widths.name = widths.name.max(root.name.as_str().len() + INDENT);
                widths.name = widths.name.max(origin + INDENT * 2);
            }
        }
        widths
    }
}

impl Line {
    fn write(&self, text: &mut String, widths: &Widths, script: bool) {
        let Self {
            indent,
            name,
            active,
            mounted,
            space,
            created,
        } = self;
        let name = format!("{:indent$}{}", "", output::one_line(name));
        let mounted = output::one_line(mounted);
        let _ = if script {
            writeln!(text, "{name}\t{active}\t{mounted}\t{space}\t{created}")
        } else {
            writeln!(
                text,
                "{name:name_width$} {active:6} {mounted:mount_width$} {space:5} {created}",
                name_width = widths.name,
                mount_width = widths.mountpoint
            )
        };
    }
}
