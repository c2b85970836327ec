//! What is shared, and what may be.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::super::context::{Context, Report};
use super::super::error::Trouble;
use super::super::{mount, output};
use super::{adopted, kept, say, survey, unread};
use crate::be::BootEnvironment;
use crate::diff;
use crate::diff::tree::Tree;
use crate::host::Host;
use crate::os::Object;
use crate::plan::share::add;
use crate::share::copy::{listable, parent_of};
use crate::share::find::{self, Share};
use crate::share::look::{self, Content, Seen, What};
use crate::share::record::{Entry, Form};
use crate::share::{DIRECTORY, Place};
use crate::survey::{Scope, Survey};
use crate::zfs::DatasetName;

/// List what is shared: how, how much, since when, and by which environments
///
/// An environment whose directory is not that of the shared dataset is not among
/// those that share it. Datasets outside of all environments are shared as they are.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// What the seed of it all names, in the names of Linux: mail, spools, leases,
/// logs, and what is temporary and may not be.
const KNOWN: [&str; 9] = [
    "/var/adm",
    "/var/lib/dhclient",
    "/var/lib/dhcp",
    "/var/lib/dhcpd",
    "/var/lib/kea",
    "/var/log",
    "/var/mail",
    "/var/spool",
    "/var/tmp",
];

/// What may be moved.
fn proposed(context: &Context, survey: &Survey) -> Result<Vec<Seen>, Trouble> {
    let mut found = Vec::new();
    for path in KNOWN {
        let seen = look::look(&context.host, survey, Utf8Path::new(path))?;
        let own = seen.home.as_ref().is_some_and(|home| {
            survey
                .running
                .as_ref()
                .is_some_and(|root| home.is_within(root))
        });
        if seen.what == What::Directory && seen.mounted.is_empty() && own {
            found.push(seen);
        }
    }
    Ok(found)
}

/// Whose it is: units, profiles, and the services that use it now.
fn users(seen: &Seen) -> Vec<String> {
    let services = seen.holders.iter().map(|holder| {
        holder
            .service
            .clone()
            .unwrap_or_else(|| holder.command.clone())
    });
    let declared = seen.uses.iter().map(|one| one.who.clone());
    let all: BTreeSet<String> = services.chain(declared).collect();
    all.into_iter().collect()
}

fn form(seen: &Seen) -> Form {
    if seen.uses.is_empty() && seen.content.leaving.is_none() {
        Form::Link
    } else {
        Form::Bind
    }
}

/// What `share init` came to.
pub(super) fn print_init(context: &Context, report: &Report) -> anyhow::Result<()> {
    let survey = survey(&context.host)?;
    let share = find::find(&context.host, &survey, None)?;
    let name = share.as_ref().map(|share| share.dataset.name.clone());
    let proposed = proposed(context, &survey)?;
    let adopted = adopted(&survey, name.as_ref());
    let mut out = io::stdout().lock();
    if context.json {
        let content = json!({
            "done": report.done,
            "changed": report.done && !report.plan.steps.is_empty(),
            "outcome": report.plan.outcome,
            "dataset": name,
            "proposed": proposed.iter().map(|seen| json!({
                "path": seen.path,
                "bytes": seen.content.bytes,
                "files": seen.content.files,
                "form": form(seen),
                "uses": seen.uses,
                "holders": seen.holders,
            })).collect::<Vec<Value>>(),
            "adopted": adopted.iter().map(|(dataset, directory)| json!({
                "dataset": dataset,
                "directory": directory,
            })).collect::<Vec<Value>>(),
            "recovered": report.recovered,
            "plan": report.plan,
        });
        return Ok(output::json(&mut out, "share-init", content)?);
    }
    let mut rows: Vec<Vec<String>> = proposed
        .iter()
        .map(|seen| {
            vec![
                seen.path.to_string(),
                form(seen).as_str().to_owned(),
                bytes(context, seen.content.bytes),
                users(seen).join(", "),
            ]
        })
        .collect();
    rows.extend(adopted.into_iter().map(|(dataset, directory)| {
        vec![
            directory.to_string(),
            "dataset".to_owned(),
            "-".to_owned(),
            format!("{dataset}: shared already"),
        ]
    }));
    if context.script {
        output::tabs(&mut out, &rows)?;
    } else if !rows.is_empty() {
        output::table(&mut out, &["PATH", "HOW", "SIZE", "USED BY"], &rows)?;
    }
    drop(out);
    if !context.script || !report.done {
        say(context, report)?;
    }
    Ok(())
}

