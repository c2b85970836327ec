//! `share`: what all environments have in common.

mod activations;
mod apply;
mod back;
mod history;
mod list;
mod remove;

pub(super) use activations::{
    confirms, in_json, kept_rows, of_activations, release, release_is_due,
};
pub(super) use apply::{follow, follow_held};
pub(super) use back::Back;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde_json::json;

use super::context::{Context, Report};
use super::error::{FAILED, Trouble, USAGE};
use super::output;
use crate::diff::tree::names;
use crate::host::Host;
use crate::os::{self, Object};
use crate::plan::Step;
use crate::plan::share as plan;
use crate::plan::share::add;
use crate::share::find::{self, Share};
use crate::share::look::{self, Seen};
use crate::share::record::Entry;
use crate::share::{DIRECTORY, copy};
use crate::survey::{Around, Survey};
use crate::zfs::{DatasetName, PoolName};

/// Keep mail, print jobs, logs and the like in one dataset that all environments share
///
/// What changes while the machine runs must not stay behind when another
/// environment is booted. `share init` makes POOL/VARSHARE on /var/share,
/// `share add` moves directories of the running environment there.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(InitArgs),
    Add(AddArgs),
    Remove(remove::Args),
    Apply(apply::Args),
    List(list::Args),
    Confirm(ConfirmArgs),
    Snapshots(history::SnapshotsArgs),
    Diff(history::DiffArgs),
    Restore(history::RestoreArgs),
}

/// Make the shared dataset, or adopt the one there is, and say what to move
///
/// POOL/VARSHARE, mounted on /var/share at every boot, whichever environment runs.
/// What is proposed is not moved: 'share add' does that. Datasets that all
/// environments share already are named, and stay as they are.
#[derive(Debug, clap::Args)]
struct InitArgs {
    /// The pool it is made in; by default that of the environments
    #[arg(short = 'p', long, value_name = "POOL")]
    pool: Option<PoolName>,
}

/// Move directories of the running environment into the shared dataset
///
/// Each is copied with everything (owner, mode, access control lists, attributes,
/// holes, hard links, times), compared, and switched in one rename: /var/mail
/// becomes a symbolic link to share/mail, or, where a service would not follow a
/// link, a bind mount. What was there is kept beside it until 'share confirm'.
/// What is in use is refused, and by whom is said.
#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Although it is in use: what is written through open files stays behind
    #[arg(long)]
    force: bool,

    /// Keep nothing of what was there before
    #[arg(long)]
    discard_old: bool,

    /// The directories
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<Utf8PathBuf>,
}

/// Remove what was there before a directory was shared
///
/// Of the running environment. Without a path of all that are shared.
#[derive(Debug, clap::Args)]
struct ConfirmArgs {
    /// The shared directories
    #[arg(value_name = "PATH")]
    paths: Vec<Utf8PathBuf>,
}

impl Args {
    pub(super) fn purpose(&self) -> String {
        match &self.command {
            Command::Init(_) => "make the shared dataset".to_owned(),
            Command::Add(args) => format!("share {}", joined(&args.paths)),
            Command::Remove(args) => format!("end the sharing of {}", joined(&args.paths)),
            Command::Apply(_) => "give environments the layout of what is shared".to_owned(),
            Command::List(_) => "list what is shared".to_owned(),
            Command::Confirm(_) => "remove what was there before it was shared".to_owned(),
            Command::Snapshots(_) => "list what is shared".to_owned(),
            Command::Diff(_) => "compare what is shared".to_owned(),
            Command::Restore(args) => format!("restore {}", args.path),
        }
    }
}

fn joined(paths: &[Utf8PathBuf]) -> String {
    let paths: Vec<&str> = paths.iter().map(|path| path.as_str()).collect();
    paths.join(" ")
}

pub(super) fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    if !context.is_root() {
        return Err(Trouble::refused("only root can see what is shared")
            .remedy("run it as root; 'beadm-rs demo' works without")
            .into());
    }
    match args.command {
        Command::Init(args) => init(context, &args),
        Command::Add(args) => add(context, &args),
        Command::Remove(args) => remove::run(context, &args),
        Command::Apply(args) => apply::run(context, &args),
        Command::List(args) => list::run(context, &args),
        Command::Confirm(args) => confirm(context, &args),
        Command::Snapshots(args) => history::snapshots(context, &args),
        Command::Diff(args) => history::diff(context, &args),
        Command::Restore(args) => history::restore(context, &args),
    }
}

