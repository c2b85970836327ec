//! `sync --resolve`: conflicts that wait are settled.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::json;

use super::super::conflicts::{self, Waiting};
use super::super::context::{Context, Report};
use super::super::error::{BUSY, CONFLICT, FAILED, REFUSED, Trouble, Verdict};
use super::super::{editor, output};
use super::ask;
use crate::be::{BeName, BootEnvironment};
use crate::diff;
use crate::diff::side::Side;
use crate::diff::tree::Tree;
use crate::host::Host;
use crate::plan::Refusal;
use crate::plan::sync::plan_resolve;
use crate::survey::{Scope, Survey};
use crate::sync::change::Resolve;
use crate::sync::kept::{self, Choice, Note};
use crate::sync::text;

/// Which version is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Keep {
    /// What is there.
    Mine,
    /// The one that was kept.
    Other,
}

/// A conflict, and where it is.
struct Found {
    name: BeName,
    side: Side,
    note: Note,
}

fn failed(path: &[u8], error: impl std::fmt::Display) -> Trouble {
    let path = String::from_utf8_lossy(path);
    Trouble::new(FAILED, format!("cannot settle /{path}: {error}")).state("nothing was changed")
}

/// The environment whose conflicts are meant.
fn meant<'a>(survey: &'a Survey, name: Option<&BeName>) -> Result<BootEnvironment<'a>, Trouble> {
    let environment = match name {
        Some(name) => survey.environment(name),
        None => survey.running().or_else(|| survey.next()),
    };
    environment.ok_or_else(|| {
        Trouble::refused("there is no such environment")
            .remedy(format!("name one with --to; there are: {}", survey.names()))
    })
}

/// The conflict about a path.
fn find(
    context: &Context,
    survey: &Survey,
    path: &OsStr,
    name: Option<&BeName>,
) -> Result<Found, Trouble> {
    let environment = meant(survey, name)?;
    let Waiting { notes, .. } = conflicts::of(context, survey, &environment)?;
    let bytes = path.as_bytes();
    let wanted = bytes.strip_prefix(b"/").unwrap_or(bytes);
    let all: Vec<String> = notes
        .iter()
        .map(|note| format!("/{}", String::from_utf8_lossy(&note.path())))
        .collect();
    let note = notes.into_iter().find(|note| note.path() == wanted);
    let note = note.ok_or_else(|| {
        let shown = String::from_utf8_lossy(wanted);
        let trouble = Trouble::refused(format!(
            "no conflict about /{shown} waits in {}",
            environment.name()
        ));
        match all.as_slice() {
            [] => trouble.remedy("name another environment with --to"),
            all => trouble.remedy(format!("these do: {}", all.join(", "))),
        }
    })?;
    let side = diff::side(&context.host, survey, &environment, None)?
        .ok_or_else(|| failed(wanted, "the environment is not there any more"))?;
    Ok(Found {
        name: environment.name().parse().map_err(Trouble::refused)?,
        side,
        note,
    })
}

pub(super) fn run(
    context: &Context,
    path: Option<&OsStr>,
    name: Option<&BeName>,
    keep: Option<Keep>,
) -> anyhow::Result<()> {
    if keep.is_none() && !ask::has_terminal() {
        return Err(Trouble::refused("an editor needs a terminal")
            .remedy("--keep mine, or --keep other")
            .into());
    }
    match path {
        Some(path) => {
            let report = one(context, path, name, keep)?;
            context.report("resolve", &report)
        }
        None => all(context, name, keep),
    }
}