pub(super) fn bytes(context: &Context, bytes: u64) -> String {
    output::space(context.script, bytes)
}

/// One shared directory, as it is now.
struct Row {
    entry: Entry,
    bytes: Option<u64>,
    environments: Vec<String>,
    others: Vec<String>,
    kept: Option<Utf8PathBuf>,
}

pub(super) fn run(context: &Context, _: &Args) -> anyhow::Result<()> {
    let survey = context.look(Scope::Change)?;
    let share = find::find(&context.host, &survey, None)?;
    let name = share.as_ref().map(|share| share.dataset.name.clone());
    let there = match &share {
        Some(share) => kept(&context.host, &survey, share, &[])?,
        None => Vec::new(),
    };
    let rows = match &share {
        Some(share) => rows(context, &survey, share, &there)?,
        None => Vec::new(),
    };
    let left: Vec<(Utf8PathBuf, Utf8PathBuf)> = there
        .iter()
        .filter(|one| !rows.iter().any(|row| row.entry == one.entry))
        .map(|one| {
            let shared = Some(&one.home) == name.as_ref();
            let directory = if shared {
                Utf8Path::new(DIRECTORY).join(&one.entry.name)
            } else {
                one.entry.path.clone()
            };
            (add::kept(&directory, one.entry.id), one.entry.path.clone())
        })
        .collect();
    print(context, &survey, name.as_ref(), &rows, &left)
}

fn rows(
    context: &Context,
    survey: &Survey,
    share: &Share,
    there: &[add::Kept],
) -> Result<Vec<Row>, Trouble> {
    let record = share.record.clone().unwrap_or_default();
    let kept = |entry: &Entry| {
        let found = there.iter().find(|one| one.entry == *entry);
        found.map(|_| add::kept(&entry.path, entry.id))
    };
    let mut rows: Vec<Row> = Vec::new();
    for entry in &record.shared {
        rows.push(Row {
            bytes: content(&context.host, share, entry)?.map(|content| content.bytes),
            environments: Vec::new(),
            others: Vec::new(),
            kept: kept(entry),
            entry: entry.clone(),
        });
    }
    for environment in survey.environments() {
        if rows.is_empty() {
            continue;
        }
        let Some(tree) = tree(&context.host, survey, &environment)? else {
            continue;
        };
        for row in &mut rows {
            let list = if in_tree(&tree, share, &row.entry, &environment)? {
                &mut row.environments
            } else {
                &mut row.others
            };
            list.push(environment.name().to_owned());
        }
    }
    Ok(rows)
}

/// Whether a directory of an environment is that of the shared dataset; `None`
/// where its files cannot be looked at.
pub(super) fn leads(
    host: &Host,
    survey: &Survey,
    share: &Share,
    entry: &Entry,
    environment: &BootEnvironment<'_>,
) -> Result<Option<bool>, Trouble> {
    tree(host, survey, environment)?
        .map(|tree| in_tree(&tree, share, entry, environment))
        .transpose()
}

fn in_tree(
    tree: &Tree,
    share: &Share,
    entry: &Entry,
    environment: &BootEnvironment<'_>,
) -> Result<bool, Trouble> {
    let what = format!("{} of {}", entry.path, environment.name());
    leads_there(tree, entry, &share.dataset.name).map_err(unread(what))
}

/// The files of an environment; `None` where their key is not loaded.
fn tree(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
) -> Result<Option<Tree>, Trouble> {
    if mount::keys_are_loaded(environment).is_err() {
        return Ok(None);
    }
    let Some(side) = diff::side(host, survey, environment, None)? else {
        return Ok(None);
    };
    Ok(Some(Tree::open(host, &side)?))
}