/// A path as it is noted: absolute, without what may be written in several ways.
fn plain(path: &Utf8Path) -> Result<Utf8PathBuf, Trouble> {
    let usual =
        |part: Utf8Component<'_>| matches!(part, Utf8Component::Normal(_) | Utf8Component::RootDir);
    let written = path.as_str().chars().any(char::is_control);
    if path.is_absolute() && path.components().all(usual) && !written {
        return Ok(path.components().collect());
    }
    Err(Trouble::new(
        USAGE,
        format!("{path:?} is not the whole path of a directory"),
    ))
}

/// The survey of the running environment.
fn survey(host: &Host) -> Result<Survey, Trouble> {
    let around = Around {
        running: true,
        ..Around::default()
    };
    Ok(Survey::around(host, &around)?)
}

fn init(context: &Context, args: &InitArgs) -> anyhow::Result<()> {
    let picture = RefCell::new(None);
    let report = context.change(
        |host| {
            let survey = survey(host)?;
            let found = find::find(host, &survey, args.pool.as_ref())?;
            let pool = args.pool.clone().unwrap_or_else(|| survey.beroot.pool());
            let request = plan::Request {
                parent: find::parent(host, &pool)?,
                directory: look::look(host, &survey, Utf8Path::new(DIRECTORY))?,
                pool: args.pool.clone(),
            };
            picture.replace(Some((found, request)));
            Ok(survey)
        },
        |survey| match &*picture.borrow() {
            Some((found, request)) => plan::init(survey, found.as_ref(), request),
            None => unseen(),
        },
        |_| None,
    )?;
    list::print_init(context, &report)
}

/// The survey was taken without the rest: no plan is made of that.
fn unseen() -> crate::plan::Planned {
    Err(crate::plan::Refusal::new(
        "look at what is shared",
        "nothing was looked at",
    ))
}

/// What a directory and the shared dataset are like.
struct Picture {
    share: Option<Share>,
    seen: Seen,
    taken: BTreeSet<String>,
}

/// The names in the shared dataset.
fn taken(host: &Host, share: Option<&Share>) -> os::Result<BTreeSet<String>> {
    let Some(share) = share.filter(|share| share.dataset.key_loaded) else {
        return Ok(BTreeSet::new());
    };
    let name = &share.dataset.name;
    let files = host.platform.open_files(&Object::Dataset(name.clone()))?;
    let listed = copy::listable(files.root.as_fd())
        .and_then(|root| names(root.as_fd(), true))
        .map_err(os::Error::io(format!("list {name}")))?;
    Ok(listed
        .into_iter()
        .map(|name| String::from_utf8_lossy(&name.name).into_owned())
        .collect())
}

/// The paths as they are noted.
fn all(
    paths: &[Utf8PathBuf],
    one: impl Fn(&Utf8Path) -> Result<Utf8PathBuf, Trouble>,
) -> Result<Vec<Utf8PathBuf>, Trouble> {
    paths.iter().map(|path| one(path)).collect()
}

fn add(context: &Context, args: &AddArgs) -> anyhow::Result<()> {
    let paths = all(&args.paths, plain)?;
    each(context, "share-add", &paths, "is shared", |path| {
        add_one(context, args, path)
    })
}

/// Makes a change for each path, and reports it; where one fails, what was done for
/// those before it stays.
fn each(
    context: &Context,
    what: &str,
    paths: &[Utf8PathBuf],
    is: &str,
    one: impl Fn(&Utf8Path) -> Result<Report, Trouble>,
) -> anyhow::Result<()> {
    let mut done: Vec<(&Utf8PathBuf, Report)> = Vec::new();
    for path in paths {
        let report = one(path).map_err(|trouble| {
            let moved: Vec<&str> = done.iter().map(|(path, _)| path.as_str()).collect();
            if moved.is_empty() || context.dry_run {
                trouble
            } else {
                trouble.after(&format!("{} {is}", moved.join(", ")))
            }
        })?;
        if !context.json {
            context.report("share", &report)?;
        }
        done.push((path, report));
    }
    if context.json {
        let moves: Vec<_> = done
            .iter()
            .map(|(path, report)| {
                json!({
                    "path": path,
                    "outcome": report.plan.outcome,
                    "recovered": report.recovered,
                    "plan": report.plan,
                })
            })
            .collect();
        let all = done.iter().all(|(_, report)| report.done);
        let content = json!({ "done": all, "changed": all, "moves": moves });
        output::json(&mut io::stdout().lock(), what, content)?;
    }
    Ok(())
}