/// Settles one after another; what cannot be is told, and left.
fn all(context: &Context, name: Option<&BeName>, keep: Option<Keep>) -> anyhow::Result<()> {
    let survey = context.look(Scope::Names)?;
    let environment = meant(&survey, name)?;
    let Waiting { notes, .. } = conflicts::of(context, &survey, &environment)?;
    let (mut settled, mut left) = (Vec::new(), Vec::new());
    for note in &notes {
        let path = note.path();
        let shown = output::one_line(&format!("/{}", String::from_utf8_lossy(&path)));
        match one(context, OsStr::from_bytes(&path), name, keep) {
            Ok(report) => {
                if !context.json {
                    context.report("resolve", &report)?;
                }
                settled.push(shown);
            }
            Err(trouble) if [FAILED, REFUSED, BUSY].contains(&trouble.exit) => {
                context.warn(&trouble.to_string());
                left.push((shown, trouble.message));
            }
            Err(trouble) => return Err(trouble.into()),
        }
    }
    let name = environment.name();
    if context.json {
        let left: Vec<_> = left
            .iter()
            .map(|(path, why)| json!({ "path": path, "why": why }))
            .collect();
        let content = json!({
            "environment": name,
            "done": !context.dry_run,
            "changed": !context.dry_run && !settled.is_empty(),
            "settled": settled,
            "left": left,
        });
        output::json(&mut io::stdout().lock(), "resolve-all", content)?;
    }
    let paths: Vec<&str> = left.iter().map(|(path, _)| path.as_str()).collect();
    let what = match paths.len() {
        0 if notes.is_empty() => {
            context.warn(&format!("no conflict waits in {name}"));
            return Ok(());
        }
        0 => {
            context.warn(&format!("no conflict is left in {name}"));
            return Ok(());
        }
        1 => "1 conflict is".to_owned(),
        many => format!("{many} conflicts are"),
    };
    let told = format!("{what} left in {name}: {}", paths.join(", "));
    let left =
        Trouble::new(CONFLICT, told).remedy("settle each by itself: beadm-rs sync --resolve PATH");
    context.warn(&left.to_string());
    Err(Verdict(CONFLICT).into())
}

/// Settles one.
fn one(
    context: &Context,
    path: &OsStr,
    name: Option<&BeName>,
    keep: Option<Keep>,
) -> Result<Report, Trouble> {
    let choice = match keep {
        Some(Keep::Mine) => Choice::Mine,
        Some(Keep::Other) => Choice::Other,
        None => {
            let survey = context.look(Scope::Names)?;
            let found = find(context, &survey, path, name)?;
            Choice::Edited(edited(context, &found)?)
        }
    };
    let work: RefCell<Option<(BeName, Resolve)>> = RefCell::new(None);
    let look = |host: &Host| {
        let survey = Survey::take(host, Scope::Change)?;
        if survey.intent().is_some() && !context.dry_run {
            return Ok(survey);
        }
        let Found { name, side, note } = find(context, &survey, path, name)?;
        let tree = Tree::open(host, &side)?;
        let path = note.path();
        let changes =
            kept::resolution(&tree, &note, &choice).map_err(|error| failed(&path, error))?;
        let resolve = Resolve {
            id: survey.id,
            side,
            path,
            changes,
        };
        work.replace(Some((name, resolve)));
        Ok(survey)
    };
    context.change(
        look,
        |survey| match &*work.borrow() {
            Some((name, work)) => plan_resolve(survey, name, work.clone()),
            None => Err(Refusal::new(
                "settle the conflict",
                "an unfinished operation stands in the way",
            )),
        },
        |_| None,
    )
}

/// What somebody makes of both in an editor.
fn edited(context: &Context, found: &Found) -> Result<Vec<u8>, Trouble> {
    let path = found.note.path();
    let told = |error: io::Error| failed(&path, error);
    let tree = Tree::open(&context.host, &found.side)?;
    let mine = kept::contents(&tree, &path).map_err(told)?;
    let at = [
        kept::directory(&path).as_slice(),
        b"/",
        kept::OTHER.as_bytes(),
    ]
    .concat();
    let other = kept::contents(&tree, &at).map_err(told)?;
    let (Some(mine), Some(other)) = (mine, other) else {
        return Err(Trouble::refused("one of the two versions is no file")
            .remedy("--keep mine, or --keep other"));
    };
    let names = [found.name.as_str(), found.note.from.as_str()];
    // What is no text has no markers in it.
    let marked = text::both(&mine, &other, names).unwrap_or(mine);
    let unfit = match editor::edit(&path, &marked, Some(&other)) {
        Ok(bytes) => return Ok(bytes),
        Err(unfit) => unfit,
    };
    let remedy = match unfit.draft {
        None => "try again; or --keep mine, or --keep other".to_owned(),
        Some(draft) => {
            let left = editor::leave(&path, &draft).map_err(told)?;
            format!("what was made of it is in {}; try again", left.display())
        }
    };
    Err(unfit.trouble.remedy(remedy))
}
