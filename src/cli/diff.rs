//! `diff`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::str::FromStr;

use clap_complete::ArgValueCompleter;
use rustix::fs::FileType;
use serde_json::{Value, json};

use super::BeSnapshot;
use super::completions::environments;
use super::context::Context;
use super::error::{FAILED, Trouble};
use super::progress::Counter;
use super::{mount, output};
use crate::be::{BeName, BootEnvironment};
use crate::diff::inventory::{self, Packages};
use crate::diff::side::Side;
use crate::diff::walk::{Change, Selection};
use crate::diff::{self, Files, Method, lineage, summary};
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
    if !context.host.simulated && !nix::unistd::geteuid().is_root() {
        return Err(
            Trouble::refused("only root can look into environments that are not mounted")
                .remedy("run it as root; 'beadm-rs demo' works without")
                .into(),
        );
    }
    let survey = context.look(Scope::Change)?;
    let found = find(context, &survey, args)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if context.json {
        output::json(&mut out, "diff", found.json())?;
    } else if context.script {
        found.print_tabs(&mut out, args.files)?;
    } else {
        found.print(&mut out, args.files)?;
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
        let counter = Counter::for_terminal(&context.interrupted);
        let files = opened.files(&context.host, &pairs, method, &selection, &counter);
        counter.finish();
        Some(files.map_err(|error| Trouble::new(FAILED, format!("cannot compare: {error}")))?)
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

fn path(path: &[u8]) -> String {
    format!("/{}", summary::escaped(path))
}

/// The kind of a file as a word.
fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character-device",
        FileType::BlockDevice => "block-device",
        FileType::Unknown => "unknown",
    }
}

fn aspects(change: &Change) -> Vec<&'static str> {
    change
        .aspects
        .iter()
        .map(|aspect| aspect.as_str())
        .collect()
}

impl Found {
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = Vec::new();
        for problem in self.files.iter().flat_map(|files| &files.problems) {
            problems.push(format!("{}: {}", path(&problem.path), problem.why));
        }
        problems.extend(
            self.packages
                .iter()
                .flat_map(|found| found.problems.clone()),
        );
        problems
    }

    fn json(&self) -> Value {
        let side = |side: &Side| json!({"name": side.name, "running": side.running});
        let files = self.files.as_ref().map(|files| {
            let directories: Vec<Value> = summary::by_directory(&files.changes)
                .into_iter()
                .map(|(directory, counts)| {
                    json!({
                        "directory": directory,
                        "added": counts.added,
                        "removed": counts.removed,
                        "changed": counts.changed,
                    })
                })
                .collect();
            let changes: Vec<Value> = files
                .changes
                .iter()
                .map(|change| {
                    json!({
                        "path": path(&change.path),
                        "change": change.change.as_str(),
                        "from": change.from.map(word),
                        "to": change.to.map(word),
                        "aspects": aspects(change),
                    })
                })
                .collect();
            json!({
                "summary": summary::total(&files.changes),
                "directories": directories,
                "datasets": files.how,
                "changes": changes,
            })
        });
        let notes: Vec<&String> = self.from.notes.iter().chain(&self.to.notes).collect();
        json!({
            "from": side(&self.from),
            "to": side(&self.to),
            "files": files,
            "packages": self.packages.as_ref().map(|packages| json!({
                "managers": packages.managers,
                "changes": packages.changes,
            })),
            "notes": notes,
            "problems": self.problems(),
        })
    }

    /// One line for each thing, the first field saying what it is.
    fn print_tabs(&self, out: &mut impl Write, each: bool) -> io::Result<()> {
        let mut rows: Vec<Vec<String>> = Vec::new();
        if let Some(files) = &self.files {
            if each {
                rows.extend(files.changes.iter().map(|change| {
                    let dash = |kind: Option<FileType>| kind.map_or("-", word).to_owned();
                    vec![
                        "file".to_owned(),
                        change.change.sign().to_string(),
                        dash(change.from),
                        dash(change.to),
                        path(&change.path),
                        match aspects(change) {
                            some if some.is_empty() => "-".to_owned(),
                            some => some.join(","),
                        },
                    ]
                }));
            } else {
                let counted = summary::by_directory(&files.changes).into_iter();
                rows.extend(counted.map(|(directory, counts)| {
                    vec![
                        "directory".to_owned(),
                        directory,
                        counts.added.to_string(),
                        counts.removed.to_string(),
                        counts.changed.to_string(),
                    ]
                }));
            }
        }
        for change in self.packages.iter().flat_map(|found| &found.changes) {
            let dash = |text: Option<&str>| match text {
                None | Some("") => "-".to_owned(),
                Some(text) => text.to_owned(),
            };
            rows.push(vec![
                "package".to_owned(),
                change.change.as_str().to_owned(),
                change.manager.as_str().to_owned(),
                change.name.clone(),
                dash(Some(&change.architecture)),
                dash(change.from.as_deref()),
                dash(change.to.as_deref()),
            ]);
        }
        output::tabs(out, &rows)
    }

    fn print(&self, out: &mut impl Write, each: bool) -> io::Result<()> {
        let running = |side: &Side| if side.running { " (running)" } else { "" };
        writeln!(
            out,
            "{}{} -> {}{}",
            self.from.name,
            running(&self.from),
            self.to.name,
            running(&self.to)
        )?;
        if let Some(files) = &self.files {
            print_files(out, files, each)?;
        }
        if let Some(packages) = &self.packages {
            print_packages(out, packages)?;
        }
        Ok(())
    }
}