/// Whether a path of an environment is that of the shared dataset.
fn leads_there(tree: &Tree, entry: &Entry, share: &DatasetName) -> io::Result<bool> {
    let below = entry.path.as_str().trim_start_matches('/');
    let place = Place {
        path: entry.path.clone(),
        home: share.clone(),
        below: below.into(),
        share: share.clone(),
        name: entry.name.clone(),
        form: entry.form,
    };
    match entry.form {
        Form::Link => {
            let Some(found) = tree.find(below.as_bytes())? else {
                return Ok(false);
            };
            let link = if found.kind().is_symlink() {
                found.target()?
            } else {
                None
            };
            Ok(link.is_some_and(|link| link == place.link().as_str().as_bytes()))
        }
        Form::Bind => {
            let unit = format!("etc/systemd/system/{}", place.unit());
            Ok(tree.find(unit.as_bytes())?.is_some())
        }
    }
}

/// What is in the shared dataset of it; `None` where it is not there.
pub(super) fn content(
    host: &Host,
    share: &Share,
    entry: &Entry,
) -> Result<Option<Content>, Trouble> {
    let name = &share.dataset.name;
    let files = host.platform.open_files(&Object::Dataset(name.clone()))?;
    let read = || {
        let (root, leaf) = parent_of(files.root.as_fd(), Utf8Path::new(&entry.name))?;
        look::content(listable_at(&root, &leaf)?)
    };
    match read() {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(format!("{} of {name}", entry.name))(error)),
    }
}

pub(super) fn listable_at(
    directory: &std::os::fd::OwnedFd,
    name: &[u8],
) -> io::Result<std::os::fd::OwnedFd> {
    let found = crate::diff::tree::open_at(directory.as_fd(), name, crate::diff::tree::DIRECTORY)?;
    listable(found.as_fd())
}

fn print(
    context: &Context,
    survey: &Survey,
    share: Option<&DatasetName>,
    rows: &[Row],
    left: &[(Utf8PathBuf, Utf8PathBuf)],
) -> anyhow::Result<()> {
    let adopted = adopted(survey, share);
    let mut out = io::stdout().lock();
    if context.json {
        let shared: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({
                    "path": row.entry.path,
                    "kind": row.entry.form,
                    "name": row.entry.name,
                    "since": row.entry.at,
                    "bytes": row.bytes,
                    "environments": row.environments,
                    "others": row.others,
                    "kept": row.kept,
                })
            })
            .collect();
        let adopted: Vec<Value> = adopted
            .iter()
            .map(|(dataset, directory)| json!({ "dataset": dataset, "directory": directory }))
            .collect();
        let content = json!({
            "dataset": share,
            "directory": DIRECTORY,
            "shared": shared,
            "adopted": adopted,
            "left": left.iter().map(|(kept, path)| json!({ "kept": kept, "path": path }))
                .collect::<Vec<Value>>(),
        });
        return Ok(output::json(&mut out, "share-list", content)?);
    }
    let since = |row: &Row| {
        if context.script {
            row.entry.at.timestamp().to_string()
        } else {
            output::time(row.entry.at.timestamp())
        }
    };
    let mut lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.entry.path.to_string(),
                row.entry.form.as_str().to_owned(),
                row.bytes
                    .map_or_else(|| "-".to_owned(), |size| bytes(context, size)),
                since(row),
                row.environments.join(","),
            ]
        })
        .collect();
    lines.extend(adopted.into_iter().map(|(dataset, directory)| {
        let dash = || "-".to_owned();
        vec![
            directory.to_string(),
            "dataset".to_owned(),
            dash(),
            dash(),
            format!("all: {dataset}"),
        ]
    }));
    if context.script {
        output::tabs(&mut out, &lines)?;
    } else {
        output::table(
            &mut out,
            &["PATH", "KIND", "SIZE", "SINCE", "ENVIRONMENTS"],
            &lines,
        )?;
    }
    drop(out);
    if context.script {
        return Ok(());
    }
    if share.is_none() {
        context.warn("there is no shared dataset yet: beadm-rs share init");
    }
    for (kept, path) in left {
        context.warn(&format!(
            "{kept} is left of {path}, which was shared; 'beadm-rs share confirm' removes it"
        ));
    }
    for row in rows {
        if let Some(kept) = &row.kept {
            context.warn(&format!(
                "{kept} is what {} was before; 'beadm-rs share confirm' removes it",
                row.entry.path
            ));
        }
        if !row.others.is_empty() {
            context.warn(&format!(
                "{} is not shared in {}",
                row.entry.path,
                row.others.join(", ")
            ));
        }
    }
    Ok(())
}
