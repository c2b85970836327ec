//! `sync --resolve`: a conflict that waits is settled.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;

use super::super::conflicts::{self, Waiting};
use super::super::context::Context;
use super::super::error::{FAILED, Trouble};
use crate::be::BeName;
use crate::diff;
use crate::diff::side::Side;
use crate::diff::tree::Tree;
use crate::host::Host;
use crate::plan::Refusal;
use crate::plan::sync::plan_resolve;
use crate::survey::{Scope, Survey};
use crate::sync::change::Resolve;
use crate::sync::kept::{self, Choice, Note};
use crate::sync::records::{self, Format};
use crate::sys::command;

/// Which version is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
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

/// The conflict about a path.
fn find(
    context: &Context,
    survey: &Survey,
    path: &OsStr,
    name: Option<&BeName>,
) -> Result<Found, Trouble> {
    let environment = match name {
        Some(name) => survey.environment(name),
        None => survey.running().or_else(|| survey.next()),
    };
    let environment = environment.ok_or_else(|| {
        Trouble::refused("there is no such environment")
            .remedy(format!("name one with --to; there are: {}", survey.names()))
    })?;
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
    path: &OsStr,
    name: Option<&BeName>,
    keep: Option<Keep>,
) -> anyhow::Result<()> {
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
    let report = context.change(
        look,
        |survey| match &*work.borrow() {
            Some((name, work)) => plan_resolve(survey, name, work.clone()),
            None => Err(Refusal::new(
                "settle the conflict",
                "an unfinished operation stands in the way",
            )),
        },
        |_| None,
    )?;
    context.report("resolve", &report)
}

/// What somebody makes of both in an editor, on copies that nobody else can read.
fn edited(context: &Context, found: &Found) -> Result<Vec<u8>, Trouble> {
    let path = found.note.path();
    let told = |error: io::Error| failed(&path, error);
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(
            Trouble::refused("an editor needs a terminal").remedy("--keep mine, or --keep other")
        );
    }
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
        .ok_or_else(|| {
            Trouble::refused("neither VISUAL nor EDITOR names an editor")
                .remedy("set one; or --keep mine, or --keep other")
        })?;
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
    // In memory, where there is such a place: it may be a secret.
    let mut builder = tempfile::Builder::new();
    let scratch = builder.prefix("beadm-rs-resolve.");
    let scratch = scratch
        .tempdir_in("/run")
        .or_else(|_| scratch.tempdir())
        .map_err(told)?;
    let name = Path::new(OsStr::from_bytes(&path));
    let name = name.file_name().unwrap_or(OsStr::new("file"));
    let copy = scratch.path().join(name);
    let beside = scratch
        .path()
        .join([name, OsStr::new(".other")].join(OsStr::new("")));
    fs::write(&copy, &mine).map_err(told)?;
    fs::write(&beside, &other).map_err(told)?;
    context.warn(&format!(
        "{} is to become what is to be there; what {} had is in {}",
        copy.display(),
        found.note.from,
        beside.display()
    ));
    let mut words: Vec<OsString> = editor
        .as_bytes()
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect();
    words.extend([copy.clone().into_os_string(), beside.into_os_string()]);
    let status = command::of_the_user(&words, "/bin/sh")
        .status()
        .map_err(told)?;
    if !status.success() {
        return Err(failed(&path, format!("the editor ended with {status}")));
    }
    let bytes = fs::read(&copy).map_err(told)?;
    if bytes == mine {
        return Err(Trouble::refused("nothing was changed in the editor")
            .remedy("--keep mine settles it as it is"));
    }
    if let Some(format) = Format::of(&path) {
        records::check(format, &bytes).map_err(|why| failed(&path, why))?;
    }
    Ok(bytes)
}