fn print_files(out: &mut impl Write, files: &Files, each: bool) -> io::Result<()> {
    for how in &files.how {
        if let Some(why) = how.why.as_ref().filter(|_| how.how == "lineage") {
            writeln!(out, "note: {} was walked: {why}", how.place)?;
        }
    }
    let total = summary::total(&files.changes);
    if files.changes.is_empty() {
        return writeln!(out, "files: no difference");
    }
    writeln!(
        out,
        "files: {} added, {} removed, {} changed",
        total.added, total.removed, total.changed
    )?;
    if each {
        for change in &files.changes {
            let mut line = format!("  {} {}", change.change.sign(), path(&change.path));
            if change.is_directory() && !change.path.is_empty() {
                line.push('/');
            }
            match (change.from, change.to) {
                (Some(from), Some(to)) if from != to => {
                    line.push_str(&format!(" ({} -> {})", word(from), word(to)));
                }
                (Some(_), Some(_)) => line.push_str(&format!(" ({})", aspects(change).join(", "))),
                _ => {}
            }
            writeln!(out, "{line}")?;
        }
        return Ok(());
    }
    let rows: Vec<Vec<String>> = summary::by_directory(&files.changes)
        .into_iter()
        .map(|(directory, counts)| {
            vec![
                format!("  {directory}"),
                counts.added.to_string(),
                counts.removed.to_string(),
                counts.changed.to_string(),
            ]
        })
        .collect();
    output::table(out, &["  DIRECTORY", "ADDED", "REMOVED", "CHANGED"], &rows)
}

fn print_packages(out: &mut impl Write, packages: &Packages) -> io::Result<()> {
    if packages.managers.is_empty() && !packages.problems.is_empty() {
        return writeln!(out, "packages: not compared");
    }
    if packages.managers.is_empty() {
        return writeln!(out, "packages: no database of dpkg, rpm, pacman or apk");
    }
    let managers: Vec<&str> = packages.managers.iter().map(|m| m.as_str()).collect();
    let managers = managers.join(", ");
    if packages.changes.is_empty() {
        return writeln!(out, "packages ({managers}): no difference");
    }
    use crate::packages::Kind;
    let kinds = [
        Kind::Upgraded,
        Kind::Downgraded,
        Kind::Changed,
        Kind::Added,
        Kind::Removed,
    ];
    let counts: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let changes = packages.changes.iter();
            (
                changes.filter(|change| change.change == *kind).count(),
                kind,
            )
        })
        .filter(|(number, _)| *number > 0)
        .map(|(number, kind)| format!("{number} {}", kind.as_str()))
        .collect();
    writeln!(out, "packages ({managers}): {}", counts.join(", "))?;
    let rows: Vec<Vec<String>> = packages
        .changes
        .iter()
        .map(|change| {
            let name = if change.architecture.is_empty() {
                change.name.clone()
            } else {
                format!("{}:{}", change.name, change.architecture)
            };
            let dash = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                format!("  {}", change.change.as_str()),
                output::one_line(&name),
                output::one_line(&dash(&change.from)),
                output::one_line(&dash(&change.to)),
            ]
        })
        .collect();
    output::table(out, &["  CHANGE", "PACKAGE", "FROM", "TO"], &rows)
}