fn add_one(context: &Context, args: &AddArgs, path: &Utf8Path) -> Result<Report, Trouble> {
    let picture = RefCell::new(None);
    context.change(
        |host| {
            let survey = survey(host)?;
            let share = find::find(host, &survey, None)?;
            picture.replace(Some(Picture {
                seen: look::look(host, &survey, path)?,
                taken: taken(host, share.as_ref())?,
                share,
            }));
            Ok(survey)
        },
        |survey| match &*picture.borrow() {
            Some(Picture { share, seen, taken }) => {
                let request = add::Request {
                    seen: seen.clone(),
                    taken: taken.clone(),
                    force: args.force,
                    discard_old: args.discard_old,
                };
                add::plan(survey, share.as_ref(), &request)
            }
            None => unseen(),
        },
        |_| None,
    )
}

/// What is kept of before, of these paths or of all: in the running environment of
/// what was shared, in the shared dataset of what is not any more.
fn kept(
    host: &Host,
    survey: &Survey,
    share: &Share,
    paths: &[Utf8PathBuf],
) -> Result<Vec<add::Kept>, Trouble> {
    let mut found = Vec::new();
    let Some(record) = &share.record else {
        return Ok(found);
    };
    let meant = |entry: &&Entry| paths.is_empty() || paths.contains(&entry.path);
    let dataset = &share.dataset.name;
    for entry in record.shared.iter().chain(&record.removed).filter(meant) {
        let (home, below) = look::home(host, survey, &entry.path)?;
        let here = home.map(|home| (home, below));
        let there = (dataset.clone(), Utf8PathBuf::from(&entry.name));
        for (home, below) in here.into_iter().chain([there]) {
            let kept = add::kept(&below, entry.id);
            let files = host.platform.open_files(&Object::Dataset(home.clone()))?;
            if files.root.symlink_metadata(&kept).is_ok() {
                found.push(add::Kept {
                    entry: entry.clone(),
                    home,
                    below,
                });
            }
        }
    }
    Ok(found)
}

fn confirm(context: &Context, args: &ConfirmArgs) -> anyhow::Result<()> {
    let paths = all(&args.paths, plain)?;
    let picture = RefCell::new((None, Vec::new()));
    let report = context.change(
        |host| {
            let survey = survey(host)?;
            let share = find::find(host, &survey, None)?;
            let there = match &share {
                Some(share) => {
                    let record = share.record.clone().unwrap_or_default();
                    let is_known = |path: &Utf8PathBuf| {
                        let mut entries = record.shared.iter().chain(&record.removed);
                        entries.any(|entry| entry.path == *path)
                    };
                    if let Some(path) = paths.iter().find(|path| !is_known(path)) {
                        return Err(Trouble::refused(format!("{path} is not shared"))
                            .remedy("beadm-rs share list shows what is"));
                    }
                    kept(host, &survey, share, &paths)?
                }
                None => Vec::new(),
            };
            picture.replace((share, there));
            Ok(survey)
        },
        |survey| {
            let (share, there) = &*picture.borrow();
            add::confirm(survey, share.as_ref(), there)
        },
        |plan| {
            let is_end = |step: &&Step| step.name == "discard";
            let count = plan.steps.iter().filter(is_end).count();
            (count > 0).then(|| format!("remove what {count} shared directories were before"))
        },
    )?;
    context.report("share-confirm", &report)
}

/// What of datasets outside all environments is mounted: shared already.
fn adopted(survey: &Survey, share: Option<&DatasetName>) -> Vec<(DatasetName, Utf8PathBuf)> {
    let roots: Vec<&DatasetName> = std::iter::once(&survey.beroot)
        .chain(&survey.boot_roots)
        .collect();
    let mut found: Vec<(DatasetName, Utf8PathBuf)> = survey
        .own_mounts()
        .filter(|mount| !roots.iter().any(|root| mount.dataset.is_within(root)))
        .filter(|mount| share.is_none_or(|share| !mount.dataset.is_within(share)))
        .map(|mount| (mount.dataset.clone(), mount.directory.clone()))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The failure of reading what a listing wants.
fn unread(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Trouble {
    let what = what.to_string();
    move |error| Trouble::new(FAILED, format!("cannot read {what}: {error}"))
}

/// Says what a change came to, after what was printed.
fn say(context: &Context, report: &Report) -> io::Result<()> {
    if !report.done {
        return output::plan(&mut io::stdout().lock(), &report.plan);
    }
    for note in &report.plan.notes {
        context.warn(note);
    }
    let nothing = if report.plan.steps.is_empty() {
        "nothing to do: "
    } else {
        ""
    };
    context.warn(&format!("{nothing}{}", report.plan.outcome));
    io::stdout().flush()
}
